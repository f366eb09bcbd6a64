package worker_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
	"github.com/nanobanana/nanobanana/worker"
)

// untilDerived waits until no thumbnail is due.
func (b *bundle) untilDerived(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		var due int
		if err := b.db.Pool().QueryRow(t.Context(), `SELECT count(*) FROM image WHERE derive_at IS NOT NULL`).Scan(&due); err != nil {
			t.Fatal(err)
		}
		if due == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d thumbnails are still due", due)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// undone makes images whose thumbnails are due, and stops the worker.
func (b *bundle) undone(t *testing.T, data string, n int) []*store.Image {
	t.Helper()
	w := b.start(t, func(o *worker.Options) { o.Simulator.Routes[0].Provider = sending(t, data) })
	g := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "x", N: n}).ID)
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE image SET derive_at = now(), derive_tries = 0, thumbhash = NULL, thumbnail_type = NULL`)
	b.exec(t, `DELETE FROM river.river_job WHERE kind = 'derive_images'`) // this period's has run
	return b.images(t, g)
}

func (b *bundle) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := b.db.Pool().Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func TestDeriveImages_BrokenAndLostOnesEnd(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	images := b.undone(t, pngHeader(1024, 1024), 2)
	if err := b.blobs.Delete(t.Context(), images[1].BlobKey); err != nil {
		t.Fatal(err)
	}
	b.start(t, nil)
	b.untilDerived(t)
	for _, i := range images {
		got, err := b.db.Image(t.Context(), b.project.ID, i.ID)
		if err != nil || got.Thumbhash != nil || got.ThumbnailType != nil || b.stored(t, i.BlobKey+store.ThumbnailSuffix) {
			t.Errorf("a picture without pixels has a thumbnail: %+v, %v", got, err)
		}
	}
	b.wantNoSpool(t)
}

func TestDeriveImages_ReplacesAForeignThumbnailAndFreesPurgedOnes(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	images := b.undone(t, jpegOf(t, drawing(1024, 1024, 9)), 3)
	for _, i := range images {
		if err := b.blobs.Delete(t.Context(), i.BlobKey+store.ThumbnailSuffix); err != nil {
			t.Fatal(err)
		}
		b.write(t, i.BlobKey+store.ThumbnailSuffix, "another's")
	}
	b.exec(t, `UPDATE image SET purged_at = now() WHERE id = $1`, images[1].ID)
	b.exec(t, `UPDATE image SET deleted_at = now() WHERE id = $1`, images[2].ID)
	b.start(t, nil)
	b.untilDerived(t)
	got, err := b.db.Image(t.Context(), b.project.ID, images[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	b.wantThumbnail(t, got)
	if b.stored(t, images[1].BlobKey+store.ThumbnailSuffix) {
		t.Error("the thumbnail of a purged image is left")
	}
	if got, err = b.db.Image(t.Context(), b.project.ID, images[2].ID); err != nil || got.Thumbhash != nil {
		t.Errorf("a deleted image got a placeholder: %+v, %v", got, err)
	}
}

// TestDeriveImages_StopsInTheMiddle stops a worker that has more thumbnails to make
// than it could while it drains.
func TestDeriveImages_StopsInTheMiddle(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	images := b.undone(t, jpegOf(t, drawing(1024, 1024, 9)), 1)
	b.exec(t, `
		INSERT INTO image (id, generation_id, org_id, project_id, idx, blob_key, media_type, bytes, width, height, sha256, created_at, derive_at)
		SELECT 'img_' || n, generation_id, org_id, project_id, 0, blob_key, media_type, bytes, width, height, sha256, now(), now()
		FROM image, generate_series(1, 2000) AS n`)
	w := b.start(t, func(o *worker.Options) { o.DrainTimeout = time.Minute })
	b.until(t, images[0].GenerationID, func(g *store.Generation) bool { return b.images(t, g)[0].Thumbhash != nil })
	began := time.Now()
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the worker took %s to stop", took)
	}
	var due, tried int
	err := b.db.Pool().QueryRow(t.Context(), `
		SELECT count(*), count(*) FILTER (WHERE derive_tries > 0) FROM image
		WHERE derive_at IS NOT NULL`).Scan(&due, &tried)
	if err != nil || due == 0 || tried > 0 {
		t.Errorf("%d thumbnails are due, %d of them with a try, %v; want the rest, untried", due, tried, err)
	}
}

// TestDeriveImages_StorageAway puts images off without taking a try from them.
func TestDeriveImages_StorageAway(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	images := b.undone(t, jpegOf(t, drawing(1024, 1024, 9)), 2)
	s3, bucket := downBucket(t)
	b.start(t, func(o *worker.Options) { o.Blobs = s3 })
	deadline := time.Now().Add(2 * time.Minute)
	for bucket.asked.Load() == 0 || b.due(t, images) != 2 {
		if time.Now().After(deadline) {
			t.Fatalf("storage was asked %d times, %d images are put off", bucket.asked.Load(), b.due(t, images))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestDeriveImages_OneUnreadableCostsTheOthersNothing has unreadable images among
// others: alone, and two in a row.
func TestDeriveImages_OneUnreadableCostsTheOthersNothing(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	images := b.undone(t, jpegOf(t, drawing(1024, 1024, 9)), 4)
	unreadable := []string{images[0].ID, images[2].ID, images[3].ID}
	b.exec(t, `UPDATE image SET blob_key = '../' || idx WHERE id = ANY($1)`, unreadable)
	b.exec(t, `UPDATE image SET derive_at = now() - interval '1 minute' + idx * interval '1 second'`)
	log := &record{}
	b.start(t, func(o *worker.Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	b.until(t, images[1].GenerationID, func(g *store.Generation) bool { return b.images(t, g)[1].ThumbnailType != nil })
	log.wait(t, "storage failed twice in a row", 2*time.Minute)
	deadline := time.Now().Add(2 * time.Minute)
	for _, id := range unreadable {
		var tries int
		var later bool
		for tries != 1 || !later {
			err := b.db.Pool().QueryRow(t.Context(), `
				SELECT derive_tries, coalesce(derive_at BETWEEN now() + interval '10 seconds' AND now() + interval '1 minute', false)
				FROM image WHERE id = $1`, id).Scan(&tries, &later)
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("%s has %d tries, in a minute %t, %v; want one, to be tried again", id, tries, later, err)
			}
			time.Sleep(5 * time.Millisecond)
		}
		log.wait(t, id, time.Minute)
	}
}

// due counts the images that are put off untried.
func (b *bundle) due(t *testing.T, images []*store.Image) (n int) {
	t.Helper()
	err := b.db.Pool().QueryRow(t.Context(), `
		SELECT count(*) FROM image
		WHERE generation_id = $1 AND derive_tries = 0 AND derive_at > now() + interval '10 seconds'`, images[0].GenerationID).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// deadBucket is a foreign S3 service that answers whether the bucket exists until
// it is asked for more.
type deadBucket struct{ asked atomic.Int64 }

func (d *deadBucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/b" {
		d.asked.Add(1)
	}
	if d.asked.Load() > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func downBucket(t *testing.T) (*blobs.S3, *deadBucket) {
	t.Helper()
	bucket := &deadBucket{}
	server := httptest.NewServer(bucket)
	t.Cleanup(server.Close)
	s3, err := blobs.OpenS3(t.Context(), blobs.S3Options{
		Bucket: "b", Endpoint: server.URL, AccessKeyID: "k", SecretAccessKey: "s", PathStyle: true, Attempts: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s3, bucket
}
