package store_test

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store"
)

// told lists what the project's customers were told: type and generation.
func (b *bundle) told(t *testing.T) (list []string) {
	t.Helper()
	events, err := b.Events(t.Context(), b.project.ID, store.EventFilter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range events {
		if e.Sequence != int64(i+1) {
			t.Errorf("event %d has number %d", i+1, e.Sequence)
		}
		id, _ := store.GenerationOfEvent(e.ID)
		list = append(list, e.Type+" "+id)
	}
	return list
}

func TestEvents_OneForEachChange(t *testing.T) {
	t.Parallel()
	b := setup(t)
	done, canceled := b.queued(t, nil), b.queued(t, nil)
	expired := b.queued(t, func(g *store.NewGeneration) { g.DeadlineAt = time.Now().Add(-time.Second) })
	late := b.queued(t, func(g *store.NewGeneration) { g.DeadlineAt = time.Now().Add(-time.Second) })

	c := b.claim(t, done.ID)
	b.finish(t, &store.Outcome{GenerationID: c.ID, Fence: c.Fence, Status: store.StatusQueued}) // to be repeated
	c = b.claim(t, done.ID)
	if !b.finish(t, succeeded(c)) || b.finish(t, succeeded(c)) {
		t.Error("a run finishes once")
	}
	for range 2 {
		if _, _, err := b.CancelGeneration(t.Context(), b.project.ID, canceled.ID); err != nil {
			t.Fatal(err)
		}
	}
	if ok, err := b.ExpireGeneration(t.Context(), late.ID); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if n, err := b.ExpireOverdue(t.Context(), 10); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	want := []string{
		"generation.queued " + done.ID, "generation.queued " + canceled.ID,
		"generation.queued " + expired.ID, "generation.queued " + late.ID,
		"generation.started " + done.ID, "generation.succeeded " + done.ID, "generation.canceled " + canceled.ID,
		"generation.expired " + late.ID, "generation.expired " + expired.ID,
	}
	if diff := cmp.Diff(want, b.told(t)); diff != "" {
		t.Error(diff)
	}
	events, err := b.GenerationEvents(t.Context(), b.project.ID, done.ID, 1)
	if err != nil || len(events) != 2 || events[0].Type != store.EventGenerationStarted {
		t.Errorf("after the first: %v, %v", events, err)
	}
}

// Whoever has read to a number must never find a lower one later.
func TestEvents_NumbersFollowCommits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				g := b.queued(t, nil)
				if _, _, err := b.CancelGeneration(t.Context(), b.project.ID, g.ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var last int64
	for over := false; !over; {
		select {
		case <-done:
			over = true // read what is left
		default:
		}
		for {
			page, err := b.Events(t.Context(), b.project.ID, store.EventFilter{After: last, Limit: 7})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page {
				if e.Sequence != last+1 {
					t.Fatalf("%d follows %d", e.Sequence, last)
				}
				last = e.Sequence
			}
			if len(page) == 0 {
				break
			}
		}
	}
	if last != 160 {
		t.Errorf("%d events of 160", last)
	}
}

func TestEvents_Pages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 5 {
		b.queued(t, nil)
	}
	b.queued(t, func(g *store.NewGeneration) { g.Test = true })
	for _, c := range []struct {
		name   string
		filter store.EventFilter
		want   []int64
	}{
		{"oldest first", store.EventFilter{Limit: 3}, []int64{1, 2, 3}},
		{"after", store.EventFilter{After: 3, Limit: 3}, []int64{4, 5}},
		{"before", store.EventFilter{Before: 5, Limit: 2}, []int64{3, 4}},
		{"between", store.EventFilter{After: 1, Before: 5, Limit: 9}, []int64{2, 3, 4}},
		{"newest first", store.EventFilter{Descending: true, Limit: 2}, []int64{5, 4}},
		{"newest first, after", store.EventFilter{Descending: true, After: 4, Limit: 2}, []int64{3, 2}},
		{"newest first, before", store.EventFilter{Descending: true, Before: 2, Limit: 2}, []int64{4, 3}},
		{"before the future", store.EventFilter{Before: 1 << 31, Limit: 2}, []int64{4, 5}},
		{"before the end", store.EventFilter{Before: math.MaxInt64, Limit: 1}, []int64{5}},
		{"after the end", store.EventFilter{After: math.MaxInt64, Limit: 1}, nil},
		{"newest first, after the future", store.EventFilter{Descending: true, After: 1 << 31, Limit: 2}, []int64{5, 4}},
		{"test", store.EventFilter{Test: true, Limit: 9}, []int64{6}},
		{"type", store.EventFilter{Types: []string{store.EventGenerationFailed}, Limit: 9}, nil},
	} {
		events, err := b.Events(t.Context(), b.project.ID, c.filter)
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for _, e := range events {
			got = append(got, e.Sequence)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	if events, err := b.Events(t.Context(), "proj_other", store.EventFilter{Limit: 9}); len(events) > 0 || err != nil {
		t.Errorf("another project sees %d events, %v", len(events), err)
	}
}

// endpoint records an endpoint of the project.
func (b *bundle) endpoint(t *testing.T, events []string, set string) string {
	t.Helper()
	id := store.NewID("whep")
	_, err := b.Pool().Exec(t.Context(), `
		INSERT INTO webhook_endpoint (id, org_id, project_id, test, url, events, description, api_version)
		VALUES (@id, @org, @project, false, 'https://example.com', @events, '', '2026-11-01')`,
		pgx.NamedArgs{"id": id, "org": b.project.OrgID, "project": b.project.ID, "events": events})
	if err == nil && set != "" {
		_, err = b.Pool().Exec(t.Context(), `UPDATE webhook_endpoint SET `+set+` WHERE id = $1`, id)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestDeliveries_OneForEachEndpointThatAsks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	all := b.endpoint(t, []string{"*"}, "")
	ends := b.endpoint(t, []string{"generation.succeeded", "generation.failed"}, "")
	b.endpoint(t, []string{"webhook_endpoint.*"}, "")
	b.endpoint(t, []string{"*"}, "test = true")
	b.endpoint(t, []string{"*"}, "deleted_at = now()")
	disabled := b.endpoint(t, []string{"generation.*"}, "disabled_at = now()")
	failing := b.endpoint(t, []string{"generation.succeeded"}, "failing_since = now() - interval '2 minutes'")
	ofOrg := b.endpoint(t, []string{"generation.succeeded"}, "project_id = NULL")
	url := "https://example.com/own"
	g := b.queued(t, func(g *store.NewGeneration) {
		g.WebhookURL, g.WebhookEvents = &url, []string{"generation.succeeded"}
	})
	c := b.claim(t, g.ID)
	finished, err := b.FinishGenerations(t.Context(), store.Sender{Worker: "w", Net: time.Hour}, []*store.Outcome{succeeded(c)})
	if err != nil || !finished[0].Own {
		t.Fatal(finished, err)
	}
	var atOnce []string
	for _, e := range finished[0].Errands {
		atOnce = append(atOnce, e.EndpointID)
	}
	byText := cmpopts.SortSlices(func(a, b string) bool { return a < b })
	if diff := cmp.Diff([]string{all, ends, ofOrg, store.EndpointRequest}, atOnce, byText); diff != "" {
		t.Errorf("at once: %s", diff)
	}
	rows, err := b.Pool().Query(t.Context(), `
		SELECT format('%s %s %s %s', d.endpoint_id, e.type, d.state, CASE
			WHEN d.due_at <= now() AND j.id IS NULL THEN 'waits'
			WHEN j.id IS NULL THEN 'no ticket'
			WHEN j.state = 'pending' AND j.scheduled_at > now() + interval '50 minutes' THEN 'net'
			WHEN j.args <> jsonb_build_object('event', d.event_id, 'endpoint', d.endpoint_id) OR j.kind <> 'webhook' OR j.queue <> 'webhook' THEN 'wrong'
			ELSE j.state::text END)
		FROM webhook_delivery AS d JOIN event AS e ON e.id = d.event_id LEFT JOIN river.river_job AS j ON j.id = d.ticket`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, line := range []struct{ endpoint, change, rest string }{
		{all, "queued", "pending available"}, {all, "started", "pending available"}, {all, "succeeded", "pending net"},
		{ends, "succeeded", "pending net"},
		{disabled, "queued", "held no ticket"}, {disabled, "started", "held no ticket"}, {disabled, "succeeded", "held no ticket"},
		{failing, "succeeded", "pending waits"}, {ofOrg, "succeeded", "pending net"}, {store.EndpointRequest, "succeeded", "pending net"},
	} {
		want = append(want, fmt.Sprintf("%s generation.%s %s", line.endpoint, line.change, line.rest))
	}
	if diff := cmp.Diff(want, got, byText); diff != "" {
		t.Error(diff)
	}
}
