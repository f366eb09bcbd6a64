package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTolerable(t *testing.T) {
	t.Parallel()
	for label, want := range map[string]bool{
		"GET 200": true, "POST 202": true, "POST 402": true, "POST 409": true, "POST 429": true, "POST 503": true,
		"GET cut": true, "POST timeout": true,
		"POST 503 without Retry-After": false, "GET 404": false, "POST 500": false, "POST 422": false, "GET 502": false,
		"POST 401": false, "GET 304": false, "GET invalid JSON (x)": false, "": false,
	} {
		if got := tolerable(label); got != want {
			t.Errorf("tolerable(%q) = %t", label, got)
		}
	}
}

func TestFailure(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		answerTimeout: fmt.Errorf("get: %w", context.DeadlineExceeded),
		answerCut:     fmt.Errorf("get: %w", &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}),
	} {
		if got := failure(err); got != want {
			t.Errorf("failure(%v) = %q, want %q", err, got, want)
		}
	}
}

// scripted answers each request with the next of a list, and the last one
// again and again.
type scripted struct {
	mu      sync.Mutex
	answers []func(http.ResponseWriter)
	keys    []string
	paths   []string
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	answer := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	s.keys = append(s.keys, r.Header.Get("Idempotency-Key"))
	s.paths = append(s.paths, r.Method+" "+r.URL.String())
	s.mu.Unlock()
	answer(w)
}

func answerWith(status int, retryAfter, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// offer has one customer offer a job to a service that follows a script.
func offer(t *testing.T, j *chaosJob, answers ...func(http.ResponseWriter)) (*scripted, *chaosLoad) {
	t.Helper()
	s := &scripted{answers: answers}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	load := newChaosLoad([]*chaosMember{{role: roleAPI, child: &child{url: srv.URL}}})
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	j.token, j.org, j.body = "chaos-1-1", &chaosOrg{key: "nb_live_x"}, []byte(`{}`)
	load.run(ctx, []*chaosJob{j})
	return s, load
}

func TestChaosLoad_ResendsWithTheSameKeyUntilItKnows(t *testing.T) {
	t.Parallel()
	j := &chaosJob{cancel: time.Millisecond}
	cut := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	s, load := offer(t, j,
		cut, answerWith(503, "0", ""), answerWith(500, "", "{}"), answerWith(202, "", `{"id":"gen_1","sta`), answerWith(202, "", `{"id":"gen_1","status":"queued"}`),
		answerWith(503, "", ""), answerWith(200, "", `{"id":"gen_1","status":"canceled"}`),
		answerWith(200, "", `{"id":"gen_1","status":"processing"}`), answerWith(200, "", `{"id":"gen_1","status":"succeeded","images":[{},{}]}`),
	)
	if diff := cmp.Diff([]string{"gen_1"}, j.ids); diff != "" || j.status != "succeeded" || j.images != 2 || !j.unheard {
		t.Errorf("the customer has %v, which has %s with %d images", j.ids, j.status, j.images)
	}
	submit, cancel, read := "POST /v1/generations", "POST /v1/generations/gen_1/cancel", "GET /v1/generations/gen_1?wait=5"
	sent := strings.Join(s.paths, "\n")
	if want := strings.Join([]string{submit, submit, submit, submit, submit, cancel, cancel, read, read}, "\n"); sent != want && sent != submit+"\n"+want {
		t.Errorf("requests (-want +got):\n%s", cmp.Diff(want, sent))
	}
	for i, path := range s.paths {
		if path == submit && s.keys[i] != "chaos-1-1" {
			t.Errorf("submission %d has key %q", i, s.keys[i])
		}
	}
	// The fifth request was the first to be answered well.
	if asked, good := load.after(load.began); !asked.Equal(load.asks[0].from) || !good.Equal(load.asks[4].to) {
		t.Errorf("asked from %v and answered at %v, of %+v", asked, good, load.asks)
	}
	amid := load.asks[5].to.Add(-time.Nanosecond)
	if asked, good := load.after(amid); !asked.Equal(amid) || !good.Equal(load.asks[6].to) {
		t.Errorf("then asked from %v and answered at %v, of %+v", asked, good, load.asks)
	}
	if asked, good := load.after(time.Now()); !asked.IsZero() || !good.IsZero() {
		t.Errorf("after the end asked from %v and answered at %v", asked, good)
	}
	for label, n := range map[string]int{"POST 503": 1, "POST 500": 1, "POST 202": 1, "POST 200": 1, "POST 503 without Retry-After": 1, "GET 200": 2} {
		if load.answers[label] != n {
			t.Errorf("%d times %s, want %d; all: %v", load.answers[label], label, n, load.answers)
		}
	}
}

func TestChaosLoad_TwinsAndRefusals(t *testing.T) {
	t.Parallel()
	twin := &chaosJob{twin: true}
	offer(t, twin, answerWith(202, "", `{"id":"gen_1","status":"queued"}`), answerWith(202, "", `{"id":"gen_2","status":"queued"}`), answerWith(404, "", `{}`))
	if len(twin.ids) != 2 || twin.status != "" {
		t.Errorf("twins were given %v and %q, want both ids and no end", twin.ids, twin.status)
	}
	refused := &chaosJob{}
	s, load := offer(t, refused, answerWith(429, "0", `{}`), answerWith(422, "", `{}`))
	if refused.refused != 422 || refused.unheard || len(refused.ids) > 0 || len(s.paths) != 2 || load.answers["POST 422"] != 1 {
		t.Errorf("refused with %d after %v, answers %v", refused.refused, s.paths, load.answers)
	}
}

func TestChaosAnswer_Pause(t *testing.T) {
	t.Parallel()
	for after, want := range map[time.Duration]time.Duration{0: 150 * time.Millisecond, 300 * time.Millisecond: 300 * time.Millisecond, time.Minute: mostPause} {
		if got := (&chaosAnswer{after: after}).pause(); got != want {
			t.Errorf("after %s: %s, want %s", after, got, want)
		}
	}
}
