package worker_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
	"github.com/nanobanana/nanobanana/worker"
)

// watchingBucket is a flakyBucket that notes which converted files lie in a
// directory whenever it refuses a write.
type watchingBucket struct {
	flakyBucket
	dir   string
	seen  map[string]bool
	guard sync.Mutex
}

func (w *watchingBucket) ServeHTTP(response http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut && w.down.Load() > 0 {
		files, _ := filepath.Glob(filepath.Join(w.dir, "convert-*"))
		w.guard.Lock()
		for _, f := range files {
			w.seen[f] = true
		}
		w.guard.Unlock()
	}
	w.flakyBucket.ServeHTTP(response, r)
}

// TestKeep_RendersOnce has storage refuse a picture three times.
func TestKeep_RendersOnce(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	bucket := &watchingBucket{flakyBucket: flakyBucket{objects: map[string][]byte{}}, dir: b.blobs.TempDir(), seen: map[string]bool{}}
	bucket.down.Store(3)
	server := httptest.NewServer(bucket)
	t.Cleanup(server.Close)
	s3, err := blobs.OpenS3(t.Context(), blobs.S3Options{
		Bucket: "b", Endpoint: server.URL, AccessKeyID: "k", SecretAccessKey: "s", PathStyle: true, Attempts: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.start(t, func(o *worker.Options) {
		o.Blobs = s3
		o.Simulator.Routes[0].Provider = sending(t, jpegOf(t, drawing(1040, 1040, 200)))
	})
	g := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "x", Format: "png"}).ID)
	if g.Status != store.StatusSucceeded || bucket.refused.Load() != 3 || len(bucket.seen) != 1 {
		t.Errorf("got %s after %d refusals, and %d pictures were made of one; want one", g.Status, bucket.refused.Load(), len(bucket.seen))
	}
	b.wantNoSpool(t)
}
