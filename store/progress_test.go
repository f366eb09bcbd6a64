package store_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

func (b *bundle) progress(t *testing.T, runs ...store.Progress) {
	t.Helper()
	if err := b.RecordProgress(t.Context(), runs); err != nil {
		t.Fatal(err)
	}
}

// steps lists what followers of a generation were told, with its numbers.
func (b *bundle) steps(t *testing.T, id string) (list []string) {
	t.Helper()
	events, err := b.GenerationEvents(t.Context(), b.project.ID, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		list = append(list, fmt.Sprintf("%d %s %s", e.Sequence, e.Type, e.Data))
	}
	return list
}

func TestRecordProgress(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g, other := b.queued(t, nil), b.queued(t, nil)
	c, o := b.claim(t, g.ID), b.claim(t, other.ID)
	at := func(c *store.Claim, step int) store.Progress {
		return store.Progress{GenerationID: c.ID, Fence: c.Fence, Step: step}
	}
	b.progress(t)
	b.progress(t, at(c, 2), at(c, 1), at(c, 2))
	b.progress(t, at(c, 2), at(o, 1)) // the first is known
	b.progress(t, at(c, 1), at(o, 1)) // both are
	stale := at(c, 4)
	stale.Fence--
	b.progress(t, stale)
	b.progress(t, at(c, 4), store.Progress{GenerationID: store.NewGenerationID(), Fence: 1, Step: 1})
	b.finish(t, succeeded(c))
	b.progress(t, at(c, 3))
	b.progress(t, at(o, 4))
	want := []string{
		"1 generation.queued ", "3 generation.started ", `5 generation.progress {"progress": 0.4}`,
		`7 generation.progress {"progress": 0.8}`, "8 generation.succeeded ",
	}
	if diff := cmp.Diff(want, b.steps(t, g.ID)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want = []string{"2 generation.queued ", "4 generation.started ", `6 generation.progress {"progress": 0.2}`, `9 generation.progress {"progress": 0.8}`}
	if diff := cmp.Diff(want, b.steps(t, other.ID)); diff != "" {
		t.Errorf("of the other (-want +got):\n%s", diff)
	}
	for _, step := range []int{0, store.ProgressSteps + 1} {
		if err := b.RecordProgress(t.Context(), []store.Progress{at(o, step)}); err == nil {
			t.Errorf("there is a step %d", step)
		}
	}
}

func TestRecordProgress_QueuesDeliveries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	asks := b.endpoint(t, []string{"generation.progress"}, "")
	b.endpoint(t, []string{"generation.succeeded"}, "")
	url := "https://example.com/own"
	g := b.queued(t, func(g *store.NewGeneration) { g.WebhookURL, g.WebhookEvents = &url, []string{"generation.progress"} })
	c := b.claim(t, g.ID)
	b.progress(t, store.Progress{GenerationID: g.ID, Fence: c.Fence, Step: 3})
	var told, tickets int
	err := b.Pool().QueryRow(t.Context(), `
		SELECT count(*), count(j.id)
		FROM webhook_delivery AS d LEFT JOIN river.river_job AS j ON j.id = d.ticket AND j.state = 'available'
		WHERE d.endpoint_id IN ($1, $2)`, asks, store.EndpointRequest).Scan(&told, &tickets)
	if told != 2 || tickets != 2 || err != nil {
		t.Errorf("%d deliveries with %d tickets, %v; want 2", told, tickets, err)
	}
}

// A run that ends is not waited for, and does not wait.
func TestRecordProgress_LeavesOutWhatIsChanging(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g, other := b.queued(t, nil), b.queued(t, nil)
	c, o := b.claim(t, g.ID), b.claim(t, other.ID)
	err := b.Transact(t.Context(), func(tx *store.DB) error {
		if _, err := tx.Tx().Exec(t.Context(), `SELECT FROM generation WHERE id = $1 FOR UPDATE`, g.ID); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		return b.RecordProgress(ctx, []store.Progress{
			{GenerationID: g.ID, Fence: c.Fence, Step: 1}, {GenerationID: other.ID, Fence: o.Fence, Step: 1},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(b.steps(t, g.ID)) + 10*len(b.steps(t, other.ID)); got != 32 {
		t.Errorf("%v, %v", b.steps(t, g.ID), b.steps(t, other.ID))
	}
}

// Whatever is told at the same time, no number is used twice or left out.
func TestRecordProgress_AmongOtherChanges(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for range 5 {
				c := b.claim(t, b.queued(t, nil).ID)
				for step := range store.ProgressSteps {
					b.progress(t, store.Progress{GenerationID: c.ID, Fence: c.Fence, Step: step + 1})
				}
				b.finish(t, succeeded(c))
			}
		})
	}
	wg.Wait()
	events, err := b.Events(t.Context(), b.project.ID, store.EventFilter{Limit: 1000})
	if err != nil || len(events) != 6*5*7 || events[len(events)-1].Sequence != 6*5*7 {
		t.Errorf("%d events, %v", len(events), err)
	}
}
