package billing

import (
	"net/http"
	"time"

	"github.com/stripe/stripe-go/v85"
)

// Options configure a Client. Without APIKey it is off.
type Options struct {
	APIKey        string // Stripe's sk_... or rk_...
	WebhookSecret string // what Stripe signs events with, whsec_...; without it none is believed

	// URL is where Stripe is reached; default Stripe's own.
	URL string

	// HTTPClient sends the requests; default one that waits for 20 s.
	HTTPClient *http.Client
}

// timeout is how long an answer of Stripe's may take.
const timeout = 20 * time.Second

// A Client asks Stripe. Each of its methods sends one request, or a few, once: whoever
// calls it knows whether to ask again, for which every request that changes something
// has an Idempotency-Key of what it is for. Errors are of type *Error. A nil Client is
// off.
type Client struct {
	stripe *stripe.Client
	secret string
}

// New returns a Client.
func New(opts Options) *Client {
	c := &Client{secret: opts.WebhookSecret}
	if opts.APIKey == "" {
		return c
	}
	if opts.HTTPClient == nil {
		opts.HTTPClient = &http.Client{Timeout: timeout}
	}
	backend := &stripe.BackendConfig{
		HTTPClient:        opts.HTTPClient,
		MaxNetworkRetries: new(int64(0)),
		EnableTelemetry:   new(false),
		LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull},
	}
	if opts.URL != "" {
		backend.URL = &opts.URL
	}
	c.stripe = stripe.NewClient(opts.APIKey, stripe.WithBackends(stripe.NewBackendsWithConfig(backend)))
	return c
}

// On reports whether Stripe is configured.
func (c *Client) On() bool { return c != nil && c.stripe != nil }

// once are the parameters of a request that happens once for what key names. Stripe
// repeats its answer to the first for a day at least.
func once(key string) stripe.Params {
	return stripe.Params{IdempotencyKey: new(idempotencyKey(key))}
}

// at turns Stripe's time into a time; its zero stays one.
func at(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}
