package worker_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// What came too late for a run ends with it: its ticket stays until that is on record.
func TestGenerate_ExpiresWhatIsLate(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	late := b.submit(t, jobs.GenerationRequest{Prompt: "late"})
	if _, err := b.db.Pool().Exec(t.Context(), `UPDATE generation SET deadline_at = now() WHERE id = $1`, late.ID); err != nil {
		t.Fatal(err)
	}
	watch, err := pgx.Connect(t.Context(), storetest.URL(b.db))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = watch.Close(context.Background()) })
	// As if another were looking for what is overdue, so that the run alone can end it.
	if _, err := watch.Exec(t.Context(), `SELECT pg_advisory_lock(x'6e62657870697265'::bigint)`); err != nil {
		t.Fatal(err)
	}
	b.start(t, nil)
	got := b.ended(t, late.ID)
	if got.Status != store.StatusExpired || got.Error == nil || got.Error.Code != "deadline_exceeded" || b.calls("late") != 0 {
		t.Fatalf("got %s, %+v, %d calls; want it expired without a call", got.Status, got.Error, b.calls("late"))
	}
	b.until(t, late.ID, func(*store.Generation) bool { return b.tickets(t, late.ID) == "completed" })
	var inOrder bool
	err = b.db.Pool().QueryRow(t.Context(), `
		SELECT g.finished_at <= j.finalized_at FROM generation AS g JOIN river.river_job AS j ON j.id = g.river_job_id
		WHERE g.id = $1`, late.ID).Scan(&inOrder)
	if err != nil || !inOrder {
		t.Errorf("the ticket was done before its generation: %v", err)
	}
}
