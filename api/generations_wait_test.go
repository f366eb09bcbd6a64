package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/store"
)

func TestWait_IsWokenByTheEnd(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for name, c := range map[string]struct {
		reads   int64
		request func(id string) *answer
	}{
		"Get": {1, func(id string) *answer { return b.do(b.live, "GET", "/v1/generations/"+id+"?wait=20", "") }},
		"Image": {3, func(id string) *answer {
			return b.do(b.live, "GET", "/v1/images/"+store.ImageID(id, 0)+"/content?wait=20", "")
		}},
		"Replay": {2, func(id string) *answer {
			return b.do(b.live, "POST", "/v1/generations", `{"prompt":"Replay"}`, "Idempotency-Key: Replay", "Prefer: wait=20")
		}},
	} {
		a := b.do(b.live, "POST", "/v1/generations", `{"prompt":"`+name+`"}`, "Idempotency-Key: "+name)
		id := a.json["id"].(string)
		claim := b.claim(id)
		answered := b.waits(c.reads, func() *answer { return c.request(id) })
		start := time.Now()
		b.finish(claim, []byte("bytes"))
		a = <-answered
		if took := time.Since(start); a.status != http.StatusOK || took > 1500*time.Millisecond {
			t.Errorf("%s: status %d after %s, want 200 well before the next re-read", name, a.status, took)
		}
	}
}

func TestWait_ReadsAgainWithoutNews(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.Live = store.NewLive(store.LiveOptions{}) }) // never runs
	id := b.submit(b.live, `{"prompt":"x"}`)
	claim := b.claim(id)
	answered := b.waits(1, func() *answer { return b.do(b.live, "GET", "/v1/generations/"+id+"?wait=30", "") })
	b.finish(claim, []byte("x"))
	if a := <-answered; a.json["status"] != "succeeded" {
		t.Errorf("status %v", a.json["status"])
	}
}

func TestWait_EndsInTime(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.MaxWait = time.Second })
	for name, c := range map[string]struct {
		body, prefer, applied string
	}{
		"Header":        {`{"prompt":"x"}`, "wait=1", "wait=1"},
		"HeaderTooLong": {`{"prompt":"x"}`, "respond-async, wait=9999", "wait=1"},
		"HeaderBare":    {`{"prompt":"x"}`, "wait", "wait=1"},
		"Body":          {`{"prompt":"x","wait":1}`, "", ""},
		"Nonsense":      {`{"prompt":"x"}`, "wait=soon", ""},
	} {
		a := b.do(b.live, "POST", "/v1/generations", c.body, "Prefer: "+c.prefer)
		if got := a.header.Get("Preference-Applied"); a.status != 202 || got != c.applied {
			t.Errorf("%s: status %d, Preference-Applied %q, want 202, %q", name, a.status, got, c.applied)
		}
	}
}

func TestWait_EndsWhenTheServerDrains(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.submit(b.live, `{"prompt":"x"}`)
	answered := b.waits(1, func() *answer { return b.do(b.live, "GET", "/v1/generations/"+id+"?wait=60", "") })
	close(b.drain)
	if a := <-answered; a.status != 200 || a.json["status"] != "queued" {
		t.Errorf("status %d, %s", a.status, a.body)
	}
	if a := b.do("", "GET", "/readyz", ""); a.status != 503 {
		t.Errorf("/readyz while draining: %d, want 503", a.status)
	}
}

func TestWait_EndsWhenTheCallerLeaves(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.submit(b.live, `{"prompt":"x"}`)
	ctx, leave := context.WithCancel(t.Context())
	answered := b.waits(1, func() *answer {
		a, _ := b.try(ctx, b.live, "GET", "/v1/generations/"+id+"?wait=60", "") // its error is the point
		return a
	})
	leave()
	<-answered
	b.eventually("the server ends the wait", func() bool { return strings.Contains(b.log.String(), `"status":499`) })
}
