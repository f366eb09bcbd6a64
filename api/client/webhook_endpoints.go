package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// A WebhookEndpoint is a URL that the service tells of events.
type WebhookEndpoint struct {
	ID             string        `json:"id"`
	URL            string        `json:"url"`
	Events         []string      `json:"events"` // types it is told of, or patterns of them
	Description    string        `json:"description"`
	ProjectID      string        `json:"project_id"`
	Test           bool          `json:"test"` // told of what test keys ask, or of what live keys ask
	APIVersion     string        `json:"api_version"`
	Enabled        bool          `json:"enabled"`
	DisabledAt     *time.Time    `json:"disabled_at"`
	DisabledReason string        `json:"disabled_reason"` // "asked", "gone" or "failing"; empty while it is enabled
	FailingSince   *time.Time    `json:"failing_since"`
	CreatedAt      time.Time     `json:"created_at"`
	Secrets        []SecretState `json:"secrets"` // all that sign, the newest first

	// Secret is what deliveries are signed with, "whsec_...". Only the answers
	// that make one have it: keep it.
	Secret string `json:"secret"`
}

// A SecretState tells one webhook secret from others.
type SecretState struct {
	Last4     string     `json:"last4"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"` // when it stops signing; nil is the present one
}

// A WebhookEndpointRequest asks for an endpoint. Only URL has no default.
type WebhookEndpointRequest struct {
	URL         string   `json:"url"`
	Events      []string `json:"events,omitempty"` // default: the four that a generation can end with
	Description string   `json:"description,omitempty"`
	Enabled     *bool    `json:"enabled,omitempty"` // default: true

	// IdempotencyKey makes requests with the same key one endpoint. Default: one
	// for each call, so that its own retries make one.
	IdempotencyKey string `json:"-"`
}

// A WebhookEndpointUpdate names what to change of an endpoint; nil stays.
type WebhookEndpointUpdate struct {
	URL         *string  `json:"url,omitempty"`
	Events      []string `json:"events,omitempty"`
	Description *string  `json:"description,omitempty"`
	Enabled     *bool    `json:"enabled,omitempty"`
}

// CreateWebhookEndpoint has events sent to a URL. The answer has the secret.
func (c *Client) CreateWebhookEndpoint(ctx context.Context, r *WebhookEndpointRequest) (*WebhookEndpoint, error) {
	key := r.IdempotencyKey
	if key == "" {
		key = newUUID()
	}
	return c.endpoint(ctx, request{method: http.MethodPost, path: endpointsPath, body: r, idempotencyKey: key})
}

// WebhookEndpoints lists the endpoints of the key's project and mode, newest
// first. There are 50 at most.
func (c *Client) WebhookEndpoints(ctx context.Context) ([]*WebhookEndpoint, error) {
	var list struct {
		Data []*WebhookEndpoint `json:"data"`
	}
	err := c.call(ctx, request{
		method: http.MethodGet, path: endpointsPath, query: url.Values{"limit": {"100"}}, retries: c.retries,
	}, &list)
	return list.Data, err
}

// WebhookEndpoint returns one endpoint.
func (c *Client) WebhookEndpoint(ctx context.Context, id string) (*WebhookEndpoint, error) {
	return c.endpoint(ctx, request{method: http.MethodGet, path: endpointPath(id)})
}

// UpdateWebhookEndpoint changes an endpoint and returns it.
func (c *Client) UpdateWebhookEndpoint(ctx context.Context, id string, u *WebhookEndpointUpdate) (*WebhookEndpoint, error) {
	return c.endpoint(ctx, request{method: http.MethodPatch, path: endpointPath(id), body: u})
}

// DeleteWebhookEndpoint deletes an endpoint. What has not been delivered to it
// never will be.
func (c *Client) DeleteWebhookEndpoint(ctx context.Context, id string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: endpointPath(id), retries: c.retries}, nil)
}

// EnableWebhookEndpoint has an endpoint told of what happens from now on.
func (c *Client) EnableWebhookEndpoint(ctx context.Context, id string) (*WebhookEndpoint, error) {
	return c.endpoint(ctx, request{method: http.MethodPost, path: endpointPath(id) + "/enable"})
}

// DisableWebhookEndpoint has nothing sent to an endpoint. What happens meanwhile
// is kept for a replay.
func (c *Client) DisableWebhookEndpoint(ctx context.Context, id string) (*WebhookEndpoint, error) {
	return c.endpoint(ctx, request{method: http.MethodPost, path: endpointPath(id) + "/disable"})
}

// RotateWebhookEndpoint gives an endpoint a new secret, which the answer has. The
// former ones sign as well for the time of the overlap, in whole seconds up to a
// week; after none, only the new one verifies.
//
// If the answer is lost, the call fails and is not repeated: it may have made a
// secret that nobody has seen. Rotate again, then; five secrets can sign at a time.
func (c *Client) RotateWebhookEndpoint(ctx context.Context, id string, overlap time.Duration) (*WebhookEndpoint, error) {
	return c.endpoint(ctx, request{method: http.MethodPost, path: endpointPath(id) + "/rotate", body: overlapBody(overlap), once: true})
}

// TestWebhookEndpoint sends a test.ping to an endpoint, whatever it asks to be
// told, and returns the id of that event. It is not repeated if the answer is lost:
// that would be a second event.
func (c *Client) TestWebhookEndpoint(ctx context.Context, id string) (eventID string, err error) {
	var event struct {
		ID string `json:"id"`
	}
	err = c.call(ctx, request{method: http.MethodPost, path: endpointPath(id) + "/test", retries: c.retries, once: true}, &event)
	return event.ID, err
}

// A WebhookSecret signs what is sent to the webhook_url of the project's
// generations.
type WebhookSecret struct {
	Key     string        `json:"key"`     // the present one, "whsec_..."
	Secrets []SecretState `json:"secrets"` // all that sign, the newest first
}

// DefaultWebhookSecret returns the secret of the project and of the key's mode.
func (c *Client) DefaultWebhookSecret(ctx context.Context) (*WebhookSecret, error) {
	return c.secret(ctx, request{method: http.MethodGet, path: "/v1/webhooks/default/secret"})
}

// RotateDefaultWebhookSecret gives the project a new secret for the key's mode, with
// an overlap as that of RotateWebhookEndpoint, and no repetition if the answer is
// lost.
func (c *Client) RotateDefaultWebhookSecret(ctx context.Context, overlap time.Duration) (*WebhookSecret, error) {
	return c.secret(ctx, request{method: http.MethodPost, path: "/v1/webhooks/default/rotate", body: overlapBody(overlap), once: true})
}

const endpointsPath = "/v1/webhook_endpoints"

func overlapBody(overlap time.Duration) map[string]int64 {
	return map[string]int64{"overlap_seconds": int64(overlap / time.Second)}
}

func (c *Client) endpoint(ctx context.Context, r request) (*WebhookEndpoint, error) {
	r.retries = c.retries
	e := new(WebhookEndpoint)
	if err := c.call(ctx, r, e); err != nil {
		return nil, err
	}
	return e, nil
}

func (c *Client) secret(ctx context.Context, r request) (*WebhookSecret, error) {
	r.retries = c.retries
	s := new(WebhookSecret)
	if err := c.call(ctx, r, s); err != nil {
		return nil, err
	}
	return s, nil
}
