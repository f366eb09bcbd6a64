package gemini

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/providers"
)

func write(t *testing.T, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "reference")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestGenerate_References(t *testing.T) {
	t.Parallel()
	bodies := make(chan []byte, 1)
	b := setup(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- body
		reply(200, stop(inline("image/jpeg", jpeg(2000))))(w, r)
	})
	_, err := b.provider.Generate(t.Context(), providers.Request{
		Model: "m", Prompt: "join them", Dir: b.dir,
		References: []providers.File{
			{Path: write(t, []byte("first")), MediaType: "image/png"}, {Path: write(t, []byte("second")), MediaType: "image/webp"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	type data struct {
		MIMEType string `json:"mimeType"`
		Data     []byte
	}
	type part struct {
		Text       string
		InlineData *data `json:"inlineData"`
	}
	var got struct{ Contents []struct{ Parts []part } }
	if err := json.Unmarshal(<-bodies, &got); err != nil {
		t.Fatal(err)
	}
	want := []part{{Text: "join them"}, {InlineData: &data{"image/png", []byte("first")}}, {InlineData: &data{"image/webp", []byte("second")}}}
	if diff := cmp.Diff(want, got.Contents[0].Parts); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
}

func TestGenerate_UnusableReferences(t *testing.T) {
	t.Parallel()
	half := providers.File{Path: write(t, make([]byte, 10_000_001)), MediaType: "image/png"}
	missing := providers.File{Path: filepath.Join(t.TempDir(), "none"), MediaType: "image/png"}
	for name, c := range map[string]struct {
		req  providers.Request
		want providers.Kind
	}{
		"TooLarge": {providers.Request{References: []providers.File{half, half}}, providers.KindInvalid},
		"Missing":  {providers.Request{References: []providers.File{half, missing}}, providers.KindLocal},
		"Mask":     {providers.Request{References: []providers.File{half}, Mask: &half}, providers.KindInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, func(http.ResponseWriter, *http.Request) { t.Error("the upstream was called") })
			c.req.Dir = b.dir
			_, err := b.provider.Generate(t.Context(), c.req)
			if diff := cmp.Diff(c.want, providers.KindOf(err)); diff != "" {
				t.Errorf("kind (-want +got):\n%s\n%v", diff, err)
			}
		})
	}
}

func TestGenerate_TimeoutOfTheRequest(t *testing.T) {
	t.Parallel()
	b, _ := hang(t, time.Hour)
	_, err := b.provider.Generate(t.Context(), providers.Request{Model: "m", Prompt: "x", Dir: b.dir, Timeout: 100 * time.Millisecond})
	if diff := cmp.Diff(providers.KindTimeout, providers.KindOf(err)); diff != "" {
		t.Errorf("kind (-want +got):\n%s\n%v", diff, err)
	}
}
