package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// endpoint records an endpoint of the project that is told everything.
func (b *bundle) endpoint(test bool) string {
	b.Helper()
	id := store.NewID("whep")
	b.exec(`
		INSERT INTO webhook_endpoint (id, org_id, project_id, test, url, events, description, api_version)
		VALUES ($1, $2, $3, $4, 'https://example.com', '{*}', '', '2026-11-01')`, id, b.project.OrgID, b.project.ID, test)
	return id
}

func TestDeliveries_OneWithItsAttempts(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	endpoint := b.endpoint(false)
	event := eventID(b.submit(b.live, `{"prompt":"x"}`), "4")
	b.exec(`UPDATE webhook_delivery SET state = 'failed', attempts = 12, ended_at = created_at, next_attempt_at = NULL, log = $1`, `[
		{"at":"2026-11-21T10:00:00+01:00","ms":15000,"error":"no answer within 15 s"},
		{"at":"2026-11-21T10:00:05Z","ms":7,"status":503,"error":"answered 503","response":"busy"}]`)
	path := "/v1/webhook_endpoints/" + endpoint + "/deliveries"
	a := b.do(b.live, "GET", path+"/"+event, "")
	created := a.json["created_at"]
	want := map[string]any{
		"id": event, "object": "webhook_delivery", "endpoint_id": endpoint,
		"event":  map[string]any{"id": event, "type": "generation.queued", "created_at": created},
		"status": "failed", "attempts": 12.0, "next_attempt_at": nil, "created_at": created, "ended_at": created,
		"log": []any{
			map[string]any{"at": "2026-11-21T09:00:00Z", "ms": 15000.0, "status": nil, "error": "no answer within 15 s", "response": nil},
			map[string]any{"at": "2026-11-21T10:00:05Z", "ms": 7.0, "status": 503.0, "error": "answered 503", "response": "busy"},
		},
	}
	if diff := cmp.Diff(want, a.json); diff != "" || created == nil {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want["log"] = nil
	if diff := cmp.Diff([]map[string]any{want}, b.do(b.live, "GET", path, "").data()); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	again := b.do(b.live, "POST", path+"/"+event+"/redeliver", "")
	if again.status != 202 || again.json["status"] != "pending" || again.json["next_attempt_at"] == nil || again.json["ended_at"] != nil || again.json["attempts"] != 12.0 {
		t.Errorf("%d %s", again.status, again.body)
	}
}

func TestListDeliveries(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	endpoint := b.endpoint(false)
	var ids []string
	for range 3 {
		ids = append(ids, eventID(b.submit(b.live, `{"prompt":"x"}`), "4"))
	}
	b.exec(`UPDATE webhook_delivery SET state = 'held' WHERE event_id = $1`, ids[0])
	path := "/v1/webhook_endpoints/" + endpoint + "/deliveries"
	for name, c := range map[string]struct {
		query string
		want  []string
		more  bool
		next  any
	}{
		"All":         {"", []string{ids[2], ids[1], ids[0]}, false, nil},
		"Limit":       {"limit=2", []string{ids[2], ids[1]}, true, ids[1]},
		"After":       {"limit=2&after=" + ids[1], []string{ids[0]}, false, nil},
		"Before":      {"limit=1&before=" + ids[0], []string{ids[1]}, true, ids[1]},
		"Status":      {"status=held", []string{ids[0]}, false, nil},
		"Type":        {"event_type=generation.*&limit=1", []string{ids[2]}, true, ids[2]},
		"AnotherType": {"event_type=generation.failed", nil, false, nil},
	} {
		a := b.do(b.live, "GET", path+"?"+c.query, "")
		if diff := cmp.Diff(c.want, idsOf(a)); diff != "" {
			t.Errorf("%s: %d (-want +got):\n%s", name, a.status, diff)
		}
		if diff := cmp.Diff([]any{c.more, c.next}, []any{a.json["has_more"], a.json["next_cursor"]}); diff != "" {
			t.Errorf("%s: has_more, next_cursor (-want +got):\n%s", name, diff)
		}
	}
	for query, code := range map[string]string{
		"after=x": "invalid_cursor", "before=17": "invalid_cursor", "after=" + ids[0] + "&before=" + ids[1]: "invalid_cursor",
		"status=lost": "validation_failed", "event_type=x": "validation_failed",
	} {
		if a := b.do(b.live, "GET", path+"?"+query, ""); a.code() != code {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
}

// Other keys see and move nothing, and what can not be sent is said to be so.
func TestDeliveries_Refuses(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	endpoint := b.endpoint(false)
	event := eventID(b.submit(b.live, `{"prompt":"x"}`), "4")
	path := "/v1/webhook_endpoints/" + endpoint
	tickets := func() string {
		var ids string
		b.must(b.db.Pool().QueryRow(b.Context(), `SELECT string_agg(id::text, ',') FROM river.river_job WHERE kind = 'webhook'`).Scan(&ids))
		return ids
	}
	before := tickets()
	routes := [][2]string{
		{"GET", path + "/deliveries"}, {"GET", path + "/deliveries/" + event},
		{"POST", path + "/deliveries/" + event + "/redeliver"}, {"POST", path + "/replay"},
	}
	want := func(key string, route [2]string, status int, code string) {
		t.Helper()
		body := ""
		if route[1] == path+"/replay" {
			body = "{}"
		}
		if a := b.do(key, route[0], route[1], body); a.status != status || a.code() != code {
			t.Errorf("%s %s: %d %s, want %d %s", route[0], route[1], a.status, a.body, status, code)
		}
	}
	for _, route := range routes {
		want(b.other, route, 404, "not_found")
		want(b.test, route, 404, "not_found")
		want("", route, 401, "missing_api_key")
	}
	for _, id := range []string{store.NewEventID(), "evt_1", "%00"} {
		want(b.live, [2]string{"GET", path + "/deliveries/" + id}, 404, "not_found")
		want(b.live, [2]string{"POST", path + "/deliveries/" + id + "/redeliver"}, 404, "not_found")
	}
	want(b.live, [2]string{"GET", "/v1/webhook_endpoints/%00/deliveries"}, 404, "not_found")
	want(b.live, [2]string{"GET", "/v1/webhook_endpoints/%00/deliveries/" + event}, 404, "not_found")
	if a := b.do(b.live, "POST", "/v1/webhook_endpoints/%00/replay", "{}"); a.status != 404 {
		t.Errorf("%d %s", a.status, a.body)
	}
	b.exec(`UPDATE webhook_endpoint SET disabled_at = now(), disabled_reason = 'asked'`)
	for _, route := range routes[2:] {
		want(b.live, route, 409, "webhook_endpoint_disabled")
	}
	b.exec(`UPDATE webhook_endpoint SET deleted_at = now()`)
	for _, route := range routes[2:] {
		want(b.live, route, 409, "webhook_endpoint_deleted")
	}
	want(b.live, routes[1], 200, "") // what was sent can still be seen
	if after := tickets(); after != before {
		t.Errorf("tickets %s became %s", before, after)
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	endpoint := b.endpoint(false)
	var ids []string
	for i, state := range []string{"failed", "held", "delivered", "failed"} {
		ids = append(ids, eventID(b.submit(b.live, `{"prompt":"x"}`), "4"))
		b.exec(`UPDATE webhook_delivery SET state = $1, created_at = now() - make_interval(days => $2) WHERE event_id = $3`, state, 3-i, ids[i])
	}
	day := func(n float64) string {
		return time.Now().Add(-time.Duration(n * 24 * float64(time.Hour))).Format(time.RFC3339)
	}
	path := "/v1/webhook_endpoints/" + endpoint + "/replay"
	for name, c := range map[string]struct{ body, code string }{
		"Status":   {`{"status":["pending"]}`, "validation_failed"},
		"Types":    {`{"event_types":["x"]}`, "validation_failed"},
		"Backward": {fmt.Sprintf(`{"since":%q,"until":%q}`, day(1), day(2)), "validation_failed"},
		"Cursor":   {`{"after":"17"}`, "invalid_cursor"},
		"Misspelt": {`{"from":"x"}`, "validation_failed"},
	} {
		if a := b.do(b.live, "POST", path, c.body); a.code() != c.code {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	for _, c := range []struct {
		body   string
		queued float64
	}{
		{fmt.Sprintf(`{"since":%q,"until":%q}`, day(2.5), day(1.5)), 1},
		{`{"event_types":["generation.failed","test.*"]}`, 0},
		{`{"status":["delivered"],"event_types":["generation.*"]}`, 1},
		{`{}`, 2},
		{`{}`, 0},
	} {
		a := b.do(b.live, "POST", path, c.body)
		want := map[string]any{"object": "replay", "queued": c.queued, "has_more": false, "next_cursor": nil}
		if diff := cmp.Diff(want, a.json); diff != "" || a.status != 202 {
			t.Errorf("%s: %d (-want +got):\n%s", c.body, a.status, diff)
		}
	}
}

// What webhook_urls are told is listed and replayed as what endpoints are.
func TestDeliveries_ToRequests(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.endpoint(false)
	const body = `{"prompt":"x","webhook_url":"https://example.com/","webhook_events":["*"]}`
	first, second := eventID(b.submit(b.live, body), "4"), eventID(b.submit(b.live, body), "4")
	b.submit(b.live, `{"prompt":"x"}`)
	test := eventID(b.submit(b.test, body), "4")
	foreign := eventID(b.submit(b.other, body), "4")
	b.exec(`UPDATE webhook_delivery SET state = 'failed' WHERE event_id <> $1`, second)
	const path = "/v1/webhook_endpoints/request/"
	for query, want := range map[string][]string{
		"": {second, first}, "?limit=1": {second}, "?after=" + second: {first}, "?status=failed": {first},
		"?event_type=generation.failed": nil, "?before=" + first: {second},
	} {
		a := b.do(b.live, "GET", path+"deliveries"+query, "")
		if diff := cmp.Diff(want, idsOf(a)); diff != "" || a.status != 200 {
			t.Errorf("%s: %d (-want +got):\n%s", query, a.status, diff)
		}
	}
	for key, want := range map[string]string{b.test: test, b.other: foreign} {
		a := b.do(key, "GET", path+"deliveries", "")
		if diff := cmp.Diff([]string{want}, idsOf(a)); diff != "" {
			t.Errorf("another scope: %d (-want +got):\n%s", a.status, diff)
		}
	}
	for _, queued := range []float64{1, 0} {
		a := b.do(b.live, "POST", path+"replay", "{}")
		want := map[string]any{"object": "replay", "queued": queued, "has_more": false, "next_cursor": nil}
		if diff := cmp.Diff(want, a.json); diff != "" || a.status != 202 {
			t.Errorf("replay: %d (-want +got):\n%s", a.status, diff)
		}
	}
	if a := b.do(b.live, "GET", path+"deliveries/"+first, ""); a.json["status"] != "pending" || a.json["endpoint_id"] != "request" {
		t.Errorf("after the replay: %d %s", a.status, a.body)
	}
	if a := b.do(b.test, "GET", path+"deliveries/"+test, ""); a.json["status"] != "failed" {
		t.Errorf("a test key's after a live key's replay: %d %s", a.status, a.body)
	}
}

// Who sends what is no cursor learns what is one.
func TestReplay_RefusesWithAWayOut(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	path := "/v1/webhook_endpoints/" + b.endpoint(false) + "/replay"
	for body, says := range map[string]string{
		`{"after":"17"}`:        "leave after out",
		`{"since":"yesterday"}`: "2026-01-31T12:00:00Z",
		`{"since":"2026-01-31T12:00:00Z","until":"2026-02-31T12:00:00Z"}`: "until must be a time as in 2026-01-31T12:00:00Z",
	} {
		a := b.do(b.live, "POST", path, body)
		if detail, _ := a.json["detail"].(string); !strings.Contains(detail, says) {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
}

func TestReplay_GoesOn(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	endpoint := b.endpoint(false)
	b.submit(b.live, `{"prompt":"x"}`)
	// As many more as one call takes, of which the one above is the last.
	b.exec(`INSERT INTO event SELECT (jsonb_populate_record(e, jsonb_build_object('id', 'evt_00000000000000000000' || lpad(i::text, 5, '0') || '4'))).*
		FROM event AS e, generate_series(1, 1000) AS i`)
	b.exec(`INSERT INTO webhook_delivery SELECT (jsonb_populate_record(d, jsonb_build_object('event_id', 'evt_00000000000000000000' || lpad(i::text, 5, '0') || '4'))).*
		FROM webhook_delivery AS d, generate_series(1, 1000) AS i`)
	b.exec(`UPDATE webhook_delivery SET state = 'delivered'`)
	path := "/v1/webhook_endpoints/" + endpoint + "/replay"
	a := b.do(b.live, "POST", path, `{"status":["delivered"]}`)
	if a.json["queued"] != 1000.0 || a.json["has_more"] != true {
		t.Fatalf("%d %s", a.status, a.body)
	}
	b.exec(`UPDATE webhook_delivery SET state = 'delivered'`) // meanwhile they have arrived
	a = b.do(b.live, "POST", path, fmt.Sprintf(`{"status":["delivered"],"after":%q}`, a.json["next_cursor"]))
	if a.json["queued"] != 1.0 || a.json["has_more"] != false {
		t.Errorf("%d %s", a.status, a.body)
	}
}
