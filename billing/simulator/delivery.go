package simulator

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// How webhooks are sent: Stripe's tries go on for three days, with longer waits.
const (
	deliveryTries   = 100
	deliveryTimeout = 10 * time.Second
	tickEvery       = time.Second // how often a clock that runs by itself is looked at
)

// A delivery is an event that an endpoint has not taken yet.
type delivery struct {
	Event    string
	Endpoint string // "" is that of Options
	Tries    int
	next     time.Time // not before; by the machine's clock
}

// queue has an event sent to all that want it.
func (s *Simulator) queue(e *event) {
	var to []string
	if s.opts.WebhookURL != "" {
		to = append(to, "")
	}
	for _, p := range newestFirst(s.state.Endpoints, func(p *endpoint) bool { return p.wants(e.Type) }) {
		to = append(to, p.ID)
	}
	for _, id := range to {
		e.PendingWebhooks++
		s.state.Deliveries = append(s.state.Deliveries, &delivery{Event: e.ID, Endpoint: id})
		if s.order.Duplicate {
			e.PendingWebhooks++
			s.state.Deliveries = append(s.state.Deliveries, &delivery{Event: e.ID, Endpoint: id})
		}
	}
	s.wake()
}

// wake tells those who wait that deliveries changed.
func (s *Simulator) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// SetWebhooks says what happens to webhooks from now on.
func (s *Simulator) SetWebhooks(d Disorder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order = d
	s.wake()
}

// Release sends the webhooks that were held, and holds none from now on.
func (s *Simulator) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order.Hold = false
	s.wake()
}

// Idle returns once every webhook has been delivered, or when ctx ends, whose cause is
// the error then.
func (s *Simulator) Idle(ctx context.Context) error {
	for {
		s.mu.Lock()
		waiting, changed := len(s.state.Deliveries), s.changed
		s.mu.Unlock()
		if waiting == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d webhooks are not delivered: %w", waiting, context.Cause(ctx))
		}
	}
}

// startDeliveries runs what sends webhooks, until Close.
func (s *Simulator) startDeliveries() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	client := &http.Client{
		Timeout:       deliveryTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	s.done.Go(func() {
		defer client.CloseIdleConnections()
		for ctx.Err() == nil {
			d, content, changed, wait := s.nextDelivery()
			if d == nil {
				select {
				case <-ctx.Done():
				case <-changed:
				case <-time.After(wait):
				}
				continue
			}
			err := s.send(ctx, client, d, content)
			if ctx.Err() == nil {
				s.delivered(d, err)
			}
		}
	})
}

// nextDelivery is the one to send now, or nil and how long to wait.
func (s *Simulator) nextDelivery() (d *delivery, content []byte, changed <-chan struct{}, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runDue(s.now()) {
		s.keep()
	}
	wait = tickEvery
	if s.order.Hold || s.down {
		return nil, nil, s.changed, wait
	}
	now := time.Now()
	waiting := s.state.Deliveries
	if s.order.Reverse {
		waiting = slices.Clone(waiting)
		slices.Reverse(waiting)
	}
	for _, d := range waiting {
		if due := d.next.Sub(now); due > 0 {
			wait = min(wait, due)
			continue
		}
		content, _ := json.Marshal(s.state.Events[d.Event]) // it comes from JSON
		return d, content, s.changed, 0
	}
	return nil, nil, s.changed, wait
}

// send posts an event; an error says that it was not taken.
func (s *Simulator) send(ctx context.Context, client *http.Client, d *delivery, content []byte) error {
	to, secret := s.opts.WebhookURL, s.opts.WebhookSecret
	if d.Endpoint != "" {
		s.mu.Lock()
		p := s.state.Endpoints[d.Endpoint]
		s.mu.Unlock()
		if p == nil {
			return nil // deleted meanwhile
		}
		to, secret = p.URL, p.Secret
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("send a webhook: %w", err)
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
	req.Header.Set("Stripe-Signature", Sign(content, secret, time.Now()))
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("send a webhook: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, 1<<16) // so that the connection is used again
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("a webhook was answered with %s", resp.Status)
	}
	return nil
}

// delivered takes a delivery off, or puts it back for later.
func (s *Simulator) delivered(d *delivery, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.Tries++
	if err != nil && d.Tries < deliveryTries {
		d.next = time.Now().Add(s.opts.Backoff[min(d.Tries, len(s.opts.Backoff))-1])
		s.log.Debug("webhook not taken", "event", d.Event, "try", d.Tries, "error", err)
	} else {
		if e := s.state.Events[d.Event]; e != nil && err == nil {
			e.PendingWebhooks--
		}
		s.state.Deliveries = slices.DeleteFunc(s.state.Deliveries, func(other *delivery) bool { return other == d })
	}
	s.keep()
	s.wake()
}

// Sign is the Stripe-Signature of a webhook: the time, and the hexadecimal HMAC-SHA256
// of time and body. A receiver compares the time with its own clock, so it is the
// machine's, whatever Advance added.
// Source: https://docs.stripe.com/webhooks/signature.
func Sign(body []byte, secret string, at time.Time) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = fmt.Fprintf(mac, "%d.%s", at.Unix(), body)
	return fmt.Sprintf("t=%d,v1=%s", at.Unix(), hex.EncodeToString(mac.Sum(nil)))
}
