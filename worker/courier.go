package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/nanobanana/nanobanana/jobs/egress"
	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
)

// Bounds of deliveries in one process.
const (
	// netAfter is when someone else attempts a delivery that this worker was to
	// attempt at once.
	netAfter = 30 * time.Second
	// atOnceWait is how long one waits for its turn: its attempt is over before
	// the net.
	atOnceWait = netAfter - webhook.Timeout - 3*time.Second
	// atOnceMost is how many are under way at the same time; the rest is the net's.
	atOnceMost = 2000
	// laneWidth is how many go to one endpoint at the same time.
	laneWidth = 16
	// recordLinger is how long what came of attempts is collected. Nobody waits
	// for it, and each write costs a commit.
	recordLinger = 50 * time.Millisecond
	// drained is how much of an answer is read, so that its connection can be used
	// again.
	drained = 64 << 10
)

// A courier attempts deliveries.
type courier struct {
	w      *Worker
	client *http.Client
	reads  *store.Committer[store.Errand, *store.Sending]
	writes *store.Committer[*store.Sent, struct{}]
	turns  chan struct{} // one for each attempt that is made at once
	under  sync.WaitGroup
	ctx    context.Context // of attempts made at once
	cancel context.CancelFunc
	ending chan struct{} // closed when what waits for its turn is to be left to others
	end    sync.Once

	mu    sync.Mutex
	lanes map[string]*lane
}

// A lane is an endpoint's share of the courier.
type lane struct {
	places chan struct{}
	users  int
}

func newCourier(w *Worker) *courier {
	c := &courier{
		w: w, client: w.opts.Egress.Client(egress.ClientOptions{Timeout: webhook.Timeout, ConnsPerHost: laneWidth}),
		turns: make(chan struct{}, atOnceMost), ending: make(chan struct{}), lanes: map[string]*lane{},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.reads = store.NewCommitter(store.CommitterOptions{MaxBatch: 64, Lanes: 2}, w.opts.DB.Sendings)
	c.writes = store.NewCommitter(store.CommitterOptions{MaxBatch: 256, Linger: recordLinger},
		func(ctx context.Context, sent []*store.Sent) ([]struct{}, error) {
			return make([]struct{}, len(sent)), w.opts.DB.RecordSent(ctx, w.opts.Now(), sent)
		})
	return c
}

// sendAtOnce attempts what this worker has just caused to be delivered. It does
// not wait for it. Whatever it leaves undone is the net's.
func (c *courier) sendAtOnce(errands []store.Errand) {
	for _, e := range errands {
		select {
		case c.turns <- struct{}{}:
		default:
			return
		}
		c.under.Go(func() {
			defer func() { <-c.turns }()
			ctx, cancel := context.WithTimeout(c.ctx, netAfter)
			defer cancel()
			if err := c.attempt(ctx, e, atOnceWait); err != nil {
				c.w.opts.Logger.Warn("webhook left to its ticket", "event", e.EventID, "endpoint", e.EndpointID, "error", err)
			}
		})
	}
}

// errNoPlace reports that too many attempts go to the endpoint already.
var errNoPlace = errors.New("the endpoint has as many requests as it may")

// attempt makes one attempt of a delivery, if it is still due, and records what
// came of it. It waits up to patience for its turn.
func (c *courier) attempt(ctx context.Context, e store.Errand, patience time.Duration) error {
	s, err := c.reads.Do(ctx, e)
	if err != nil || s == nil {
		return err
	}
	switch {
	case s.Stopped:
		return c.w.opts.DB.HoldErrand(ctx, e, store.DeliveryHeld, c.w.opts.Now())
	case s.URL == "":
		return c.w.opts.DB.HoldErrand(ctx, e, store.DeliveryFailed, c.w.opts.Now())
	}
	leave, err := c.enter(ctx, laneOf(s), patience)
	if err != nil {
		return err
	}
	sent, err := c.send(ctx, s)
	leave()
	if err != nil {
		return err
	}
	c.log(s, sent)
	// What was sent is on record even when the worker is being stopped.
	_, err = c.writes.Do(context.WithoutCancel(ctx), sent)
	return err
}

// laneOf names whose places an attempt takes: the endpoint's, or those of the
// host of a project's webhook_url.
func laneOf(s *store.Sending) string {
	if s.EndpointID != store.EndpointRequest {
		return s.EndpointID
	}
	return s.ProjectID + " " + hostOf(s.URL)
}

// enter waits for a place in a lane.
func (c *courier) enter(ctx context.Context, name string, patience time.Duration) (leave func(), err error) {
	c.mu.Lock()
	l := c.lanes[name]
	if l == nil {
		l = &lane{places: make(chan struct{}, laneWidth)}
		c.lanes[name] = l
	}
	l.users++
	c.mu.Unlock()
	forget := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(c.lanes, name)
		}
	}
	select {
	case l.places <- struct{}{}:
		return func() { <-l.places; forget() }, nil
	default:
	}
	over := time.NewTimer(patience)
	defer over.Stop()
	select {
	case l.places <- struct{}{}:
		return func() { <-l.places; forget() }, nil
	case <-over.C:
		err = errNoPlace
	case <-c.ending:
		err = errNoPlace
	case <-ctx.Done():
		err = ctx.Err()
	}
	forget()
	return nil, err
}

// send makes the request. It returns an error if nothing can be said about the
// endpoint: the worker is being stopped, or has a fault of its own.
func (c *courier) send(ctx context.Context, s *store.Sending) (*store.Sent, error) {
	secrets, err := c.w.ensureSecrets(ctx, s)
	if err != nil {
		return nil, err
	}
	began, now := time.Now(), c.w.opts.Now()
	answer, excerpt, unsent, verdict := webhook.Answer{}, "", false, webhook.Verdict{Outcome: webhook.Failed}
	body, header, err := c.w.letter(s, secrets, now)
	if err == nil {
		answer, excerpt = c.post(ctx, s.URL, header, body)
		if answer.Status == 0 && ctx.Err() != nil {
			return nil, fmt.Errorf("post %s: %w", s.EventID, ctx.Err())
		}
		verdict = answer.Verdict()
	} else {
		// It goes by the schedule, so that a rotation or a mended program helps.
		c.w.opts.Logger.Error("webhook could not be prepared", "event", s.EventID, "endpoint", s.EndpointID, "error", err)
		verdict.Reason, unsent = unpreparedReason(err), true
	}
	took := time.Since(began)
	sent := &store.Sent{
		EndpointID: s.EndpointID, EventID: s.EventID, Ticket: s.Ticket, State: store.DeliveryFailed, Gone: verdict.Outcome == webhook.Gone, Unsent: unsent,
		Attempt: store.DeliveryAttempt{At: now.UTC(), MS: took.Milliseconds(), Status: answer.Status, Error: verdict.Reason, Response: excerpt},
	}
	switch wait, again := verdict.Retry(s.Tries+1, nil); {
	case verdict.Outcome == webhook.Delivered:
		sent.State = store.DeliveryDelivered
	case again:
		at := now.Add(took + wait)
		sent.State, sent.RetryAt = store.DeliveryPending, &at
	}
	return sent, nil
}

// post sends a signed body and returns the answer with the beginning of its body.
func (c *courier) post(ctx context.Context, url string, header http.Header, body []byte) (webhook.Answer, string) {
	fail := func(err error) (webhook.Answer, string) {
		var forbidden *egress.Error
		answer := webhook.Answer{Err: err, At: c.w.opts.Now()}
		if errors.As(err, &forbidden) {
			answer.Forbidden = forbidden.Reason
		}
		return answer, ""
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fail(err)
	}
	req.Header = header
	req.Header.Set("Content-Type", "application/json")
	// It is sent as no header, but lets net/http repeat the request by itself when
	// the server closes a kept connection just then.
	req.Header["Idempotency-Key"] = []string{}
	req.Header.Set("User-Agent", "NanoBanana-Webhooks/"+view.APIVersion)
	res, err := c.client.Do(req)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = res.Body.Close() }() // only read
	first, _ := io.ReadAll(io.LimitReader(res.Body, webhook.FirstBytes))
	_, _ = io.CopyN(io.Discard, res.Body, drained) // a body that breaks off takes nothing back
	return webhook.Answer{Status: res.StatusCode, Header: res.Header, At: c.w.opts.Now()}, webhook.Excerpt(first)
}

// log says which deliveries fail, not what they say.
func (c *courier) log(s *store.Sending, sent *store.Sent) {
	if sent.State == store.DeliveryDelivered {
		return
	}
	c.w.opts.Logger.Info("webhook not delivered", "event", s.EventID, "type", s.Event.Type, "endpoint", s.EndpointID,
		"project", s.ProjectID, "try", s.Tries+1, "status", sent.Attempt.Status, "error", sent.Attempt.Error, "retry_at", sent.RetryAt)
}

// close waits for the attempts under way until ctx ends, and leaves what has not
// begun to others. Closing twice is closing once.
func (c *courier) close(ctx context.Context) {
	c.end.Do(func() { close(c.ending) })
	done := make(chan struct{})
	go func() { defer close(done); c.under.Wait() }()
	select {
	case <-done:
	case <-ctx.Done():
	}
	c.cancel()
	<-done
	c.reads.Close()
	c.writes.Close()
	c.client.CloseIdleConnections()
}
