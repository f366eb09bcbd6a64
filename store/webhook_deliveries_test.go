package store_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nanobanana/nanobanana/store"
)

// queuedEvent makes a generation and returns the id of its first event.
func (b *bundle) queuedEvent(t *testing.T, change func(*store.NewGeneration)) string {
	t.Helper()
	g := b.queued(t, change)
	events, err := b.GenerationEvents(t.Context(), g.ProjectID, g.ID, 0)
	if err != nil || len(events) != 1 {
		t.Fatal(events, err)
	}
	return events[0].ID
}

// errandTickets lists all tickets of deliveries: event, and state.
func (b *bundle) errandTickets(t *testing.T) []string {
	t.Helper()
	return b.lines(t, `
		SELECT event || ' ' || what FROM (
			SELECT args ->> 'event' AS event, state::text AS what, id FROM river.river_job WHERE kind = 'webhook'
			UNION ALL
			SELECT event_id, 'waits', 0 FROM webhook_delivery WHERE due_at IS NOT NULL AND state = 'pending'
		) AS t
		ORDER BY event, id`)
}

func eventsOf(page []*store.KnownDelivery) (ids []string) {
	for _, d := range page {
		ids = append(ids, d.EventID)
	}
	return ids
}

func TestDeliveries_Pages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	endpoint := b.endpoint(t, []string{"*"}, "")
	b.endpoint(t, []string{"*"}, "") // another one's are not seen
	var ids []string
	for range 4 {
		ids = append(ids, b.queuedEvent(t, nil))
	}
	generation, _ := store.GenerationOfEvent(ids[3])
	b.claim(t, generation)
	ids = append(ids, ids[3][:29]+"8")
	b.exec(t, `UPDATE webhook_delivery SET state = 'failed' WHERE event_id = $1`, ids[1])
	for _, c := range []struct {
		name   string
		filter store.DeliveryFilter
		want   []string
	}{
		{"newest first", store.DeliveryFilter{Limit: 2}, []string{ids[4], ids[3]}},
		{"after", store.DeliveryFilter{After: ids[2], Limit: 9}, []string{ids[1], ids[0]}},
		{"before", store.DeliveryFilter{Before: ids[0], Limit: 2}, []string{ids[2], ids[1]}},
		{"state", store.DeliveryFilter{State: store.DeliveryFailed, Limit: 9}, []string{ids[1]}},
		{"types", store.DeliveryFilter{Types: []string{store.EventGenerationStarted}, Limit: 9}, []string{ids[4]}},
		{"nothing", store.DeliveryFilter{State: store.DeliveryHeld, Limit: 9}, nil},
	} {
		page, err := b.Deliveries(t.Context(), b.scope(), endpoint, c.filter)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, eventsOf(page)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// Nobody sees or moves what is not in his scope.
func TestDeliveries_Scope(t *testing.T) {
	t.Parallel()
	b := setup(t)
	endpoint := b.endpoint(t, []string{"*"}, "")
	deleted := b.endpoint(t, []string{"*"}, "")
	url := "https://example.com"
	event := b.queuedEvent(t, func(g *store.NewGeneration) { g.WebhookURL, g.WebhookEvents = &url, []string{"*"} })
	b.exec(t, `UPDATE webhook_endpoint SET deleted_at = now() WHERE id = $1`, deleted)
	b.exec(t, `UPDATE webhook_delivery SET state = 'failed'`)
	before := b.errandTickets(t)
	own := b.scope()
	for name, c := range map[string]struct {
		scope    store.Scope
		endpoint string
		lists    error // of Deliveries and Replay
		finds    error // of Delivery
	}{
		"own":           {own, endpoint, nil, nil},
		"deleted":       {own, deleted, nil, nil},
		"request":       {own, store.EndpointRequest, nil, nil},
		"unknown":       {own, "whep_1", store.ErrNotFound, store.ErrNotFound},
		"other org":     {store.Scope{OrgID: "org_2", ProjectID: own.ProjectID}, endpoint, store.ErrNotFound, store.ErrNotFound},
		"other project": {store.Scope{OrgID: own.OrgID, ProjectID: "proj_2"}, endpoint, store.ErrNotFound, store.ErrNotFound},
		"their request": {store.Scope{OrgID: own.OrgID, ProjectID: "proj_2"}, store.EndpointRequest, nil, store.ErrNotFound},
		"test mode":     {store.Scope{OrgID: own.OrgID, ProjectID: own.ProjectID, Test: true}, endpoint, store.ErrNotFound, store.ErrNotFound},
		"test request":  {store.Scope{OrgID: own.OrgID, ProjectID: own.ProjectID, Test: true}, store.EndpointRequest, nil, store.ErrNotFound},
	} {
		page, err := b.Deliveries(t.Context(), c.scope, c.endpoint, store.DeliveryFilter{Limit: 9})
		if !errors.Is(err, c.lists) || c.finds == nil && len(page) != 1 || c.finds != nil && len(page) > 0 {
			t.Errorf("%s: list %v, %v", name, eventsOf(page), err)
		}
		if d, err := b.Delivery(t.Context(), c.scope, c.endpoint, event); !errors.Is(err, c.finds) || err == nil && d.EventType != store.EventGenerationQueued {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
		if c.finds == nil {
			continue
		}
		if _, err := b.Redeliver(t.Context(), c.scope, c.endpoint, event); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: redeliver: %v", name, err)
		}
		if replay, err := b.Replay(t.Context(), c.scope, c.endpoint, store.ReplayRange{States: []string{"failed"}}); !errors.Is(err, c.lists) || err == nil && replay.Queued > 0 {
			t.Errorf("%s: replay: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, b.errandTickets(t)); diff != "" {
		t.Errorf("tickets (-before +after):\n%s", diff)
	}
}

func TestRedeliver(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		endpoint string // SET of the endpoint
		delivery string // SET of the delivery
		ticket   string // state of its ticket before
		want     error
		tickets  []string // states
	}{
		"pending":         {"", "", "available", nil, []string{"available"}},
		"failing":         {"failing_since = now() - interval '2 minutes'", "", "available", nil, nil},
		"being attempted": {"", "", "running", nil, []string{"available", "running"}},
		"delivered":       {"", "state = 'delivered', attempts = 3, tries = 3, ended_at = now(), next_attempt_at = NULL, sender = 'w'", "completed", nil, []string{"available", "completed"}},
		"held":            {"", "state = 'held', ticket = NULL, next_attempt_at = NULL", "completed", nil, []string{"available", "completed"}},
		"disabled":        {"disabled_at = now(), disabled_reason = 'gone'", "", "available", store.ErrEndpointDisabled, []string{"available"}},
		"deleted":         {"deleted_at = now()", "", "available", store.ErrEndpointDeleted, []string{"available"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			endpoint := b.endpoint(t, []string{"*"}, "")
			event := b.queuedEvent(t, nil)
			if c.endpoint != "" {
				b.exec(t, `UPDATE webhook_endpoint SET `+c.endpoint)
			}
			if c.delivery != "" {
				b.exec(t, `UPDATE webhook_delivery SET `+c.delivery)
			}
			b.exec(t, `UPDATE river.river_job SET state = $1::text::river.river_job_state,
				finalized_at = CASE WHEN $1 = 'completed' THEN now() END WHERE kind = 'webhook'`, c.ticket)
			before, err := b.Delivery(t.Context(), b.scope(), endpoint, event)
			if err != nil {
				t.Fatal(err)
			}
			after, err := b.Redeliver(t.Context(), b.scope(), endpoint, event)
			if !errors.Is(err, c.want) {
				t.Fatal(err)
			}
			states := b.lines(t, `SELECT state::text FROM river.river_job WHERE kind = 'webhook' ORDER BY state::text`)
			if diff := cmp.Diff(c.tickets, states, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("tickets (-want +got):\n%s", diff)
			}
			if err != nil {
				return
			}
			want := *before
			want.State, want.Tries, want.EndedAt = store.DeliveryPending, 0, nil
			want.Ticket, want.NextAttemptAt = after.Ticket, after.NextAttemptAt
			if diff := cmp.Diff(&want, after); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			rightful := b.lines(t, `SELECT format('%s %s %s', j.state, j.args, d.sender IS NULL AND d.next_attempt_at = j.scheduled_at)
				FROM webhook_delivery AS d JOIN river.river_job AS j ON j.id = d.ticket`)
			if c.tickets == nil {
				rightful = b.lines(t, `SELECT event_id FROM webhook_delivery WHERE due_at <= now() AND next_attempt_at = due_at AND ticket IS NULL AND sender IS NULL`)
				if diff := cmp.Diff([]string{event}, rightful); diff != "" {
					t.Errorf("it waits (-want +got):\n%s", diff)
				}
				return
			}
			args := fmt.Sprintf(` {"event": "%s", "endpoint": "%s"} t`, event, endpoint)
			if diff := cmp.Diff([]string{c.tickets[0] + args}, rightful); diff != "" {
				t.Errorf("rightful ticket (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRedeliver_AtOnceLeavesOneTicket(t *testing.T) {
	t.Parallel()
	b := setup(t)
	endpoint := b.endpoint(t, []string{"*"}, "")
	event := b.queuedEvent(t, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := b.Redeliver(t.Context(), b.scope(), endpoint, event); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff([]string{event + " available"}, b.errandTickets(t)); diff != "" {
		t.Errorf("tickets (-want +got):\n%s", diff)
	}
	if n := b.lines(t, `SELECT 'x' FROM webhook_delivery AS d JOIN river.river_job AS j ON j.id = d.ticket`); len(n) != 1 {
		t.Error("the ticket is not the delivery's")
	}
}

func TestRedeliver_RequestAfterRemoval(t *testing.T) {
	t.Parallel()
	b := setup(t)
	url := "https://example.com"
	event := b.queuedEvent(t, func(g *store.NewGeneration) { g.WebhookURL, g.WebhookEvents = &url, []string{"*"} })
	if d, err := b.Redeliver(t.Context(), b.scope(), store.EndpointRequest, event); err != nil || d.EndpointID != store.EndpointRequest {
		t.Fatalf("%+v, %v", d, err)
	}
	id, _ := store.GenerationOfEvent(event)
	if _, _, err := b.CancelGeneration(t.Context(), b.project.ID, id); err != nil {
		t.Fatal(err)
	}
	if err := b.RemoveGeneration(t.Context(), b.project.ID, id); err != nil {
		t.Fatal(err)
	}
	g, err := b.Generation(t.Context(), b.project.ID, id)
	if err != nil || g.WebhookURL != nil || g.WebhookEvents != nil {
		t.Errorf("%+v, %v", g, err)
	}
	if _, err := b.Redeliver(t.Context(), b.scope(), store.EndpointRequest, event); !errors.Is(err, store.ErrEndpointDeleted) {
		t.Errorf("%v", err)
	}
}

func TestReplay_Selects(t *testing.T) {
	t.Parallel()
	b := setup(t)
	endpoint := b.endpoint(t, []string{"*"}, "")
	other := b.endpoint(t, []string{"*"}, "")
	states := []string{"failed", "held", "delivered", "pending", "failed"}
	var ids []string
	for i, state := range states {
		ids = append(ids, b.queuedEvent(t, nil))
		b.exec(t, `UPDATE webhook_delivery SET state = $1, created_at = now() - make_interval(hours => $2) WHERE event_id = $3`, state, 10-i, ids[i])
	}
	b.exec(t, `UPDATE event SET type = 'generation.failed' WHERE id = $1`, ids[4])
	b.exec(t, `DELETE FROM river.river_job WHERE kind = 'webhook'`)
	hoursAgo := func(n float64) *time.Time {
		at := time.Now().Add(-time.Duration(n * float64(time.Hour)))
		return &at
	}
	// Each is undone: those that are pending now are made what they were.
	for _, c := range []struct {
		name string
		r    store.ReplayRange
		want []int
	}{
		{"default", store.ReplayRange{States: []string{"failed", "held"}}, []int{0, 1, 4}},
		{"pending is on its way", store.ReplayRange{States: []string{"pending"}}, nil},
		{"delivered", store.ReplayRange{States: []string{"delivered"}}, []int{2}},
		{"since", store.ReplayRange{States: states, Since: hoursAgo(9.5)}, []int{1, 2, 4}},
		{"until", store.ReplayRange{States: states, Until: hoursAgo(7.5)}, []int{0, 1, 2}},
		{"types", store.ReplayRange{States: states, Types: []string{"generation.failed"}}, []int{4}},
		{"after", store.ReplayRange{States: states, After: ids[1]}, []int{2, 4}},
	} {
		var want, tickets []string
		last := ""
		for _, i := range c.want {
			want = append(want, ids[i]+" waits")
			last = ids[i]
		}
		replay, err := b.Replay(t.Context(), b.scope(), endpoint, c.r)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&store.Replay{Queued: len(want), Last: last}, replay); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if tickets = b.errandTickets(t); !slices.Equal(want, tickets) {
			t.Errorf("%s: tickets (-want +got):\n%s", c.name, cmp.Diff(want, tickets))
		}
		b.exec(t, `DELETE FROM river.river_job WHERE kind = 'webhook'`)
		for i, state := range states {
			b.exec(t, `UPDATE webhook_delivery SET state = $1, ticket = NULL, due_at = NULL WHERE event_id = $2 AND endpoint_id = $3`, state, ids[i], endpoint)
		}
	}
	if pending := b.lines(t, `SELECT event_id FROM webhook_delivery WHERE endpoint_id = $1 AND state = 'pending'`, other); !slices.Equal(pending, ids[3:4]) {
		t.Errorf("another endpoint's are pending: %v", pending)
	}
}

func TestReplay_InParts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	endpoint := b.endpoint(t, []string{"*"}, "disabled_at = now(), disabled_reason = 'asked'")
	var rows []*store.NewGeneration
	for range store.MaxReplay + 7 {
		rows = append(rows, b.unqueued(nil))
	}
	if err := b.InsertGenerations(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	r := store.ReplayRange{States: []string{"held"}}
	if _, err := b.Replay(t.Context(), b.scope(), endpoint, r); !errors.Is(err, store.ErrEndpointDisabled) {
		t.Fatal(err)
	}
	if tickets := b.errandTickets(t); len(tickets) > 0 {
		t.Fatalf("%d tickets to a disabled endpoint", len(tickets))
	}
	b.exec(t, `UPDATE webhook_endpoint SET disabled_at = NULL, disabled_reason = NULL`)
	first, err := b.Replay(t.Context(), b.scope(), endpoint, r)
	if err != nil || first.Queued != store.MaxReplay || !first.More {
		t.Fatalf("%+v, %v", first, err)
	}
	// A part that was attempted meanwhile is not replayed twice.
	b.exec(t, `UPDATE webhook_delivery SET state = 'held', due_at = NULL WHERE state = 'pending' AND event_id < $1`, first.Last)
	r.After = first.Last
	rest, err := b.Replay(t.Context(), b.scope(), endpoint, r)
	if err != nil || rest.Queued != 7 || rest.More {
		t.Fatalf("%+v, %v", rest, err)
	}
	if n := len(b.errandTickets(t)); n != 1+7 {
		t.Errorf("%d wait", n)
	}
}

// What is redelivered and replayed at the same time has one ticket, and it is good.
func TestReplay_BesideRedeliver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	endpoint := b.endpoint(t, []string{"*"}, "")
	var ids []string
	for range 20 {
		ids = append(ids, b.queuedEvent(t, nil))
	}
	b.exec(t, `DELETE FROM river.river_job WHERE kind = 'webhook'`)
	b.exec(t, `UPDATE webhook_delivery SET state = 'failed', ticket = NULL`)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := b.Replay(t.Context(), b.scope(), endpoint, store.ReplayRange{States: []string{"failed"}}); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			for _, id := range ids {
				if _, err := b.Redeliver(t.Context(), b.scope(), endpoint, id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(b.errandTickets(t)); n != len(ids) {
		t.Errorf("%d tickets for %d deliveries", n, len(ids))
	}
	if n := b.lines(t, `SELECT 'x' FROM webhook_delivery AS d JOIN river.river_job AS j ON j.id = d.ticket AND j.args ->> 'event' = d.event_id`); len(n) != len(ids) {
		t.Errorf("%d of %d tickets are their deliveries'", len(n), len(ids))
	}
}

func TestRequestDeliveries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.endpoint(t, []string{"*"}, "")
	url := "https://example.com"
	told := b.queued(t, func(g *store.NewGeneration) { g.WebhookURL, g.WebhookEvents = &url, []string{"*"} })
	silent := b.queued(t, nil)
	b.claim(t, told.ID)
	b.exec(t, `UPDATE webhook_delivery SET attempts = 2`)
	for project, want := range map[string]map[string]int{b.project.ID: {told.ID: 4}, "proj_other": {}} {
		got, err := b.RequestDeliveries(t.Context(), project, []string{told.ID, silent.ID})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", project, diff)
		}
	}
}
