package worker_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/worker"
)

func TestProgress_OfSeveralImages(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Concurrency = 1 }) // the first image, and one further at a time
	id := b.submit(t, jobs.GenerationRequest{Prompt: "[[sim:slow ms=700]] x", N: 5}).ID
	g := b.ended(t, id)
	events, err := b.db.GenerationEvents(t.Context(), b.project.ID, id, 0)
	if err != nil || len(events) < 5 || g.Status != store.StatusSucceeded {
		t.Fatalf("%s with %d events, %v; want progress among them", g.Status, len(events), err)
	}
	told := 0.0
	var last time.Time
	for _, e := range events[2 : len(events)-1] {
		var data struct{ Progress float64 }
		if err := json.Unmarshal(e.Data, &data); err != nil || e.Type != store.EventGenerationProgress {
			t.Fatalf("%s %s, %v", e.Type, e.Data, err)
		}
		if data.Progress <= told || data.Progress > 0.8 {
			t.Errorf("%v after %v", data.Progress, told)
		}
		if gap := e.CreatedAt.Sub(last); gap < 300*time.Millisecond {
			t.Errorf("told %s after the last", gap)
		}
		told, last = data.Progress, e.CreatedAt
	}
	if first := events[2].CreatedAt.Sub(*g.StartedAt); first < 500*time.Millisecond {
		t.Errorf("told after %s", first)
	}
}

func TestProgress_NotOfShortRunsOrOneImage(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for _, request := range []jobs.GenerationRequest{
		{Prompt: "[[sim:slow ms=1200]] one", N: 1}, {Prompt: "[[sim:slow ms=100]] four", N: 4},
	} {
		id := b.submit(t, request).ID
		g := b.ended(t, id)
		events, err := b.db.GenerationEvents(t.Context(), b.project.ID, id, 0)
		var got []string
		for _, e := range events {
			if e.Type == store.EventGenerationProgress && request.N > 1 && g.FinishedAt.Sub(*g.StartedAt) > 450*time.Millisecond {
				continue // on a machine that is busy it was no short run
			}
			got = append(got, e.Type)
		}
		want := []string{store.EventGenerationQueued, store.EventGenerationStarted, store.EventGenerationSucceeded}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", request.Prompt, err, diff)
		}
	}
}
