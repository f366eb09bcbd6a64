package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// hookAPI plays an API whose every job succeeds at once. It sends a job's webhooks
// before it answers the submission: as many as times says for the job's number.
type hookAPI struct {
	times map[int]int // 1 where nothing is said
	next  atomic.Int64
	http  *httptest.Server
}

func startHookAPI(t *testing.T, times map[int]int) *hookAPI {
	t.Helper()
	a := &hookAPI{times: times}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/generate", a.submit)
	mux.HandleFunc("GET /v1/generations/{id}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"id":%q,"status":"succeeded"}`, r.PathValue("id"))
	})
	a.http = httptest.NewServer(mux)
	t.Cleanup(a.http.Close)
	return a
}

func (a *hookAPI) submit(w http.ResponseWriter, r *http.Request) {
	var body benchRequest
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil || !strings.Contains(body.Prompt, "bench-") {
		http.Error(w, "no such request", http.StatusUnprocessableEntity)
		return
	}
	i := int(a.next.Add(1))
	if body.WebhookURL != "" {
		if err := a.send(r.Context(), body.WebhookURL, i); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	w.WriteHeader(http.StatusAccepted)
	_, _ = fmt.Fprintf(w, `{"id":"gen_%d","status":"queued"}`, i)
}

// send delivers that job i was queued, and then its end.
func (a *hookAPI) send(ctx context.Context, url string, i int) error {
	n, ok := a.times[i]
	if !ok {
		n = 1
	}
	kinds := []string{"queued"}
	for range n {
		kinds = append(kinds, "succeeded")
	}
	for _, kind := range kinds {
		status, err := deliver(ctx, url, "evt_"+kind+strconv.Itoa(i), fmt.Sprintf(`{"type":"generation.%s","data":{"id":"gen_%d"}}`, kind, i))
		if err != nil || status != http.StatusNoContent {
			return fmt.Errorf("the receiver answered %d: %w", status, err)
		}
	}
	return nil
}

func TestBenchWebhooks_OfJobsThatAskForThem(t *testing.T) {
	t.Parallel()
	hooks := newTestReceiver(t)
	api := startHookAPI(t, map[int]int{5: 0, 6: 3})
	load := newBenchLoad(api.http.URL, "key", 1)
	loaded, _, err := load.closed(t.Context(), "loaded", 3, 1, func() {})
	if err != nil {
		t.Fatal(err)
	}
	load.webhook = hooks.url
	steady, _, err := load.closed(t.Context(), "steady", 4, 1, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if err := hooks.await(t.Context(), steady, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	for _, j := range append(loaded, steady...) {
		j.received, j.webhooks = hooks.arrivals(j.id)
		j.finished = j.received.Add(-2 * time.Millisecond)
		j.accepted = j.received.Add(-time.Millisecond)
	}
	got := summarizeWebhooks(loaded, steady, hooks.others())
	want := &webhookPhase{
		Jobs: 4, Lost: 1, Doubled: 2, Other: 4,
		Finished: quantiles{N: 3, P50: 2, P95: 2, P99: 2, Max: 2},
		Accepted: quantiles{N: 3, P50: 1, P95: 1, P99: 1, Max: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("webhooks (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"jobs whose webhook did not come: 1, want 0"}, got.faults()); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestBenchLoad_OpenRoundSendsItsWebhooks(t *testing.T) {
	t.Parallel()
	hooks := newTestReceiver(t)
	load := newBenchLoad(startHookAPI(t, nil).http.URL, "key", 1)
	load.webhook = hooks.url
	jobs, err := load.open(t.Context(), "steady", 2, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if err := hooks.await(t.Context(), jobs, time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, j := range jobs {
		if at, n := hooks.arrivals(j.id); n != 1 || at.Before(j.sent) || j.ended.IsZero() {
			t.Errorf("%s was sent at %v and ended at %v; its webhook came %d times, first at %v", j.id, j.sent, j.ended, n, at)
		}
	}
}

func TestWebhookPhase_FullQueueAndVerdict(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_000_000, 0)
	job := func(after time.Duration) *benchJob {
		return &benchJob{hooked: true, webhooks: 1, accepted: at, finished: at, received: at.Add(after)}
	}
	all := summarizeWebhooks([]*benchJob{job(8 * time.Millisecond)}, []*benchJob{job(3 * time.Millisecond)}, 0)
	if want := (quantiles{N: 1, P50: 8, P95: 8, P99: 8, Max: 8}); all.FullQueue != want || all.Finished.P50 != 3 {
		t.Errorf("full queue %v and steady %v, want %v and 3 ms", all.FullQueue, all.Finished, want)
	}
	for want, p := range map[string]*webhookPhase{
		"": nil,
		" 2 webhooks of ends came, 0 of them again.":                        all,
		" 4 webhooks of ends came, 2 of them again, and 7 of other events.": {Jobs: 5, Lost: 1, Doubled: 2, Other: 7},
	} {
		if got := p.verdict(); got != want {
			t.Errorf("verdict = %q, want %q", got, want)
		}
	}
	if faults := append((*webhookPhase)(nil).faults(), all.faults()...); len(faults) > 0 {
		t.Errorf("faults = %q of runs without any", faults)
	}
}

func TestBenchReport_WebhooksOfEveryJob(t *testing.T) {
	t.Parallel()
	r := sampleReport()
	r.Phases.Webhooks.FullQueue = quantiles{2020, 20, 40, 60, 80}
	var all, none strings.Builder
	if err := r.write(&all); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(all.String(), "webhook, full queue: finished to received") {
		t.Errorf("the table lacks the webhooks of the full queue:\n%s", all.String())
	}
	r.Phases.Webhooks = nil
	if err := r.write(&none); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(none.String(), "webhook, ") || strings.Contains(none.String(), "webhooks of ends") {
		t.Errorf("the table shows webhooks that none asked for:\n%s", none.String())
	}
}
