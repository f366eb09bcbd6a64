package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/nanobanana/nanobanana/jobs/egress"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
)

// Times and bounds of deliveries in one process.
const (
	// netAfter is when someone else attempts a delivery that this worker was to
	// attempt at once.
	netAfter = 30 * time.Second
	// atOnceWait is how long one waits for its turn: its attempt is over before
	// the net.
	atOnceWait = netAfter - webhook.Timeout - 3*time.Second
	// atOnceMost is how many are under way or wait at the same time; the rest is
	// the net's.
	atOnceMost = 8192
	// recordLinger is how long what came of attempts is collected. Nobody waits
	// for it, and each write costs a commit.
	recordLinger = 50 * time.Millisecond
	// sentTime is how long writing it may take: whatever is not on record is
	// attempted once more.
	sentTime = 5 * time.Second
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
	backs  *store.Committer[store.Errand, struct{}]
	places *places
	turns  chan struct{} // one for each attempt that is made at once
	under  sync.WaitGroup
	ctx    context.Context // of attempts made at once
	cancel context.CancelFunc
}

func newCourier(w *Worker) *courier {
	c := &courier{
		w: w, client: w.opts.Egress.Client(egress.ClientOptions{Timeout: webhook.Timeout, IdleConnsPerHost: laneWidth}),
		places: newPlaces(), turns: make(chan struct{}, atOnceMost),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.reads = store.NewCommitter(store.CommitterOptions{MaxBatch: 64, Lanes: 2}, w.opts.DB.Sendings)
	c.writes = store.NewCommitter(store.CommitterOptions{MaxBatch: 256, Linger: recordLinger, Timeout: sentTime},
		func(ctx context.Context, sent []*store.Sent) ([]struct{}, error) {
			return make([]struct{}, len(sent)), c.record(ctx, sent)
		})
	c.backs = store.NewCommitter(store.CommitterOptions{MaxBatch: 256, Linger: recordLinger},
		func(ctx context.Context, errands []store.Errand) ([]struct{}, error) {
			return make([]struct{}, len(errands)), w.opts.DB.PutBackErrands(ctx, errands)
		})
	return c
}

// record writes what came of attempts, and tries again where the database was in
// the way: what is not on record is sent once more.
func (c *courier) record(ctx context.Context, sent []*store.Sent) error {
	for {
		err := c.w.opts.DB.RecordSent(ctx, c.w.opts.Ahead(), sent)
		if err == nil || !store.IsUnavailable(err) {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// A parcel is a delivery on its way, with what is known of it.
type parcel struct {
	store.Errand
	sending *store.Sending // what it takes, if it was just read
	letter  *letter        // of that, if it was written ahead
}

// sendAtOnce attempts what this worker has just caused to be delivered. letters are
// those written ahead, or nil. It does not wait for the attempts. Whatever it leaves
// undone is the net's.
func (c *courier) sendAtOnce(finished store.Finish, letters []*letter) {
	for i, e := range finished.Errands {
		p := parcel{Errand: e, sending: finished.Sendings[i]}
		if letters != nil {
			p.letter = letters[i]
		}
		select {
		case c.turns <- struct{}{}:
		default:
			return
		}
		c.under.Go(func() {
			defer func() { <-c.turns }()
			defer c.survive(e)
			ctx, cancel := context.WithTimeout(c.ctx, netAfter)
			defer cancel()
			err := c.attempt(ctx, p, atOnceWait)
			switch {
			case errors.Is(err, errNoPlace):
				c.w.opts.Logger.Debug("webhook left to its ticket", "event", e.EventID, "endpoint", e.EndpointID, "error", err)
			case err != nil:
				c.w.opts.Logger.Warn("webhook left to its ticket", "event", e.EventID, "endpoint", e.EndpointID, "error", err)
			}
		})
	}
}

// survive keeps a fault in one attempt from ending the process with all its paid
// work.
func (c *courier) survive(e store.Errand) {
	if fault := recover(); fault != nil {
		c.w.opts.Logger.Error("webhook panicked", "event", e.EventID, "endpoint", e.EndpointID, "panic", fault, "stack", string(debug.Stack()))
	}
}

// attempt makes one attempt of a delivery, if it is still due, and records what
// came of it. It waits up to patience for its turn.
func (c *courier) attempt(ctx context.Context, p parcel, patience time.Duration) (err error) {
	if s := p.sending; s == nil || s.Stopped || s.URL == "" {
		if err = c.read(ctx, &p); err != nil || p.sending == nil {
			return err
		}
	}
	leave, waited, err := c.places.enter(ctx, p.sending, patience)
	if err != nil {
		return err
	}
	sent, err := c.sendInPlace(ctx, &p, waited, leave)
	if err != nil || sent == nil {
		return err
	}
	c.log(p.sending, sent)
	// What was sent is on record even when the worker is being stopped.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sentTime+recordLinger)
	defer cancel()
	_, err = c.writes.Do(ctx, sent)
	return err
}

// sendInPlace makes the request while it has its place, and not a moment longer.
// sent is nil if there was nothing to send any more.
func (c *courier) sendInPlace(ctx context.Context, p *parcel, waited bool, leave func()) (sent *store.Sent, err error) {
	defer leave()
	if waited { // and the endpoint may have been changed, or its secret
		if err = c.read(ctx, p); err != nil || p.sending == nil {
			return nil, err
		}
	}
	return c.send(ctx, p)
}

// read learns what an attempt needs. It leaves sending nil if there is nothing to
// attempt: then the delivery is over, or ends here.
func (c *courier) read(ctx context.Context, p *parcel) error {
	p.sending, p.letter = nil, nil
	s, err := c.reads.Do(ctx, p.Errand)
	switch {
	case err != nil || s == nil:
		return err
	case s.Stopped:
		return c.hold(ctx, p.Errand, store.DeliveryHeld)
	case s.URL == "":
		return c.hold(ctx, p.Errand, store.DeliveryFailed)
	}
	p.sending = s
	return nil
}

// hold ends a delivery that can not be attempted, or lets it wait where that has
// just changed.
func (c *courier) hold(ctx context.Context, e store.Errand, state string) error {
	held, err := c.w.opts.DB.HoldErrand(ctx, e, state)
	if err == nil && !held {
		_, err = c.backs.Do(ctx, e)
	}
	return err
}

// send makes the request. It returns an error if nothing can be said about the
// endpoint: the worker is being stopped, or has a fault of its own.
func (c *courier) send(ctx context.Context, p *parcel) (*store.Sent, error) {
	s := p.sending
	began, now := time.Now(), c.w.webhookTime()
	if p.letter == nil {
		secrets, err := c.w.ensureSecrets(ctx, s)
		if err != nil {
			return nil, err
		}
		p.letter = c.w.write(s, secrets, now)
	}
	answer, excerpt, unsent, verdict := webhook.Answer{}, "", false, webhook.Verdict{Outcome: webhook.Failed}
	err := p.letter.err
	if err == nil {
		answer, excerpt = c.post(ctx, s.URL, p.letter.header, p.letter.body)
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
		EndpointID: s.EndpointID, EventID: s.EventID, Ticket: s.Ticket, Revision: s.Revision,
		State: store.DeliveryFailed, Gone: verdict.Outcome == webhook.Gone, Unsent: unsent || isOurs(answer.Err),
		Attempt: store.DeliveryAttempt{At: now.UTC(), MS: took.Milliseconds(), Status: answer.Status, Error: verdict.Reason, Response: excerpt},
	}
	switch wait, again := verdict.Retry(s.Tries+1, nil); {
	case verdict.Outcome == webhook.Delivered:
		sent.State = store.DeliveryDelivered
	case again:
		sent.State, sent.RetrySecs = store.DeliveryPending, wait.Seconds()
	}
	return sent, nil
}

// post sends a signed body and returns the answer with the beginning of its body.
func (c *courier) post(ctx context.Context, url string, header http.Header, body []byte) (webhook.Answer, string) {
	fail := func(err error) (webhook.Answer, string) {
		var forbidden *egress.Error
		answer := webhook.Answer{Err: err, At: c.w.webhookTime()}
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
	req.Header.Set("User-Agent", "NanoBanana-Webhooks/"+webhook.APIVersion)
	res, err := c.client.Do(req)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = res.Body.Close() }() // only read
	first, _ := io.ReadAll(io.LimitReader(res.Body, webhook.FirstBytes))
	_, _ = io.CopyN(io.Discard, res.Body, drained) // a body that breaks off takes nothing back
	return webhook.Answer{Status: res.StatusCode, Header: res.Header, At: c.w.webhookTime()}, webhook.Excerpt(first)
}

// isOurs reports whether a request failed for want of this machine's own means.
func isOurs(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL, syscall.ENETDOWN} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// log says which deliveries fail, not what they say. Of an endpoint that goes on
// failing it says no more.
func (c *courier) log(s *store.Sending, sent *store.Sent) {
	level := slog.LevelInfo
	switch {
	case sent.State == store.DeliveryDelivered:
		return
	case s.Failing || s.Tries > 0:
		level = slog.LevelDebug
	}
	c.w.opts.Logger.Log(context.Background(), level, "webhook not delivered", "event", s.EventID, "type", s.Event.Type,
		"endpoint", s.EndpointID, "project", s.ProjectID, "try", s.Tries+1, "status", sent.Attempt.Status,
		"error", sent.Attempt.Error, "retry_in_s", sent.RetrySecs)
}

// close waits for the attempts under way until ctx ends, and leaves what has not
// begun to others. Closing twice is closing once.
func (c *courier) close(ctx context.Context) {
	c.places.close()
	done := make(chan struct{})
	go func() { defer close(done); c.under.Wait() }()
	select {
	case <-done:
	case <-ctx.Done():
	}
	c.cancel()
	select {
	case <-done:
		c.reads.Close()
		c.writes.Close()
		c.backs.Close()
	case <-time.After(sentTime + time.Second): // the database hangs; the tickets are there
	}
	c.client.CloseIdleConnections()
}
