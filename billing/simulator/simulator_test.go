package simulator_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85"
	"github.com/stripe/stripe-go/v85/webhook"

	"github.com/nanobanana/nanobanana/billing/simulator"
)

const secret = "whsec_of_the_tests"

// began is when the clock of the tests stands at first: a month of 31 days follows.
var began = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

// A bench is a simulator, Stripe's client for it, and what receives its webhooks.
type bench struct {
	*simulator.Simulator
	client   *stripe.Client
	server   *httptest.Server
	receiver *receiver
}

// setup starts a simulator whose clock only Advance moves.
func setup(t *testing.T, opts simulator.Options) *bench {
	t.Helper()
	r := &receiver{t: t}
	hooks := httptest.NewServer(r)
	t.Cleanup(hooks.Close)
	if opts.WebhookURL == "" {
		opts.WebhookURL, opts.WebhookSecret = hooks.URL, secret
	}
	if opts.Now == nil {
		opts.Now = func() time.Time { return began }
	}
	opts.Backoff = []time.Duration{time.Millisecond}
	sim, err := simulator.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	return &bench{Simulator: sim, client: clientOf(server.URL, simulator.DefaultAPIKey), server: server, receiver: r}
}

// clientOf is Stripe's own client, which does not repeat requests by itself.
func clientOf(url, key string) *stripe.Client {
	return stripe.NewClient(key, stripe.WithBackends(stripe.NewBackendsWithConfig(&stripe.BackendConfig{
		URL: &url, MaxNetworkRetries: stripe.Int64(0), LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	})))
}

// idle waits for all webhooks.
func (b *bench) idle(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := b.Idle(ctx); err != nil {
		t.Fatal(err)
	}
}

// A receiver takes webhooks as an application does, with Stripe's own check of their
// signature.
type receiver struct {
	t  *testing.T
	mu sync.Mutex

	refuse int // so many are answered 500
	events []stripe.Event
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the simulator was closed meanwhile, and has not sent it
	}
	e, err := webhook.ConstructEvent(body, req.Header.Get("Stripe-Signature"), secret)
	if err != nil {
		r.t.Errorf("webhook: %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse > 0 {
		r.refuse--
		http.Error(w, "not now", http.StatusInternalServerError)
		return
	}
	r.events = append(r.events, e)
}

// types is what came, in order, and is forgotten then.
func (r *receiver) types() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var types []string
	for _, e := range r.events {
		types = append(types, string(e.Type))
	}
	r.events = nil
	return types
}

// must is a value that came without an error.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
