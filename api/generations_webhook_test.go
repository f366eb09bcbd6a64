package api_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

func TestCreateGeneration_Webhook(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	ends := []any{"generation.succeeded", "generation.failed", "generation.canceled", "generation.expired"}
	for body, want := range map[string]map[string]any{
		`{"prompt":"x"}`: {"url": nil, "events": []any{}, "deliveries": 0.0},
		`{"prompt":"x","webhook_url":"https://example.com/a?b=1"}`: {"url": "https://example.com/a?b=1", "events": ends, "deliveries": 0.0},
		`{"prompt":"x","webhook_url":"https://example.com:8443","webhook_events":["generation.*","generation.queued","generation.*"]}`: {
			"url": "https://example.com:8443", "events": []any{"generation.*", "generation.queued"}, "deliveries": 0.0,
		},
	} {
		a := b.do(b.live, "POST", "/v1/generations", body)
		if diff := cmp.Diff(want, a.json["webhook"]); diff != "" || a.status != 202 {
			t.Errorf("%s: %d (-want +got):\n%s", body, a.status, diff)
		}
		again := b.do(b.live, "GET", a.header.Get("Location"), "")
		if diff := cmp.Diff(want, again.json["webhook"]); diff != "" {
			t.Errorf("%s: read again (-want +got):\n%s", body, diff)
		}
	}
}

func TestCreateGeneration_WebhookRefused(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for body, c := range map[string]struct {
		code   string
		faults []string
	}{
		`{"prompt":"x","webhook_url":"https://a.com","webhook_events":["test.*"]}`: {"validation_failed", []string{"webhook_events unsupported_value"}},
		`{"prompt":"x","webhook_url":"http://example.com"}`:                        {"webhook_url_forbidden", []string{"webhook_url webhook_url_forbidden"}},
		`{"prompt":"x","webhook_url":"https://169.254.169.254/"}`:                  {"webhook_url_forbidden", []string{"webhook_url webhook_url_forbidden"}},
		`{"prompt":"x","webhook_url":"https://localhost/"}`:                        {"webhook_url_forbidden", []string{"webhook_url webhook_url_forbidden"}},
		`{"prompt":"x","webhook_url":"x\u0000"}`:                                   {"webhook_url_forbidden", []string{"webhook_url webhook_url_forbidden"}},
		`{"prompt":"","webhook_url":"http://example.com"}`:                         {"validation_failed", []string{"prompt required", "webhook_url webhook_url_forbidden"}},
		`{"prompt":"x","webhook_events":["*"]}`:                                    {"validation_failed", []string{"webhook_events conflict"}},
		`{"prompt":"x","webhook_url":"https://a.com","webhook_events":["x"]}`:      {"validation_failed", []string{"webhook_events unsupported_value"}},
	} {
		a := b.do(b.live, "POST", "/v1/generations", body)
		if diff := cmp.Diff(c.faults, a.faults()); diff != "" || a.status != 422 || a.code() != c.code {
			t.Errorf("%s: %d %s (-want +got):\n%s", body, a.status, a.body, diff)
		}
	}
	a := b.do(b.live, "POST", "/v1/generations", `{"prompt":"x","webhook_url":"http://example.com"}`)
	if detail := a.json["detail"].(string); !strings.Contains(detail, "https://") {
		t.Errorf("it does not say what would do: %s", detail)
	}
}

func TestCreateGeneration_WebhookIsPartOfTheRequest(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	const body = `{"prompt":"x","webhook_url":"https://example.com/a"}`
	for i, c := range []struct {
		body   string
		status int
	}{
		{body, 202}, {body, 202},
		{`{"prompt":"x"}`, 422}, {`{"prompt":"x","webhook_url":"https://example.com/b"}`, 422},
		{`{"prompt":"x","webhook_url":"https://example.com/a","webhook_events":["*"]}`, 422},
	} {
		if a := b.do(b.live, "POST", "/v1/generations", c.body, "Idempotency-Key: k"); a.status != c.status {
			t.Errorf("%d: %d %s", i, a.status, a.body)
		}
	}
}

// The count of attempts grows after the end, and the ETag tells.
func TestGeneration_WebhookDeliveries(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.endpoint(false)
	id := b.done(b.live, `{"prompt":"x","webhook_url":"https://example.com/","webhook_events":["*"]}`, []byte("x"))
	first := b.do(b.live, "GET", "/v1/generations/"+id, "")
	b.exec(`UPDATE webhook_delivery SET attempts = 2 WHERE event_id <> $1`, eventID(id, "4"))
	second := b.do(b.live, "GET", "/v1/generations/"+id, "", "If-None-Match: "+first.header.Get("ETag"))
	if second.status != 200 {
		t.Fatal(second.status)
	}
	if n := second.json["webhook"].(map[string]any)["deliveries"]; n != 4.0 {
		t.Errorf("%v deliveries, want two of the start and two of the end", n)
	}
	listed := b.do(b.live, "GET", "/v1/generations", "").data()[0]["webhook"].(map[string]any)["deliveries"]
	if listed != 4.0 {
		t.Errorf("%v deliveries in the list", listed)
	}
	path := "/v1/webhook_endpoints/" + store.EndpointRequest + "/deliveries/" + eventID(id, "s")
	if a := b.do(b.live, "GET", path, ""); a.status != 200 || a.json["endpoint_id"] != "request" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := b.do(b.live, "DELETE", "/v1/generations/"+id, ""); a.status != 204 {
		t.Fatal(a.status)
	}
	want := map[string]any{"url": nil, "events": []any{}, "deliveries": 0.0}
	if diff := cmp.Diff(want, b.do(b.live, "GET", "/v1/generations/"+id, "").json["webhook"]); diff != "" {
		t.Errorf("after removal (-want +got):\n%s", diff)
	}
	if a := b.do(b.live, "POST", path+"/redeliver", ""); a.code() != "webhook_endpoint_deleted" {
		t.Errorf("%d %s", a.status, a.body)
	}
}
