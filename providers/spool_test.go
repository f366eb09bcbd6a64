package providers

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// picture makes n bytes that begin like a JPEG.
func picture(n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	_, _ = rng.Read(b)
	copy(b, "\xff\xd8\xff\xe0")
	return b
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// imageOf is what the spool must know about a picture, but for its path.
func imageOf(b []byte, mediaType string) Image {
	return Image{MediaType: mediaType, Bytes: int64(len(b)), SHA256: sha256.Sum256(b)}
}

// answer serves body and returns what a client behind a Spool reads.
type answer struct {
	files *Files
	dir   string
	body  string
	err   error
}

func fetch(t *testing.T, o SpoolOptions, handler http.HandlerFunc) answer {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	ctx, files := WithSpool(t.Context(), dir)
	body, err := get(ctx, &http.Client{Transport: NewSpool(o)}, srv.URL)
	return answer{files, dir, body, err}
}

func get(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func serve(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, body)
	}
}

func fileCount(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// take takes the image behind a token and returns it without its path, after
// comparing the file with what is said about it.
func take(t *testing.T, files *Files, token string) Image {
	t.Helper()
	img, ok := files.Take(token)
	if !ok {
		t.Fatalf("no image behind token %q", token)
	}
	content, err := os.ReadFile(img.Path)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(content); sum != img.SHA256 || int64(len(content)) != img.Bytes {
		t.Errorf("file of %d bytes, image says %d, or another checksum", len(content), img.Bytes)
	}
	img.Path = ""
	return img
}

func TestSpool_MovesEachImageToItsOwnFile(t *testing.T) {
	t.Parallel()
	draft, final := picture(5_000), picture(700_001)
	got := fetch(t, SpoolOptions{}, serve("application/json; charset=UTF-8", fmt.Sprintf(`{
  "candidates": [ { "content": { "parts": [
    {"text": "say \"data\": [\"data\"] {"},
    {"thought": true, "inlineData": {"data" : "%s", "mimeType": "image/png"}},
    {"inlineData": {"mimeType": "image/png",
      "data":
        "%s"}, "thoughtSignature": "%s"}
  ]}, "finishReason": "STOP"}], "icon": {"data": "aWNvbg=="}, "data": [1, {"data": null}], "none": ""}`,
		b64(draft), b64(final), strings.Repeat("c2ln", 5000))))
	if got.err != nil {
		t.Fatal(got.err)
	}
	want := `{
  "candidates": [ { "content": { "parts": [
    {"text": "say \"data\": [\"data\"] {"},
    {"thought": true, "inlineData": {"data" : "` + b64([]byte("spool:1")) + `", "mimeType": "image/png"}},
    {"inlineData": {"mimeType": "image/png",
      "data":
        "` + b64([]byte("spool:2")) + `"}, "thoughtSignature": ""}
  ]}, "finishReason": "STOP"}], "icon": {"data": "aWNvbg=="}, "data": [1, {"data": null}], "none": ""}`
	if diff := cmp.Diff(want, got.body); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(imageOf(final, "image/jpeg"), take(t, got.files, "spool:2")); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
	}
	if _, ok := got.files.Take("spool:2"); ok {
		t.Error("an image was handed over twice")
	}
	if diff := cmp.Diff(2, fileCount(t, got.dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	got.files.Discard()
	if diff := cmp.Diff(1, fileCount(t, got.dir)); diff != "" {
		t.Errorf("files after Discard (-want +got):\n%s", diff)
	}
	if status, header := got.files.Response(); status != 200 || header.Get("Content-Type") == "" {
		t.Errorf("response is %d %v", status, header)
	}
}

func TestSpool_SizesAndEscapes(t *testing.T) {
	t.Parallel()
	slashes := bytes.Repeat([]byte{0xff, 0xff, 0xff}, 100_000) // base64 of '/' only
	for name, c := range map[string]struct {
		raw    []byte
		escape func(string) string
	}{
		"OnePadding":       {picture(300_001), nil},
		"TwoPaddings":      {picture(300_002), nil},
		"BufferSized":      {picture(largeBuffer / 4 * 3), nil},
		"OverBuffer":       {picture(largeBuffer/4*3 + 1), nil},
		"SmallestMoved":    {picture(minImage / 4 * 3), nil},
		"SlashesEscaped":   {slashes, func(s string) string { return strings.ReplaceAll(s, "/", `\/`) }},
		"UnicodeEscapes":   {picture(200_002), func(s string) string { return strings.NewReplacer("=", `\u003d`, "+", `\u002B`).Replace(s) }},
		"LineBreaks":       {picture(200_000), func(s string) string { return breakLines(s, `\r\n`) }},
		"UnicodeLineBreak": {picture(200_000), func(s string) string { return breakLines(s, `\u000a`) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := b64(c.raw)
			if c.escape != nil {
				text = c.escape(text)
			}
			got := fetch(t, SpoolOptions{}, serve("application/json", `{"b64_json":"`+text+`"}`))
			if diff := cmp.Diff(`{"b64_json":"`+b64([]byte("spool:1"))+`"}`, got.body); diff != "" || got.err != nil {
				t.Fatalf("err %v, answer (-want +got):\n%s", got.err, diff)
			}
			if diff := cmp.Diff(imageOf(c.raw, mediaType(c.raw)), take(t, got.files, "spool:1")); diff != "" {
				t.Errorf("image (-want +got):\n%s", diff)
			}
		})
	}
}

// breakLines puts sep after every 76 letters, as MIME does, and after odd counts too.
func breakLines(s, sep string) string {
	var b strings.Builder
	for i := 0; i < len(s); i += 77 {
		b.WriteString(s[i:min(len(s), i+77)] + sep)
	}
	return b.String()
}

func TestSpool_FailuresLeaveNoFile(t *testing.T) {
	t.Parallel()
	good := b64(picture(300_000))
	for name, c := range map[string]struct {
		body string
		want error
	}{
		"CutInImage":        {`{"data":"` + good[:200_000], io.ErrUnexpectedEOF},
		"CutAfterImage":     {`{"x":{"data":"` + good + `"}`, io.ErrUnexpectedEOF},
		"CutInText":         {`{"data":"` + good + `","t":"ab`, io.ErrUnexpectedEOF},
		"CutInEscape":       {`{"data":"` + good + `\u00`, io.ErrUnexpectedEOF},
		"CutInDropped":      {`{"thoughtSignature":"` + good, io.ErrUnexpectedEOF},
		"TooLarge":          {`{"data":"` + b64(picture(400_001)) + `"}`, ErrImageTooLarge},
		"ForeignLetter":     {`{"data":"` + good[:150_000] + "*" + good[150_001:] + `"}`, ErrInvalidBase64},
		"UnpaddedEnd":       {`{"data":"` + good + `A"}`, ErrInvalidBase64},
		"PaddingInside":     {`{"data":"` + good[:largeBuffer-9] + "=" + good[largeBuffer-8:] + `"}`, ErrInvalidBase64},
		"GoesOnAfterEnd":    {`{"data":"` + b64(picture(100_000)) + `\n` + good + `"}`, ErrInvalidBase64},
		"ForeignEscape":     {`{"data":"` + good + `\t"}`, ErrInvalidBase64},
		"ForeignUnicode":    {`{"data":"` + good + `\u0e01"}`, ErrInvalidBase64},
		"EscapedQuote":      {`{"data":"` + good + `\u0022"}`, ErrInvalidBase64},
		"SecondImageBroken": {`[{"data":"` + good + `"},{"data":"` + good + `*"}]`, ErrInvalidBase64},
		"LongText":          {`{"data":"` + good + `","t":"` + strings.Repeat("a", maxRest) + `"}`, ErrAnswerTooLong},
		"LongNumber":        {`{"data":"` + good + `","t":` + strings.Repeat("1", maxRest) + `}`, ErrAnswerTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := fetch(t, SpoolOptions{MaxBytes: 400_000}, serve("application/json", c.body))
			if !errors.Is(got.err, c.want) {
				t.Errorf("error %v, want %v", got.err, c.want)
			}
			if n := fileCount(t, got.dir); n != 0 {
				t.Errorf("%d files are left, want none", n)
			}
		})
	}
}

func TestSpool_ConnectionLostInImage(t *testing.T) {
	t.Parallel()
	got := fetch(t, SpoolOptions{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":"`+b64(picture(300_000)))
		panic(http.ErrAbortHandler)
	})
	if !errors.Is(got.err, io.ErrUnexpectedEOF) || fileCount(t, got.dir) != 0 {
		t.Errorf("error %v and %d files, want unexpected EOF and none", got.err, fileCount(t, got.dir))
	}
}

func TestSpool_CanceledInImage(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":"`+b64(picture(300_000)))
		_ = http.NewResponseController(w).Flush()
		cancel()
		<-r.Context().Done()
	}))
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	ctx, _ = WithSpool(ctx, dir)
	_, err := get(ctx, &http.Client{Transport: NewSpool(SpoolOptions{})}, srv.URL)
	if !errors.Is(err, context.Canceled) || fileCount(t, dir) != 0 {
		t.Errorf("error %v and %d files, want canceled and none", err, fileCount(t, dir))
	}
}

func TestSpool_BodyClosedEarlyRemovesFiles(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(serve("application/json", `{"data":"`+b64(picture(300_000))+`"}`))
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	ctx, _ := WithSpool(t.Context(), dir)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := NewSpool(SpoolOptions{}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if n := fileCount(t, dir); n != 1 {
		t.Fatalf("%d files, want 1", n)
	}
	if err := resp.Body.Close(); err != nil || fileCount(t, dir) != 0 {
		t.Errorf("error %v and %d files, want neither", err, fileCount(t, dir))
	}
}

func TestSpool_PassesOtherAnswers(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("<p>sorry</p>", 100_000)
	withImage := `{"data":"` + b64(picture(3_000)) + `"}`
	for name, c := range map[string]struct {
		status            int
		contentType, body string
		want              string
	}{
		"ErrorPageIsCut":     {503, "text/html", long, long[:maxErrorBody]},
		"ErrorJSONUntouched": {400, "application/json", withImage, withImage},
		"PageWithStatusOK":   {200, "text/html", long, long[:maxErrorBody]},
		"Empty":              {200, "application/json", "", ""},
		"NotReallyJSON":      {200, "application/json", `oops "data" }`, `oops "data" }`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := fetch(t, SpoolOptions{}, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.contentType)
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			if diff := cmp.Diff(c.want, got.body); diff != "" || got.err != nil {
				t.Errorf("err %v, answer (-want +got):\n%s", got.err, diff)
			}
			if status, _ := got.files.Response(); status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
		})
	}
}

func TestSpool_WithoutCollectorIsTransparent(t *testing.T) {
	t.Parallel()
	want := `{"data":"` + b64(picture(2<<20)) + `"}`
	srv := httptest.NewServer(serve("application/json", want))
	t.Cleanup(srv.Close)
	got, err := get(t.Context(), &http.Client{Transport: NewSpool(SpoolOptions{})}, srv.URL)
	if err != nil || got != want {
		t.Errorf("error %v, or the answer of %d bytes was changed", err, len(got))
	}
}

func TestSpool_UndoesGzip(t *testing.T) {
	t.Parallel()
	raw := picture(300_000)
	got := fetch(t, SpoolOptions{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		zw := gzip.NewWriter(w)
		_, _ = io.WriteString(zw, `{"data":"`+b64(raw)+`"}`)
		_ = zw.Close()
	})
	if got.err != nil {
		t.Fatal(got.err)
	}
	if diff := cmp.Diff(imageOf(raw, "image/jpeg"), take(t, got.files, "spool:1")); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
	}
}
