package providers

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// FuzzSpool holds the scanner to encoding/json: whatever valid JSON comes in, what
// goes out decodes to the same, but for images and dropped strings.
func FuzzSpool(f *testing.F) {
	for _, seed := range []string{
		`{"data":"QUJDREVGR0g="}`, `{"data":"QUJD\/\/REVGR0g\u003d","b64_json":"QUJDREVG"}`,
		`[{"x":{"thoughtSignature":"QUJDREVGR0g"}},"data",{"data":"a"}]`, `{"da\u0074a":"QUJDREVG"}`,
		`{"data":"\"\\\"\\\\\"","":null,"b64_json":{"data":["QUJDREVG"]}}`, ` { "data" : "QUJDRE\nVGR0g=" , "k" : 1e9 } `,
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, slow bool) {
		dir := t.TempDir()
		ctx, files := WithSpool(t.Context(), dir)
		spool := NewSpool(SpoolOptions{})
		spool.minImage = 8
		var src io.Reader = bytes.NewReader(text)
		if slow {
			src = iotest.OneByteReader(src)
		}
		sc := newScanner(ctx, spool, files, src)
		err := sc.scan()
		sc.release()
		if err != nil {
			files.remove(sc.made)
			if n := fileCount(t, dir); n != 0 {
				t.Fatalf("%d files after %v", n, err)
			}
			if json.Valid(text) && !errors.Is(err, ErrInvalidBase64) {
				t.Fatalf("valid JSON was refused: %v", err)
			}
			return
		}
		var want, got any
		if json.Unmarshal(text, &want) != nil {
			return
		}
		if err := json.Unmarshal(sc.out.Bytes(), &got); err != nil {
			t.Fatalf("no longer JSON: %v\n%s", err, sc.out)
		}
		if diff := cmp.Diff(want, restore(t, files, want, got, "")); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

// restore puts images and dropped strings back where they stood.
func restore(t *testing.T, files *Files, want, got any, key string) any {
	switch g := got.(type) {
	case map[string]any:
		if w, ok := want.(map[string]any); ok {
			for k, v := range g {
				g[k] = restore(t, files, w[k], v, k)
			}
		}
	case []any:
		if w, ok := want.([]any); ok && len(w) == len(g) {
			for i, v := range g {
				g[i] = restore(t, files, w[i], v, "")
			}
		}
	case string:
		w, _ := want.(string)
		if g == "" && key == "thoughtSignature" {
			return w
		}
		token, _ := base64.StdEncoding.DecodeString(g)
		img, ok := files.Take(string(token))
		if !ok {
			return got
		}
		content, err := os.ReadFile(img.Path)
		if err != nil {
			t.Fatal(err)
		}
		if raw, err := base64.StdEncoding.DecodeString(w); err == nil && bytes.Equal(raw, content) {
			return w
		}
	}
	return got
}
