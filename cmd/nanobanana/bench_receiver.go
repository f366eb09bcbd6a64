package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// hookPatience is how long a receiver waits for another webhook before it takes
// what is missing for lost: longer than the 30 s after which the queue repeats a
// delivery that was not made at once.
const hookPatience = 45 * time.Second

// benchHookMost is more than a webhook may have.
const benchHookMost = 64 << 10

// A benchReceiver is a customer's server that stamps and counts the webhooks of
// generations' ends. It checks no signature: that would be its own time.
type benchReceiver struct {
	url    string
	server *http.Server
	done   chan error // what serving ended with

	mu    sync.Mutex
	ends  map[string]*hookArrivals // by generation
	other int                      // webhooks of anything but an end
	news  chan struct{}            // closed at the next first arrival
}

// hookArrivals are the deliveries of the end of one generation.
type hookArrivals struct {
	first time.Time
	n     int
}

// startBenchReceiver listens on a free port of 127.0.0.1.
func startBenchReceiver(ctx context.Context) (*benchReceiver, error) {
	ln, err := listen(ctx, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &benchReceiver{
		url: "http://" + ln.Addr().String() + "/", done: make(chan error, 1),
		ends: map[string]*hookArrivals{}, news: make(chan struct{}),
	}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	go func() { r.done <- r.server.Serve(ln) }()
	return r, nil
}

// ServeHTTP takes a webhook. What is none is refused, so that it counts as lost.
func (r *benchReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	now := time.Now()
	var body struct {
		Type string `json:"type"`
		Data struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	err := json.NewDecoder(io.LimitReader(req.Body, benchHookMost)).Decode(&body)
	if err != nil || body.Data.ID == "" || req.Header.Get("Webhook-Id") == "" {
		http.Error(w, "no webhook", http.StatusBadRequest)
		return
	}
	r.note(body.Type, body.Data.ID, now)
	w.WriteHeader(http.StatusNoContent)
}

// note counts a webhook that came at a moment.
func (r *benchReceiver) note(kind, id string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch kind {
	case "generation.succeeded", "generation.failed", "generation.canceled", "generation.expired":
	default:
		r.other++
		return
	}
	if seen := r.ends[id]; seen != nil {
		seen.n++
		return
	}
	r.ends[id] = &hookArrivals{first: at, n: 1}
	close(r.news)
	r.news = make(chan struct{})
}

// arrivals returns when the webhook of a generation's end came first, and how
// often it came; the zero time and 0 if it has not.
func (r *benchReceiver) arrivals(id string) (first time.Time, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if seen := r.ends[id]; seen != nil {
		return seen.first, seen.n
	}
	return time.Time{}, 0
}

// others counts the webhooks of anything but an end.
func (r *benchReceiver) others() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.other
}

// missing counts the jobs whose webhook has not come. The channel is closed when
// another comes.
func (r *benchReceiver) missing(jobs []*benchJob) (n int, news <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, j := range jobs {
		if j.hooked && r.ends[j.id] == nil {
			n++
		}
	}
	return n, r.news
}

// await returns once each job that asked for a webhook has got it, or none has
// come for so long. That some are missing is no error.
func (r *benchReceiver) await(ctx context.Context, jobs []*benchJob, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		n, news := r.missing(jobs)
		if n == 0 {
			return nil
		}
		select {
		case <-news:
			timer.Reset(patience)
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// close ends the receiver at once.
func (r *benchReceiver) close() error {
	err := r.server.Close()
	if served := <-r.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("receive webhooks: %w", served))
	}
	return err
}
