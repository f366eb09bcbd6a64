package client_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/client"
)

func TestEvents_PagesInTurn(t *testing.T) {
	t.Parallel()
	b := setup(t,
		answer(200, `{"data":[{"id":"evt_1","sequence":8},{"id":"evt_2","sequence":9}],"has_more":true,"next_cursor":"9"}`),
		answer(200, `{"data":[{"id":"evt_3","sequence":12}],"has_more":false,"next_cursor":null}`))
	var got []int64
	for e, err := range b.Events(t.Context(), &client.EventOptions{Type: "generation.*", After: 7, PageSize: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Sequence)
	}
	if diff := cmp.Diff([]int64{8, 9, 12}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want := []string{"GET /v1/events?after=7&limit=2&type=generation.%2A", "GET /v1/events?after=9&limit=2&type=generation.%2A"}
	if diff := cmp.Diff(want, b.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestEvents_NothingAskedAndStopped(t *testing.T) {
	t.Parallel()
	b := setup(t, answer(200, `{"data":[{"id":"evt_1"},{"id":"evt_2"}],"has_more":true,"next_cursor":"2"}`))
	for range 2 { // a sequence can be gone through again
		for range b.Events(t.Context(), nil) {
			break
		}
	}
	for range b.Events(t.Context(), &client.EventOptions{Descending: true}) {
		break
	}
	want := []string{"GET /v1/events", "GET /v1/events", "GET /v1/events?order=desc"}
	if diff := cmp.Diff(want, b.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestEvents_Faults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		more string // of a second page
		want string
	}{
		"SameCursor": {`{"data":[],"has_more":true,"next_cursor":"2"}`, "more and not where"},
		"NoCursor":   {`{"data":[],"has_more":true}`, "more and not where"},
		"NoJSON":     {`<html>`, "not what the API promises"},
	} {
		b := setup(t, answer(200, `{"data":[{"id":"evt_1"}],"has_more":true,"next_cursor":"2"}`), answer(200, c.more))
		var got []string
		var last error
		for e, err := range b.Events(t.Context(), nil) {
			if last = err; err == nil {
				got = append(got, e.ID)
			}
		}
		if !cmp.Equal([]string{"evt_1"}, got) || last == nil || !strings.Contains(last.Error(), c.want) {
			t.Errorf("%s: %v, %v", name, got, last)
		}
	}
}

func TestEvent_Generation(t *testing.T) {
	t.Parallel()
	b := setup(t,
		answer(200, `{"id":"evt_1","type":"generation.succeeded","api_version":"2026-11-01","timestamp":"2026-11-21T10:00:00Z",`+
			`"sequence":3,"project_id":"proj_1","test":true,"data":{"id":"gen_1","status":"succeeded","webhook":{"url":"https://x","events":["*"],"deliveries":2}}}`),
		answer(200, `{"id":"evt_2","type":"test.ping","data":{"endpoint_id":"whep_1"}}`),
		problem(404, "not_found"))
	e, err := b.Event(t.Context(), "evt_1")
	if err != nil {
		t.Fatal(err)
	}
	g, err := e.Generation()
	if err != nil || g.Status != client.StatusSucceeded || !cmp.Equal(client.Webhook{URL: "https://x", Events: []string{"*"}, Deliveries: 2}, g.Webhook) {
		t.Errorf("%+v, %v", g, err)
	}
	e.Data = nil
	want := &client.Event{
		ID: "evt_1", Type: "generation.succeeded", APIVersion: "2026-11-01", Sequence: 3, ProjectID: "proj_1", Test: true,
		Timestamp: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC),
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	ping, err := b.Event(t.Context(), "evt_2")
	if err != nil {
		t.Fatal(err)
	}
	if g, err := ping.Generation(); err == nil {
		t.Errorf("a ping is of %+v", g)
	}
	var refused *client.Error
	if _, err := b.Event(t.Context(), "evt_3"); !errors.As(err, &refused) || refused.Code != "not_found" {
		t.Errorf("%v", err)
	}
}
