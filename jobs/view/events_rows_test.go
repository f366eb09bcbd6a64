package view_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// ofSample is an event of sample's generation.
func ofSample(step, eventType, data string, at time.Time) *store.Event {
	e := &store.Event{
		ID: "evt_06p1cc7lq0u72v8g000000000" + step, OrgID: "org_1", ProjectID: "proj_1", Sequence: 3, Type: eventType, CreatedAt: at,
	}
	if data != "" {
		e.Data = json.RawMessage(data)
	}
	return e
}

func TestViewer_Event(t *testing.T) {
	t.Parallel()
	g, images, attempts := sample()
	g.WebhookURL, g.WebhookEvents = ptr("https://example.com"), []string{"*"}
	rows := &view.Rows{
		Images: map[string][]*store.Image{g.ID: images}, Attempts: map[string][]*store.Attempt{g.ID: attempts},
		Deliveries: map[string]int{g.ID: 5},
	}
	for name, c := range map[string]struct {
		event    *store.Event
		status   string
		progress float64
		begun    bool
		calls    int
	}{
		"queued":   {ofSample("4", store.EventGenerationQueued, "", noon), "queued", 0, false, 0},
		"started":  {ofSample("8", store.EventGenerationStarted, "", *after(time.Second)), "processing", 0, true, 0},
		"progress": {ofSample("g", store.EventGenerationProgress, `{"progress":0.4}`, *after(2 * time.Second)), "processing", 0.4, true, 0},
		"ended":    {ofSample("s", store.EventGenerationSucceeded, "", *after(4 * time.Second)), "succeeded", 1, true, 3},
	} {
		e, err := newViewer().Event(base, c.event, g, rows)
		if err != nil {
			t.Fatal(err)
		}
		shown := e.Data.(*view.Generation)
		got := []any{shown.Status, shown.Progress, shown.StartedAt != nil, len(shown.Attempts), shown.Webhook.Deliveries, e.CreatedAt, e.Sequence}
		if diff := cmp.Diff([]any{c.status, c.progress, c.begun, c.calls, 5, c.event.CreatedAt.Unix(), int64(3)}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if e, err := newViewer().Event(base, ofSample("g", store.EventGenerationProgress, `{"progress":"x"}`, noon), g, rows); err == nil {
		t.Errorf("bad data gave %+v", e)
	}
}

// What was not found is still told of.
func TestViewer_LoadEventsOfNothing(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	events := []*store.Event{
		ofSample("4", store.EventGenerationQueued, "", noon),
		{ID: store.NewEventID(), Type: store.EventTestPing, CreatedAt: noon, Data: json.RawMessage(`{"a":1}`)},
	}
	shown, err := newViewer().LoadEvents(t.Context(), db, "proj_1", base, events)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range shown {
		text, err := json.Marshal(e.Data)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.ID+string(text))
	}
	if diff := cmp.Diff([]string{events[0].ID + `{}`, events[1].ID + `{"a":1}`}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
