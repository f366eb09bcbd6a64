package worker_test

import (
	"context"
	"testing"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/worker"
)

// A part of the watch that gets nowhere, here because someone holds the counts of
// an organization, does not keep it from the dead.
func TestWatch_ASlowStepHidesNoDeadWorker(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	dead := b.submit(t, jobs.GenerationRequest{Prompt: "of a dead worker"}).ID
	b.strand(t, dead, "zombie") // whose id comes after that of the living
	other, err := b.db.CreateOrg(t.Context(), "other", "free", nil)
	if err != nil {
		t.Fatal(err)
	}
	late := b.submit(t, jobs.GenerationRequest{Prompt: "late"}).ID
	b.exec(t, `UPDATE generation SET org_id = $1, held_at = now(), river_job_id = NULL, deadline_at = now() - interval '1 second' WHERE id = $2`, other.ID, late)
	b.exec(t, `DELETE FROM river.river_job WHERE args ->> 'id' = $1`, late)
	b.exec(t, `INSERT INTO admission (org_id, queue, held) VALUES ($1, 'generate', 1)`, other.ID)
	b.exec(t, `INSERT INTO worker (id, slots, batch_slots, seen_at) VALUES ('zombie', 1, 1, now() - interval '5 seconds')`)
	tx, err := b.db.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	if _, err := tx.Exec(t.Context(), `SET LOCAL idle_in_transaction_session_timeout = 0`); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT FROM admission WHERE org_id = $1 FOR UPDATE`, other.ID); err != nil {
		t.Fatal(err)
	}
	b.start(t, func(o *worker.Options) { o.ID = "living" })
	b.until(t, dead, func(g *store.Generation) bool { return g.Fence > 0 })
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.ended(t, dead)
}
