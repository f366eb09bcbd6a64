package client_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/client"
)

const picture = "0123456789abcdef"

func imageOf(content string) *client.Image {
	return &client.Image{
		ID: "img_1", URL: "/v1/images/img_1/content?sig=secret",
		Bytes: int64(len(content)), SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(content))),
	}
}

// serve answers as the service does, ranges included.
func serve(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(picture))
}

// breakOff sends the first bytes of the picture, but announces all of it.
func breakOff(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(picture)))
		_, _ = io.WriteString(w, picture[:n])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func TestDownload(t *testing.T) {
	t.Parallel()
	whole := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, picture) }
	for name, c := range map[string]struct {
		answers []http.HandlerFunc
		ranges  []string
	}{
		"AtOnce":             {[]http.HandlerFunc{serve}, []string{""}},
		"ResumedTwice":       {[]http.HandlerFunc{breakOff(5), problem(503, "service_unavailable"), serve}, []string{"", "bytes=5-", "bytes=5-"}},
		"SentWholeAgain":     {[]http.HandlerFunc{breakOff(5), whole}, []string{"", "bytes=5-"}},
		"ShortWithoutAnEnd":  {[]http.HandlerFunc{answer(200, picture[:4]), serve}, []string{"", "bytes=4-"}},
		"ConnectionFirstCut": {[]http.HandlerFunc{problem(500, "internal_error"), serve}, []string{"", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, c.answers...)
			var got bytes.Buffer
			if err := b.Download(t.Context(), imageOf(picture), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(picture, got.String()); diff != "" {
				t.Errorf("bytes (-want +got):\n%s", diff)
			}
			var ranges []string
			for i := range b.requests() {
				ranges = append(ranges, b.sent(i, "Range"))
			}
			if diff := cmp.Diff(c.ranges, ranges); diff != "" {
				t.Errorf("ranges (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDownload_Fails(t *testing.T) {
	t.Parallel()
	other := imageOf(picture)
	other.SHA256 = imageOf("x").SHA256
	for name, c := range map[string]struct {
		image    *client.Image
		answer   http.HandlerFunc
		is       error // wrapped
		requests int
	}{
		"OtherBytes":   {other, serve, client.ErrCorrupt, 1},
		"TooManyBytes": {imageOf(picture[:15]), serve, client.ErrCorrupt, 1},
		"BrokenOff":    {imageOf(picture), breakOff(3), client.ErrUnreachable, 2},
		"WrongRange": {imageOf(picture), func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") == "" {
				breakOff(3)(w, r)
			}
			answer(206, picture, "Content-Range", "bytes 0-15/16")(w, r)
		}, client.ErrCorrupt, 2},
		"NotMadeYet": {imageOf(picture), answer(202, `{"status":"queued"}`), nil, 1},
		"Gone":       {imageOf(picture), problem(410, "image_expired"), nil, 1},
		"OddScheme":  {&client.Image{ID: "img_1", URL: "file:///etc/passwd"}, serve, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, c.answer)
			err := b.client(t, client.Options{MaxRetries: 1}).Download(t.Context(), c.image, io.Discard)
			if err == nil || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("err = %v, want %v", err, c.is)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows the signature: %v", err)
			}
			if got := len(b.requests()); got != c.requests {
				t.Errorf("%d requests, want %d", got, c.requests)
			}
		})
	}
}

func TestDownload_WriterFails(t *testing.T) {
	t.Parallel()
	b := setup(t, serve)
	reader, writer := io.Pipe()
	full := errors.New("the disk is full")
	_ = reader.CloseWithError(full)
	if err := b.Download(t.Context(), imageOf(picture), writer); !errors.Is(err, full) || errors.Is(err, client.ErrUnreachable) {
		t.Errorf("err = %v, want %v alone", err, full)
	}
	if got := len(b.requests()); got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
}

func TestDownload_SendsTheKeyToTheServiceOnly(t *testing.T) {
	t.Parallel()
	b, cdn := setup(t, serve), setup(t, serve)
	elsewhere := imageOf(picture)
	elsewhere.URL = cdn.url + "/i?sig=1"
	withoutURL := imageOf(picture)
	withoutURL.URL = ""
	for _, img := range []*client.Image{imageOf(picture), withoutURL, elsewhere} {
		if err := b.Download(t.Context(), img, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"GET /v1/images/img_1/content?sig=secret", "GET /v1/images/img_1/content"}, b.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	got := []string{b.sent(0, "Authorization"), b.sent(1, "Authorization"), cdn.sent(0, "Authorization")}
	if diff := cmp.Diff([]string{"Bearer " + key, "Bearer " + key, ""}, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

// A download must not hold the image: 64 MB pass through a quarter.
func TestDownload_Streams(t *testing.T) { //nolint:paralleltest // measures the heap of the process
	const size = 64 << 20
	b := setup(t, func(w http.ResponseWriter, _ *http.Request) {
		block := make([]byte, 64<<10)
		for range size / len(block) {
			_, _ = w.Write(block)
		}
	})
	var most uint64
	counted := 0
	watch := writerFunc(func(p []byte) (int, error) {
		if counted += len(p); counted%(4<<20) < len(p) {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
		}
		return len(p), nil
	})
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if err := b.Download(t.Context(), &client.Image{ID: "img_1", Bytes: size}, watch); err != nil {
		t.Fatal(err)
	}
	if grown := int64(most) - int64(before.HeapInuse); counted != size || grown > size/4 {
		t.Errorf("%d bytes came, want %d; the heap grew by %d", counted, size, grown)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestDownloadFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "banana.png")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := setup(t, serve)
	wrong := imageOf("something else!!")
	if err := b.DownloadFile(t.Context(), wrong, path); !errors.Is(err, client.ErrCorrupt) {
		t.Errorf("err = %v, want ErrCorrupt", err)
	}
	if diff := cmp.Diff(map[string]string{"banana.png": "old"}, files(t, dir)); diff != "" {
		t.Errorf("after a failure (-want +got):\n%s", diff)
	}
	if err := b.DownloadFile(t.Context(), imageOf(picture), path); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"banana.png": picture}, files(t, dir)); diff != "" {
		t.Errorf("after success (-want +got):\n%s", diff)
	}
	if err := b.DownloadFile(t.Context(), imageOf(picture), filepath.Join(dir, "none", "x.png")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("into no directory: %v, want os.ErrNotExist", err)
	}
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		content[e.Name()] = string(text)
	}
	return content
}
