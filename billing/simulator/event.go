package simulator

import (
	"encoding/json"
	"net/http"
	"reflect"
)

type event struct {
	ID              string       `json:"id"`
	Object          string       `json:"object"`
	APIVersion      string       `json:"api_version"`
	Created         int64        `json:"created"`
	Data            eventData    `json:"data"`
	Livemode        bool         `json:"livemode"`
	PendingWebhooks int64        `json:"pending_webhooks"`
	Request         eventRequest `json:"request"`
	Type            string       `json:"type"`
}

type eventData struct {
	Object   json.RawMessage `json:"object"`
	Previous map[string]any  `json:"previous_attributes,omitempty"`
}

type eventRequest struct {
	ID  *string `json:"id"`
	Key *string `json:"idempotency_key"`
}

func eventRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "/v1/events/{id}", answer: retrieveEvent},
		{
			method: http.MethodGet, path: "/v1/events", answer: listEvents,
			params: paging.and(created).and(params{"type": text, "types.*": text, "delivery_success": boolean}),
		},
	}
}

// emit records an event of an object and has it sent to whoever listens.
func (t *tx) emit(kind string, object any, previous map[string]any) {
	tree := wire(object)
	prune(tree, "", nil)
	content, _ := json.Marshal(tree) // it comes from JSON
	e := &event{
		ID: t.state.newID("evt"), Object: "event", APIVersion: APIVersion, Created: t.unix(), Type: kind,
		Data: eventData{Object: content, Previous: previous}, Request: t.request,
	}
	t.state.Events[e.ID] = e
	t.s.queue(e)
}

// update changes an object and records the event if anything is different.
func (t *tx) update(kind string, object any, change func()) {
	before, _ := wire(object).(map[string]any)
	change()
	after, _ := wire(object).(map[string]any)
	previous := map[string]any{}
	for name, value := range before {
		if name[0] != '_' && !reflect.DeepEqual(value, after[name]) {
			previous[name] = value
		}
	}
	if len(previous) > 0 {
		t.emit(kind, object, previous)
	}
}

func retrieveEvent(t *tx) (any, error) {
	if e := t.state.Events[t.id]; e != nil {
		return e, nil
	}
	return nil, unknownID(http.StatusNotFound, "event", "id", t.id)
}

func listEvents(t *tx) (any, error) {
	kind, kinds := t.form.text("type"), t.form.list("types")
	found := newestFirst(t.state.Events, func(e *event) bool {
		return t.createdMatches(e.Created) && (kind == "" || matchesType(kind, e.Type)) && (len(kinds) == 0 || contains(kinds, e.Type)) &&
			(!t.form.has("delivery_success") || t.form.flag("delivery_success") == (e.PendingWebhooks == 0))
	})
	return page(t, "/v1/events", found, func(e *event) string { return e.ID })
}
