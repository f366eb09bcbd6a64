package worker_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/worker"
)

func TestStop_HandsTheJobBackAndItRunsElsewhere(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	first := b.start(t, nil)
	prompt := "[[sim:hang first=1]] x"
	g := b.submit(t, jobs.GenerationRequest{Prompt: prompt})
	b.until(t, g.ID, func(*store.Generation) bool { return b.calls(prompt) == 1 })
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	handed, err := b.db.Generation(t.Context(), b.project.ID, g.ID)
	if err != nil || handed.Status != store.StatusQueued || handed.Tries != 0 {
		t.Fatalf("after the stop the generation is %+v, %v; want it queued with no try used", handed, err)
	}
	b.start(t, nil)
	got := b.ended(t, g.ID)
	if got.Status != store.StatusSucceeded || got.Fence != 2 || b.calls(prompt) != 2 {
		t.Errorf("got %s, fence %d, %d calls; want success at the second claim and call", got.Status, got.Fence, b.calls(prompt))
	}
}

// What a stopping worker hands back goes on before what has come since.
func TestStop_HandsBackAPlaceInLine(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	prompt := "[[sim:hang first=1]] x"
	first := b.start(t, func(o *worker.Options) { o.Concurrency = 1 })
	g := b.submit(t, jobs.GenerationRequest{Prompt: prompt})
	b.until(t, g.ID, func(*store.Generation) bool { return b.calls(prompt) == 1 })
	b.exec(t, `UPDATE river.river_job SET scheduled_at = scheduled_at - interval '10 seconds'`) // it has been there for long
	other, err := b.db.CreateOrg(t.Context(), "other", "unlimited", nil)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := b.queue.SubmitGeneration(t.Context(), jobs.Submission{
		OrgID: other.ID, ProjectID: b.project.ID, APIKeyID: "key_1", Request: jobs.GenerationRequest{Prompt: "y"},
	})
	if err != nil {
		t.Fatal(err)
	}
	since := accepted.Generation
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows, err := b.db.Pool().Query(t.Context(), `
		SELECT args ->> 'id' FROM river.river_job WHERE kind = 'generate' AND state = 'available'
		ORDER BY priority, scheduled_at, id`)
	if err != nil {
		t.Fatal(err)
	}
	line, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{g.ID, since.ID}, line); diff != "" {
		t.Errorf("the line differs (-want +got):\n%s", diff)
	}
	b.start(t, nil)
	for _, id := range line {
		if got := b.ended(t, id); got.Status != store.StatusSucceeded || got.Tries != 0 {
			t.Errorf("%s: got %s after %d tries used", got.Prompt, got.Status, got.Tries)
		}
	}
}
