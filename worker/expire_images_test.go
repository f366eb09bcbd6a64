package worker_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/worker"
)

func TestExpireImages_LeavesNothing(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	w := b.start(t, func(o *worker.Options) {
		o.Simulator.Routes[0].Provider = sending(t, jpegOf(t, drawing(1040, 1040, 9)))
	})
	expired := b.images(t, b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "x"}).ID))[0]
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	orphan, key := b.lost(t)
	if _, err := b.queue.CancelGeneration(t.Context(), b.project.ID, orphan); err != nil {
		t.Fatal(err)
	}
	keys := append(store.BlobKeys(expired.BlobKey), key, key+store.OriginalSuffix)
	for _, k := range keys[3:] {
		b.write(t, k, "x")
	}
	for _, k := range keys {
		if !b.stored(t, k) {
			t.Fatalf("%s is not there before", k)
		}
	}
	b.exec(t, `UPDATE image SET expires_at = now() - interval '1 second'`)
	b.exec(t, `UPDATE generation SET purge_at = now() - interval '1 second' WHERE id = $1`, orphan)
	b.exec(t, `DELETE FROM river.river_job WHERE kind = 'expire_images'`)
	b.start(t, nil)
	b.until(t, expired.GenerationID, func(g *store.Generation) bool {
		i := b.images(t, g)[0]
		return i.PurgedAt != nil && i.Thumbhash == nil
	})
	b.wantDeleted(t, keys)
}

// wantDeleted waits until nothing is stored under the keys.
func (b *bundle) wantDeleted(t *testing.T, keys []string) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for _, k := range keys {
		for b.stored(t, k) {
			if time.Now().After(deadline) {
				t.Fatalf("%s is left", k)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// TestExpireImages_WhatComesLate has a frozen run store an image, all three of its
// blobs, after it has been deleted.
func TestExpireImages_WhatComesLate(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	w := b.start(t, func(o *worker.Options) {
		o.Simulator.Routes[0].Provider = sending(t, jpegOf(t, drawing(1040, 1040, 9)))
	})
	expired := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "x"}).ID)
	removed := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "x"}).ID)
	kept := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "x"}).ID)
	late := append(store.BlobKeys(b.images(t, expired)[0].BlobKey), store.BlobKeys(b.images(t, removed)[0].BlobKey)...)
	b.exec(t, `UPDATE image SET expires_at = now() - interval '1 second' WHERE generation_id = $1`, expired.ID)
	if err := b.queue.RemoveGeneration(t.Context(), b.project.ID, removed.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := func() *worker.Worker {
		b.exec(t, `DELETE FROM river.river_job WHERE kind = 'expire_images'`) // this minute's has run
		return b.start(t, nil)
	}
	w = again()
	for _, g := range []*store.Generation{expired, removed} {
		b.until(t, g.ID, func(g *store.Generation) bool { return b.images(t, g)[0].PurgedAt != nil })
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, k := range late {
		b.write(t, k, "late")
	}
	b.exec(t, `UPDATE generation SET purge_at = purge_at - make_interval(secs => $1)`, store.PurgeAfter.Seconds())
	again()
	b.wantDeleted(t, late)
	for _, k := range store.BlobKeys(b.images(t, kept)[0].BlobKey) {
		if !b.stored(t, k) {
			t.Errorf("%s of an image that is served has been deleted", k)
		}
	}
	for _, g := range []*store.Generation{expired, removed} {
		b.until(t, g.ID, func(*store.Generation) bool {
			var due bool
			err := b.db.Pool().QueryRow(t.Context(), `SELECT purge_at IS NOT NULL FROM generation WHERE id = $1`, g.ID).Scan(&due)
			return err == nil && !due
		})
	}
}

// TestExpireImages_BadOnesKeepNobody has more than a round of images, and of
// generations, whose blobs can not be deleted, all due before a good one.
func TestExpireImages_BadOnesKeepNobody(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	w := b.start(t, nil)
	good := b.images(t, b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "x"}).ID))[0]
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	orphan, key := b.lost(t)
	if _, err := b.queue.CancelGeneration(t.Context(), b.project.ID, orphan); err != nil {
		t.Fatal(err)
	}
	b.write(t, key, "x")
	b.exec(t, `
		INSERT INTO image SELECT (jsonb_populate_record(image, jsonb_build_object(
			'id', 'img_' || i, 'generation_id', 'gen_none', 'blob_key', '../' || i, 'expires_at', now() - interval '1 hour'))).*
		FROM image, generate_series(1, 450) AS i`)
	b.exec(t, `UPDATE image SET expires_at = now() - interval '1 second' WHERE id = $1`, good.ID)
	bad := make([]string, 450)
	for i := range bad {
		bad[i] = store.NewGenerationID()
	}
	b.exec(t, `
		INSERT INTO generation SELECT (jsonb_populate_record(g, jsonb_build_object(
			'id', bad, 'project_id', '..', 'purge_at', now() - interval '1 hour'))).*
		FROM generation AS g, unnest($2::text[]) AS bad
		WHERE g.id = $1`, orphan, bad)
	b.exec(t, `UPDATE generation SET purge_at = now() - interval '1 second' WHERE id = $1`, orphan)
	b.exec(t, `DELETE FROM river.river_job WHERE kind = 'expire_images'`)
	log := &record{}
	b.start(t, func(o *worker.Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	b.wantDeleted(t, append(store.BlobKeys(good.BlobKey), key))
	log.wait(t, "expire images: 450 faults", 2*time.Minute)
	log.wait(t, "purge blobs that are not served: 450 faults", time.Minute)
}
