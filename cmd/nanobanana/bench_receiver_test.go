package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// newTestReceiver is closed with the test.
func newTestReceiver(t *testing.T) *benchReceiver {
	t.Helper()
	r, err := startBenchReceiver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// deliver sends a webhook and returns the status that it was answered with.
func deliver(ctx context.Context, url, event, body string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	if event != "" {
		req.Header.Set("webhook-id", event)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, errors.Join(err, res.Body.Close())
}

func TestBenchReceiver_Counts(t *testing.T) {
	t.Parallel()
	r := newTestReceiver(t)
	began := time.Now()
	for _, d := range []struct {
		event, body string
		want        int
	}{
		{"evt_1", `{"type":"generation.succeeded","data":{"id":"gen_1"}}`, 204},
		{"evt_1", `{"type":"generation.succeeded","data":{"id":"gen_1"}}`, 204},
		{"evt_2", `{"type":"generation.failed","data":{"id":"gen_2"}}`, 204},
		{"evt_3", `{"type":"generation.canceled","data":{"id":"gen_3"}}`, 204},
		{"evt_4", `{"type":"generation.expired","data":{"id":"gen_4"}}`, 204},
		{"evt_5", `{"type":"generation.started","data":{"id":"gen_5"}}`, 204},
		{"", `{"type":"generation.succeeded","data":{"id":"gen_6"}}`, 400},
		{"evt_7", `{"type":"generation.succeeded","data":{}}`, 400},
		{"evt_8", `{"type":`, 400},
		{"evt_9", `{"type":"generation.succeeded","data":{"id":"gen_9"},"more":"` + strings.Repeat("x", benchHookMost) + `"}`, 400},
	} {
		got, err := deliver(t.Context(), r.url, d.event, d.body)
		if err != nil || got != d.want {
			t.Errorf("%q %.60s: answered %d, %v; want %d", d.event, d.body, got, err, d.want)
		}
	}
	ended := time.Now()
	for id, want := range map[string]int{"gen_1": 2, "gen_2": 1, "gen_3": 1, "gen_4": 1, "gen_5": 0, "gen_6": 0, "gen_9": 0} {
		at, got := r.arrivals(id)
		if got != want {
			t.Errorf("webhooks of %s = %d, want %d", id, got, want)
		}
		if want > 0 && (at.Before(began) || at.After(ended)) || want == 0 && !at.IsZero() {
			t.Errorf("the first webhook of %s came at %v; the test ran from %v to %v", id, at, began, ended)
		}
	}
	if got := r.others(); got != 1 {
		t.Errorf("webhooks of other events = %d, want 1", got)
	}
}

func TestBenchReceiver_AwaitsEachThatWasAskedFor(t *testing.T) {
	t.Parallel()
	r := newTestReceiver(t)
	jobs := []*benchJob{{id: "gen_1", hooked: true}, {id: "gen_2", hooked: true}, {id: "gen_3"}}
	done := make(chan error, 1)
	go func() { done <- r.await(t.Context(), jobs, time.Minute) }()
	for _, id := range []string{"gen_1", "gen_2"} {
		select {
		case err := <-done:
			t.Fatalf("await = %v before the webhook of %s", err, id)
		default:
		}
		if _, err := deliver(t.Context(), r.url, "evt", `{"type":"generation.succeeded","data":{"id":"`+id+`"}}`); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Errorf("await = %v", err)
	}
}

func TestBenchReceiver_StopsWaiting(t *testing.T) {
	t.Parallel()
	r := newTestReceiver(t)
	jobs := []*benchJob{{id: "gen_1", hooked: true}}
	if err := r.await(t.Context(), jobs, time.Millisecond); err != nil {
		t.Errorf("await = %v, want that the webhook is missing to be no error", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the user wants to go home")
	cancel(why)
	if err := r.await(ctx, jobs, time.Minute); !errors.Is(err, why) {
		t.Errorf("await = %v, want %v", err, why)
	}
}
