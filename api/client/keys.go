package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Kinds of API key.
const (
	KeyLive   = "live"   // of a project; runs on the providers
	KeyTest   = "test"   // of a project; runs on the simulator, free
	KeyMaster = "master" // administers an organization
)

// A Key is an API key. A client with a master key, or a person's access token,
// manages those of the organization.
type Key struct {
	ID             string     `json:"id"`
	Name           string     `json:"name"`
	Kind           string     `json:"kind"`
	OrganizationID string     `json:"organization_id"`
	ProjectID      string     `json:"project_id"` // empty of a master key
	Prefix         string     `json:"prefix"`     // what it begins with
	Last4          string     `json:"last4"`      // what it ends with
	Scopes         []string   `json:"scopes"`
	IPAllowlist    []string   `json:"ip_allowlist"`  // none: any address may use it
	MonthlyLimit   *int       `json:"monthly_limit"` // generations a calendar month (UTC)
	RateLimit      *int       `json:"rate_limit"`    // generations an hour
	ExpiresAt      *time.Time `json:"expires_at"`    // nil: never
	RevokedAt      *time.Time `json:"revoked_at"`
	LastUsedAt     *time.Time `json:"last_used_at"` // to the minute
	CreatedAt      time.Time  `json:"created_at"`
	CreatedBy      string     `json:"created_by"`  // an account or a key
	ReplacedBy     string     `json:"replaced_by"` // by rotation

	// Key is the key itself. Only the answer that makes it has it: keep it.
	Key string `json:"key"`
}

// A KeyRequest asks for a key. Only Name has no default.
type KeyRequest struct {
	Name         string     `json:"name"`
	Kind         string     `json:"kind,omitempty"`       // default: KeyLive
	ProjectID    string     `json:"project_id,omitempty"` // default: the only one
	Scopes       []string   `json:"scopes,omitempty"`     // default: all of a project's key
	IPAllowlist  []string   `json:"ip_allowlist,omitempty"`
	MonthlyLimit int        `json:"monthly_limit,omitempty"` // default: none
	RateLimit    int        `json:"rate_limit,omitempty"`    // default: none of its own
	ExpiresAt    *time.Time `json:"expires_at,omitempty"`    // default: in 90 days, a master key never
}

// A KeyFilter selects keys. Zero fields select everything.
type KeyFilter struct {
	Kind      string
	ProjectID string
	Active    bool // only those that are neither revoked nor expired
}

const keysPath = "/v1/keys"

func keyPath(id string) string { return keysPath + "/" + url.PathEscape(id) }

// CreateKey makes a key, which the answer has.
//
// If the answer is lost, the call fails and is not repeated: nobody can be shown the
// key again. Revoke it, then, and make another.
func (c *Client) CreateKey(ctx context.Context, r *KeyRequest) (*Key, error) {
	return c.oneKey(ctx, request{method: http.MethodPost, path: keysPath, body: r, once: true})
}

// Keys lists the organization's keys, newest first.
func (c *Client) Keys(ctx context.Context, f KeyFilter) ([]*Key, error) {
	query := url.Values{"limit": {"100"}}
	for name, value := range map[string]string{"kind": f.Kind, "project_id": f.ProjectID} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if f.Active {
		query.Set("active", strconv.FormatBool(true))
	}
	var all []*Key
	for {
		var page struct {
			Data       []*Key `json:"data"`
			NextCursor string `json:"next_cursor"`
		}
		if err := c.call(ctx, request{method: http.MethodGet, path: keysPath, query: query, retries: c.retries}, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Data...)
		if page.NextCursor == "" {
			return all, nil
		}
		query.Set("after", page.NextCursor)
	}
}

// Key returns one key, without the key itself.
func (c *Client) Key(ctx context.Context, id string) (*Key, error) {
	return c.oneKey(ctx, request{method: http.MethodGet, path: keyPath(id)})
}

// RotateKey makes a key that takes the place of another, which goes on for a time of
// grace, in whole seconds up to a week, but not longer than it would have. As with
// CreateKey, nothing is repeated if the answer is lost.
func (c *Client) RotateKey(ctx context.Context, id string, grace time.Duration) (*Key, error) {
	body := map[string]int64{"grace_seconds": int64(grace / time.Second)}
	return c.oneKey(ctx, request{method: http.MethodPost, path: keyPath(id) + "/rotate", body: body, once: true})
}

// RevokeKey ends a key at once.
func (c *Client) RevokeKey(ctx context.Context, id string) (*Key, error) {
	return c.oneKey(ctx, request{method: http.MethodDelete, path: keyPath(id)})
}

func (c *Client) oneKey(ctx context.Context, r request) (*Key, error) {
	r.retries = c.retries
	k := &Key{}
	if err := c.call(ctx, r, k); err != nil {
		return nil, err
	}
	return k, nil
}
