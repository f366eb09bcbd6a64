package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// toldURL makes a generation with a webhook_url and returns the id of its first
// event.
func (b *bundle) toldURL(t *testing.T, change func(*store.NewGeneration)) string {
	t.Helper()
	url := "https://example.com/own"
	return b.queuedEvent(t, func(g *store.NewGeneration) {
		g.WebhookURL, g.WebhookEvents = &url, []string{"*"}
		if change != nil {
			change(g)
		}
	})
}

// foreign makes a generation of another project of the organization.
func (b *bundle) foreign(t *testing.T) func(*store.NewGeneration) {
	t.Helper()
	project, err := b.CreateProject(t.Context(), b.project.OrgID, "foreign")
	if err != nil {
		t.Fatal(err)
	}
	return func(g *store.NewGeneration) { g.ProjectID = project.ID }
}

func ofTestKey(g *store.NewGeneration) { g.Test = true }

// What webhook_urls are told is listed for the caller's project and mode alone, page
// by page.
func TestDeliveries_ToRequests(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.endpoint(t, []string{"*"}, "") // its own are listed elsewhere
	foreign := b.foreign(t)
	var ids []string
	for range 4 {
		b.toldURL(t, foreign)
		b.toldURL(t, ofTestKey)
		ids = append(ids, b.toldURL(t, nil))
	}
	b.queued(t, nil) // tells nobody
	b.exec(t, `UPDATE webhook_delivery SET state = 'failed' WHERE event_id = $1`, ids[1])
	for name, c := range map[string]struct {
		filter store.DeliveryFilter
		want   []string
	}{
		"all":      {store.DeliveryFilter{Limit: 9}, []string{ids[3], ids[2], ids[1], ids[0]}},
		"page":     {store.DeliveryFilter{Limit: 2}, []string{ids[3], ids[2]}},
		"after":    {store.DeliveryFilter{After: ids[2], Limit: 9}, []string{ids[1], ids[0]}},
		"before":   {store.DeliveryFilter{Before: ids[0], Limit: 2}, []string{ids[2], ids[1]}},
		"state":    {store.DeliveryFilter{State: store.DeliveryFailed, Limit: 9}, ids[1:2]},
		"types":    {store.DeliveryFilter{Types: []string{store.EventGenerationQueued}, Limit: 1}, ids[3:]},
		"no types": {store.DeliveryFilter{Types: []string{store.EventGenerationFailed}, Limit: 9}, nil},
	} {
		page, err := b.Deliveries(t.Context(), b.scope(), store.EndpointRequest, c.filter)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, eventsOf(page)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for name, scope := range b.strangers(t) {
		want := 0
		if scope.Test {
			want = 4
		}
		page, err := b.Deliveries(t.Context(), scope, store.EndpointRequest, store.DeliveryFilter{Limit: 9})
		if err != nil || len(page) != want {
			t.Errorf("%s lists %d, %v, want %d", name, len(page), err, want)
		}
		for _, d := range page {
			if event, err := b.Event(t.Context(), scope.ProjectID, d.EventID); err != nil || !event.Test {
				t.Errorf("%s lists %s, %v", name, d.EventID, err)
			}
		}
	}
}

// A replay moves what the caller's webhook_urls missed: not others', and not what
// was for a URL that is deleted.
func TestReplay_ToRequests(t *testing.T) {
	t.Parallel()
	b := setup(t)
	endpoint := b.endpoint(t, []string{"*"}, "")
	own, removed := b.toldURL(t, nil), b.toldURL(t, nil)
	pending := b.toldURL(t, nil)
	b.toldURL(t, b.foreign(t))
	test := b.toldURL(t, ofTestKey)
	generation, _ := store.GenerationOfEvent(removed)
	b.exec(t, `UPDATE generation SET webhook_url = NULL WHERE id = $1`, generation)
	b.exec(t, `DELETE FROM river.river_job WHERE kind = 'webhook'`)
	b.exec(t, `UPDATE webhook_delivery SET state = 'failed', ticket = NULL, tries = 10 WHERE event_id <> $1 OR endpoint_id = $2`, pending, endpoint)
	r := store.ReplayRange{States: []string{store.DeliveryFailed}}
	replay, err := b.Replay(t.Context(), b.scope(), store.EndpointRequest, r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&store.Replay{Queued: 1, Last: own}, replay); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{own + " waits"}, b.errandTickets(t)); diff != "" {
		t.Errorf("tickets (-want +got):\n%s", diff)
	}
	got := b.lines(t, `
		SELECT endpoint_id || ' ' || event_id FROM webhook_delivery
		WHERE state = 'pending' AND tries = 0 AND due_at <= now() AND ticket IS NULL`)
	if diff := cmp.Diff([]string{"request " + own}, got); diff != "" {
		t.Errorf("queued (-want +got):\n%s", diff)
	}
	for name, scope := range b.strangers(t) {
		want := &store.Replay{}
		if scope.Test {
			want = &store.Replay{Queued: 1, Last: test}
		}
		replay, err := b.Replay(t.Context(), scope, store.EndpointRequest, r)
		if diff := cmp.Diff(want, replay); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

// A list reads the project's deliveries, not those of all projects in between.
func TestDeliveries_ToRequestsByIndex(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.toldURL(t, nil)
	b.exec(t, `
		INSERT INTO webhook_delivery (endpoint_id, event_id, org_id, project_id, state, created_at)
		SELECT 'request', 'evt_z' || i, org_id, 'proj_' || i % 500, 'delivered', created_at
		FROM webhook_delivery, generate_series(1, 20000) AS i WHERE event_id = $1`, id)
	b.exec(t, `ANALYZE webhook_delivery`)
	deadline := time.Now().Add(10 * time.Second)
	for used := false; !used; {
		page, err := b.Deliveries(t.Context(), b.scope(), store.EndpointRequest, store.DeliveryFilter{Limit: 21})
		if diff := cmp.Diff([]string{id}, eventsOf(page)); diff != "" || err != nil {
			t.Fatalf("%v (-want +got):\n%s", err, diff)
		}
		b.exec(t, `SELECT pg_stat_force_next_flush()`) // on the connection that was used last
		used = b.count(t, `SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'webhook_delivery_request'`) > 0
		if !used && time.Now().After(deadline) {
			t.Fatal("the list does not read the index of webhook_urls")
		}
	}
}
