package api_test

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCreateWebhookEndpoint_Idempotency(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	first := b.do(b.live, "POST", "/v1/webhook_endpoints", endpointBody, "Idempotency-Key: k1")
	b.submit(b.live, `{"prompt":"x"}`)
	for name, c := range map[string]struct {
		key, body, header string
		status            int
		same              bool
	}{
		"Replay":             {b.live, endpointBody, "k1", 201, true},
		"Quoted":             {b.live, endpointBody, `"k1"`, 201, true},
		"TheSameOtherwise":   {b.live, `{"description":"all","events":["generation.*"],"enabled":true,"url":"https://example.com/hook"}`, "k1", 201, true},
		"OtherKey":           {b.live, endpointBody, "k2", 201, false},
		"TestKeyIsSeparate":  {b.test, endpointBody, "k1", 201, false},
		"OtherProject":       {b.other, endpointBody, "k1", 201, false},
		"OtherRequest":       {b.live, `{"url":"https://example.com/other"}`, "k1", 422, false},
		"OtherRequestByFlag": {b.live, `{"url":"https://example.com/hook","events":["generation.*"],"description":"all","enabled":false}`, "k1", 422, false},
	} {
		a := b.do(c.key, "POST", "/v1/webhook_endpoints", c.body, "Idempotency-Key: "+c.header)
		if a.status != c.status || cmp.Equal(first.json, a.json) != c.same || (a.header.Get("Idempotent-Replayed") == "true") != c.same {
			t.Errorf("%s: status %d, replayed %q, want %d, same %t:\n%s", name, a.status, a.header.Get("Idempotent-Replayed"), c.status, c.same, cmp.Diff(first.json, a.json))
		}
		if c.status == 422 && a.code() != "idempotency_key_reused" {
			t.Errorf("%s: code %s", name, a.code())
		}
		if c.same && a.header.Get("Location") != first.header.Get("Location") {
			t.Errorf("%s: Location %s", name, a.header.Get("Location"))
		}
	}
	// A generation's key is another.
	if a := b.do(b.live, "POST", "/v1/generations", `{"prompt":"x"}`, "Idempotency-Key: k1"); a.status != 202 {
		t.Errorf("a generation with the key: status %d, %s", a.status, a.body)
	}
	if a := b.do(b.live, "POST", "/v1/webhook_endpoints", endpointBody, "Idempotency-Key: a b"); a.status != 400 {
		t.Errorf("a bad key: status %d, %s", a.status, a.body)
	}
}

// A replay shows the first secret as long as it signs, and no other.
func TestCreateWebhookEndpoint_ReplayLater(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	create := func() *answer {
		return b.do(b.live, "POST", "/v1/webhook_endpoints", endpointBody, "Idempotency-Key: k1")
	}
	first := create()
	path := first.header.Get("Location")
	for _, c := range []struct {
		body string
		want any
	}{{`{"overlap_seconds":60}`, first.json["secret"]}, {`{"overlap_seconds":0}`, nil}} {
		b.do(b.live, "POST", path+"/rotate", c.body)
		if a := create(); a.status != 201 || a.json["secret"] != c.want {
			t.Errorf("after rotation %s: status %d, secret %v, want %v", c.body, a.status, a.json["secret"], c.want)
		}
	}
	b.do(b.live, "DELETE", path, "")
	if a := create(); a.status != 404 || a.code() != "not_found" {
		t.Errorf("after its deletion: status %d, %s", a.status, a.body)
	}
}

func TestCreateWebhookEndpoint_ManyAtOnceMakeOne(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	var mu sync.Mutex
	secrets := map[any]int{}
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			a, err := b.try(t.Context(), b.live, "POST", "/v1/webhook_endpoints", endpointBody, "Idempotency-Key: race")
			if err == nil && a.code() == "idempotency_in_flight" {
				return
			}
			if err != nil || a.status != 201 {
				t.Errorf("%v, %+v", err, a)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			secrets[a.json["secret"]]++
		})
	}
	clients.Wait()
	if list := idsOf(b.do(b.live, "GET", "/v1/webhook_endpoints", "")); len(secrets) != 1 || len(list) != 1 {
		t.Errorf("%d secrets were told of %d endpoints, want one of one", len(secrets), len(list))
	}
}
