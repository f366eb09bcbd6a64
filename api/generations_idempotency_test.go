package api_test

import (
	"strings"
	"sync"
	"testing"
)

func TestIdempotency(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	const body = `{"prompt":"x","metadata":{"a":"1","b":"2"}}`
	first := b.do(b.live, "POST", "/v1/generations", body, "Idempotency-Key: k1")
	for name, c := range map[string]struct {
		key, body, header string
		status            int
		same              bool
	}{
		"Replay":            {b.live, body, "k1", 202, true},
		"Quoted":            {b.live, body, `"k1"`, 202, true},
		"FieldsReordered":   {b.live, `{"metadata":{"b":"2","a":"1"},"prompt":"x"}`, "k1", 202, true},
		"WaitIsNoPart":      {b.live, `{"prompt":"x","metadata":{"a":"1","b":"2"},"user":"u"}`, "k1", 202, true},
		"OtherKey":          {b.live, body, "k2", 202, false},
		"TestKeyIsSeparate": {b.test, body, "k1", 202, false},
		"OtherProject":      {b.other, body, "k1", 202, false},
		"OtherRequest":      {b.live, `{"prompt":"y"}`, "k1", 422, false},
	} {
		a := b.do(c.key, "POST", "/v1/generations", c.body, "Idempotency-Key: "+c.header)
		same := a.json["id"] == first.json["id"]
		if a.status != c.status || same != c.same || (a.header.Get("Idempotent-Replayed") == "true") != c.same {
			t.Errorf("%s: status %d, same %v, replayed %q, want %d, %v; %s", name, a.status, same, a.header.Get("Idempotent-Replayed"), c.status, c.same, a.body)
		}
		if c.status == 422 && a.code() != "idempotency_key_reused" {
			t.Errorf("%s: code %s", name, a.code())
		}
	}
	b.finish(b.claim(first.json["id"].(string)), []byte("x"))
	replay := b.do(b.live, "POST", "/v1/generate", body, "Idempotency-Key: k1")
	if replay.status != 202 || replay.json["status"] != "succeeded" {
		t.Errorf("replay after the end: status %d, %v, want the first status and the state as it is", replay.status, replay.json["status"])
	}
}

func TestIdempotency_FiftyAtOnceMakeOne(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	var mu sync.Mutex
	ids := map[any]int{}
	replayed := 0
	var clients sync.WaitGroup
	for range 50 {
		clients.Go(func() {
			a, err := b.try(t.Context(), b.live, "POST", "/v1/generations", `{"prompt":"x"}`, "Idempotency-Key: race")
			if err != nil || a.status != 202 {
				t.Errorf("%v, %+v", err, a)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids[a.json["id"]]++
			if a.header.Get("Idempotent-Replayed") == "true" {
				replayed++
			}
		})
	}
	clients.Wait()
	if len(ids) != 1 || replayed != 49 {
		t.Errorf("%d generations and %d replays, want 1 and 49", len(ids), replayed)
	}
	list := b.do(b.live, "GET", "/v1/generations", "")
	if n := len(list.json["data"].([]any)); n != 1 {
		t.Errorf("%d generations are listed, want 1", n)
	}
}

func TestIdempotency_BadKeys(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for name, header := range map[string]string{
		"Empty": "", "EmptyQuotes": `""`, "TooLong": strings.Repeat("k", 256), "Space": "a b", "NotASCII": "ké",
	} {
		a := b.do(b.live, "POST", "/v1/generations", `{"prompt":"x"}`, "Idempotency-Key: "+header)
		if a.status != 400 || a.code() != "invalid_request" || !strings.Contains(a.body, "Idempotency-Key") {
			t.Errorf("%s: status %d, %s", name, a.status, a.body)
		}
	}
}
