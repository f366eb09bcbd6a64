// Package simulator is a stateful server that speaks Stripe's wire form for the calls
// this service makes: customers, prices, meters, checkout, subscriptions, invoices,
// refunds and signed webhooks. No card is ever charged.
package simulator

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// DefaultAPIKey is the key that a Simulator takes unless it is given another.
const DefaultAPIKey = "sk_test_simulator" //nolint:gosec // it opens a simulator only

// APIVersion is the version of Stripe's API that objects and events have.
const APIVersion = "2026-03-25.dahlia"

// Options of a Simulator. The zero value is a working simulator without webhooks.
type Options struct {
	APIKey        string           // that callers have to know; "" is DefaultAPIKey
	WebhookURL    string           // where every event is sent, besides to the endpoints created; "" is nowhere
	WebhookSecret string           // that events to WebhookURL are signed with
	BaseURL       string           // in links to pages; "" is the address a request came to
	Now           func() time.Time // the clock, which Advance adds to; nil is time.Now
	File          string           // where the state is kept between runs; "" is nowhere
	Logger        *slog.Logger     // nil discards
	Webhooks      Disorder         // of webhooks, until SetWebhooks

	// Backoff is how long to wait before a webhook is sent again, by failure; the last
	// counts for all later ones. Nil is from 100 ms to 5 s.
	Backoff []time.Duration
	// LeaveUnpaid leaves a subscription unpaid when the last attempt to charge for it
	// fails; otherwise it is canceled.
	LeaveUnpaid bool
}

// Disorder is what the network may do to webhooks, and Stripe warns of.
type Disorder struct {
	Duplicate bool // each is sent twice
	Reverse   bool // of those that wait, the latest is sent first
	Hold      bool // none is sent until Release
}

// A Simulator is Stripe as an http.Handler, safe for concurrent use.
type Simulator struct {
	opts   Options
	log    *slog.Logger
	routes []route

	mu      sync.Mutex // guards what follows
	state   *state
	journal []Request
	order   Disorder
	down    bool
	lose    int           // answers still to be lost
	saveErr error         // of the latest write of the state
	changed chan struct{} // closed and replaced when deliveries change

	cancel func()
	done   sync.WaitGroup
}

var _ http.Handler = (*Simulator)(nil)

// New returns a Simulator, which continues from Options.File if that exists. The error
// says that the file can not be read.
func New(opts Options) (*Simulator, error) {
	if opts.APIKey == "" {
		opts.APIKey = DefaultAPIKey
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if len(opts.Backoff) == 0 {
		opts.Backoff = []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 5 * time.Second}
	}
	st, err := loadState(opts.File)
	if err != nil {
		return nil, fmt.Errorf("state of the Stripe simulator: %w", err)
	}
	s := &Simulator{opts: opts, log: opts.Logger, state: st, order: opts.Webhooks, changed: make(chan struct{})}
	s.routes = s.table()
	s.startDeliveries()
	return s, nil
}

// Close stops sending webhooks and waits for those on their way. What was not delivered
// is sent by the next Simulator with the same Options.File.
func (s *Simulator) Close() {
	s.cancel()
	s.done.Wait()
}

// now is the simulator's time.
func (s *Simulator) now() time.Time { return s.opts.Now().Add(s.state.Offset) }

// Now returns the simulator's time: that of Options.Now and what Advance added.
func (s *Simulator) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

// change runs f on the state, after what has become due, and keeps the state.
func (s *Simulator) change(f func(*tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changeLocked(&tx{s: s, state: s.state, base: s.opts.BaseURL}, f)
}

func (s *Simulator) changeLocked(t *tx, f func(*tx) error) error {
	s.runDue(s.now())
	t.now = s.now()
	err := f(t)
	s.keep()
	return err
}

// Advance moves the clock on and runs, in order of time, what becomes due: renewals,
// attempts to charge, the end of checkout sessions. The invoice of a renewal is
// charged an hour after it, as Stripe does.
func (s *Simulator) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runDue(s.now().Add(d))
	s.state.Offset += d
	s.keep()
}

// Pay completes a checkout session as a customer does who pays. The error says why it
// could not: the session is not open, or the card was declined.
func (s *Simulator) Pay(sessionID string) error {
	return s.change(func(t *tx) error { return t.paySession(sessionID, false) })
}

// Decline has the customer of a checkout session try a card that is refused. The
// session stays open.
func (s *Simulator) Decline(sessionID string) error {
	err := s.change(func(t *tx) error { return t.paySession(sessionID, true) })
	var p *problem
	if errors.As(err, &p) && p.Code == "card_declined" {
		return nil
	}
	return err
}

// FailNextPayment has the next attempt to charge the customer be declined.
func (s *Simulator) FailNextPayment(customerID string) {
	_ = s.change(func(t *tx) error { t.state.FailNext[customerID]++; return nil })
}

// SetCard says whether the customer's card can be charged. It can at first.
func (s *Simulator) SetCard(customerID string, works bool) {
	_ = s.change(func(t *tx) error {
		delete(t.state.BadCards, customerID)
		if !works {
			t.state.BadCards[customerID] = true
		}
		return nil
	})
}

// PayInvoice charges an open invoice now. The error says that it is not open, or that
// the card was declined.
func (s *Simulator) PayInvoice(invoiceID string) error {
	return s.change(func(t *tx) error { return t.payInvoiceByID(invoiceID) })
}

// FailRefund has the customer's bank send a refund back. The error says that there is
// none, or that it has failed already.
func (s *Simulator) FailRefund(refundID string) error {
	return s.change(func(t *tx) error { return t.failRefund(refundID) })
}

// SetDown makes the simulator answer 503 to everything, as Stripe in an outage, until
// it is set back. Webhooks wait meanwhile.
func (s *Simulator) SetDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
	s.wake()
}

// LoseAnswers has the next n requests be served, and their connection cut in place of
// the answer.
func (s *Simulator) LoseAnswers(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose = n
}
