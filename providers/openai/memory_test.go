package openai

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/nanobanana/nanobanana/providers"
)

// allocated is how many bytes f allocates, in any goroutine.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestGenerate_StreamsBothWays sends and receives 8 MiB; the allocations include
// the server's.
func TestGenerate_StreamsBothWays(t *testing.T) { //nolint:paralleltest // measures the process
	const size, limit = 8 << 20, 2 << 20
	body := []byte(made(b64(png(size))))
	b := setup(t, func(w http.ResponseWriter, r *http.Request) {
		if n, err := io.Copy(io.Discard, r.Body); err != nil || r.URL.Path == "/v1/images/edits" && n < size {
			t.Errorf("read %d bytes: %v", n, err)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
	reference := write(t, "image/png", png(size))
	for name, req := range map[string]providers.Request{
		"Generate": {Model: "gpt-image-2", Prompt: "x", Dir: b.dir},
		"Edit":     {Model: "gpt-image-2", Prompt: "x", Dir: b.dir, References: []providers.File{reference}},
	} {
		t.Run(name, func(t *testing.T) {
			got := allocated(func() {
				result, err := b.provider.Generate(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				if result.Image.Bytes != size {
					t.Errorf("image has %d bytes, want %d", result.Image.Bytes, size)
				}
			})
			t.Logf("%.2f MiB allocated", float64(got)/(1<<20))
			if got > limit {
				t.Errorf("%d bytes allocated, want at most %d", got, limit)
			}
		})
	}
}

// BenchmarkGenerate takes a 1 MiB image from the wire to a file, the sending
// server included.
func BenchmarkGenerate(b *testing.B) {
	body := []byte(made(b64(png(1 << 20))))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	}))
	b.Cleanup(srv.Close)
	bundle := connect(b, Options{BaseURL: srv.URL})
	b.ReportAllocs()
	for b.Loop() {
		got, err := bundle.generate(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if err := os.Remove(got.Image.Path); err != nil {
			b.Fatal(err)
		}
	}
}
