package worker_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
	"github.com/nanobanana/nanobanana/store/storetest"
	"github.com/nanobanana/nanobanana/worker"
)

// cut ends every connection to the database but the one it uses.
func (b *bundle) cut(t *testing.T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), storetest.URL(b.db))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	_, err = conn.Exec(t.Context(), `
		SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	if err != nil {
		t.Fatal(err)
	}
}

func TestFaults_ConnectionsCutDuringARun(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	prompt := "[[sim:slow ms=300]] x"
	id := b.submit(t, jobs.GenerationRequest{Prompt: prompt}).ID
	b.until(t, id, func(*store.Generation) bool { return b.calls(prompt) == 1 })
	b.cut(t)
	var g *store.Generation
	deadline := time.Now().Add(2 * time.Minute)
	for g == nil || !g.Status.Terminal() {
		if time.Now().After(deadline) {
			t.Fatalf("the generation is still %+v", g)
		}
		if fresh, err := b.db.Generation(t.Context(), b.project.ID, id); err == nil {
			g = fresh
		}
	}
	if g.Status != store.StatusSucceeded || b.calls(prompt) != 1 || len(b.images(t, g)) != 1 {
		t.Errorf("got %s after %d calls with %d images; want success, one call, one image", g.Status, b.calls(prompt), len(b.images(t, g)))
	}
}

// flakyBucket is a foreign S3 service that is down until it has refused a number
// of writes.
type flakyBucket struct {
	down    atomic.Int64 // writes yet to be refused
	refused atomic.Int64
	mu      sync.Mutex
	objects map[string][]byte
}

func (f *flakyBucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case r.URL.Path == "/b": // the bucket is there
	case r.Method == http.MethodPut && f.down.Add(-1) >= 0:
		f.refused.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	case f.down.Load() > 0:
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.Method == http.MethodPut:
		f.objects[r.URL.Path] = body
		w.Header().Set("ETag", `"e"`)
	case f.objects[r.URL.Path] == nil:
		w.WriteHeader(http.StatusNotFound)
	}
}

func TestFaults_StorageDownForAWhile(t *testing.T) {
	t.Parallel()
	bucket := &flakyBucket{objects: map[string][]byte{}}
	bucket.down.Store(2)
	server := httptest.NewServer(bucket)
	t.Cleanup(server.Close)
	s3, err := blobs.OpenS3(t.Context(), blobs.S3Options{
		Bucket: "b", Endpoint: server.URL, AccessKeyID: "k", SecretAccessKey: "s", PathStyle: true, Attempts: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	b := setup(t, func(o *worker.Options) { o.Blobs = s3 })
	g := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "kept until stored"}).ID)
	if g.Status != store.StatusSucceeded || b.calls("kept until stored") != 1 || bucket.refused.Load() != 2 {
		t.Errorf("got %s after %d calls and %d refusals; want success, one call, two refusals",
			g.Status, b.calls("kept until stored"), bucket.refused.Load())
	}
	if stored := len(bucket.objects["/b/"+b.images(t, g)[0].BlobKey]); int64(stored) != b.images(t, g)[0].Bytes {
		t.Errorf("%d bytes are stored, the row says %d", stored, b.images(t, g)[0].Bytes)
	}
	b.wantNoSpool(t)
}

func TestSchedule_DeletesWhatHasExpiredAndWhatWasLeftBehind(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	first := b.start(t, nil)
	expired := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "expired"}).ID)
	kept := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "kept"}).ID)
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	orphan := b.submit(t, jobs.GenerationRequest{Prompt: "canceled"})
	keptKey, orphanKey := b.images(t, kept)[0].BlobKey, b.project.ID+"/"+orphan.ID+"/0"
	b.copyBlob(t, keptKey, orphanKey)
	if _, err := b.queue.CancelGeneration(t.Context(), b.project.ID, orphan.ID); err != nil {
		t.Fatal(err)
	}
	for sql, arg := range map[string]any{
		`UPDATE image SET expires_at = now() - interval '1 second' WHERE generation_id = $1`:   expired.ID,
		`UPDATE generation SET purge_at = now() - interval '1 second' WHERE id = $1`:           orphan.ID,
		`DELETE FROM river.river_job WHERE kind IN ('expire_images', 'lapse_keys') OR $1 = ''`: "x", // this minute's has run
	} {
		if _, err := b.db.Pool().Exec(t.Context(), sql, arg); err != nil {
			t.Fatal(err)
		}
	}
	b.start(t, nil)
	expiredKey := b.images(t, expired)[0].BlobKey
	deadline := time.Now().Add(2 * time.Minute)
	for b.stored(t, expiredKey) || b.stored(t, orphanKey) {
		if time.Now().After(deadline) {
			t.Fatalf("expired blob there: %v, orphan there: %v", b.stored(t, expiredKey), b.stored(t, orphanKey))
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !b.stored(t, keptKey) {
		t.Error("an image that has not expired lost its blob")
	}
	b.until(t, expired.ID, func(g *store.Generation) bool { return b.images(t, g)[0].PurgedAt != nil })
}

func (b *bundle) stored(t *testing.T, key string) bool {
	t.Helper()
	_, err := b.blobs.Stat(t.Context(), key)
	if err != nil && !errors.Is(err, blobs.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}
