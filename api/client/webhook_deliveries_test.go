package client_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/client"
)

func TestDeliveries(t *testing.T) {
	t.Parallel()
	const one = `{"id":"evt_1","endpoint_id":"whep_1","event":{"id":"evt_1","type":"test.ping","created_at":"2026-11-21T10:00:00Z"},` +
		`"status":"pending","attempts":2,"next_attempt_at":"2026-11-21T10:00:00Z","created_at":"2026-11-21T10:00:00Z","ended_at":null,` +
		`"log":[{"at":"2026-11-21T10:00:00Z","ms":5,"status":null,"error":"no answer","response":null}]}`
	b := setup(t,
		answer(200, `{"data":[`+one+`],"has_more":true,"next_cursor":"evt_1"}`), answer(200, `{"data":[],"has_more":false}`),
		answer(200, one), answer(202, one))
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	want := &client.Delivery{
		ID: "evt_1", EndpointID: "whep_1", Event: client.DeliveredEvent{ID: "evt_1", Type: "test.ping", CreatedAt: at},
		Status: "pending", Attempts: 2, NextAttemptAt: &at, CreatedAt: at,
		Log: []client.DeliveryAttempt{{At: at, MS: 5, Error: "no answer"}},
	}
	var got []*client.Delivery
	o := &client.DeliveryOptions{Status: "pending", EventType: "test.*", After: "evt_2", PageSize: 1}
	for d, err := range b.Deliveries(t.Context(), "whep_1", o) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, d)
	}
	for _, ask := range []func() (*client.Delivery, error){
		func() (*client.Delivery, error) { return b.Delivery(t.Context(), "whep_1", "evt_1") },
		func() (*client.Delivery, error) { return b.Redeliver(t.Context(), client.EndpointRequest, "evt_1") },
	} {
		d, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, d)
	}
	if diff := cmp.Diff([]*client.Delivery{want, want, want}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	const list = "GET /v1/webhook_endpoints/whep_1/deliveries?"
	requests := []string{
		list + "after=evt_2&event_type=test.%2A&limit=1&status=pending", list + "after=evt_1&event_type=test.%2A&limit=1&status=pending",
		"GET /v1/webhook_endpoints/whep_1/deliveries/evt_1", "POST /v1/webhook_endpoints/request/deliveries/evt_1/redeliver",
	}
	if diff := cmp.Diff(requests, b.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestReplay_ToTheEnd(t *testing.T) {
	t.Parallel()
	b := setup(t,
		answer(202, `{"object":"replay","queued":1000,"has_more":true,"next_cursor":"evt_2"}`),
		answer(202, `{"object":"replay","queued":3,"has_more":false,"next_cursor":null}`))
	since := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	n, err := b.Replay(t.Context(), "whep_1", &client.ReplayOptions{Since: &since, Status: []string{"held"}, EventTypes: []string{"*"}})
	if err != nil || n != 1003 {
		t.Errorf("%d, %v", n, err)
	}
	const post = `POST /v1/webhook_endpoints/whep_1/replay {"since":"2026-11-21T10:00:00Z","status":["held"],"event_types":["*"]`
	if diff := cmp.Diff([]string{post + "}", post + `,"after":"evt_2"}`}, b.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestReplay_Ends(t *testing.T) {
	t.Parallel()
	b := setup(t, answer(202, `{"queued":7,"has_more":true,"next_cursor":"evt_2"}`))
	// A service that leads nowhere is not asked for ever.
	if n, err := b.Replay(t.Context(), "whep_1", nil); err == nil || n != 14 || len(b.requests()) != 2 {
		t.Errorf("%d, %v, %v", n, err, b.requests())
	}
	refusing := setup(t, problem(409, "endpoint_disabled"))
	if _, err := refusing.Replay(t.Context(), "whep_1", nil); err == nil {
		t.Error("no error")
	}
	if diff := cmp.Diff([]string{"POST /v1/webhook_endpoints/whep_1/replay {}"}, refusing.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}
