// Package auth tells who is calling: it makes API keys, recognizes them, and
// signs the URLs that need none.
package auth

import (
	"context"
	"errors"
)

// Why a caller is refused.
var (
	ErrMissing   = errors.New("no API key was sent")
	ErrMalformed = errors.New("the API key is malformed")
	ErrUnknown   = errors.New("the API key is unknown")
	ErrExpired   = errors.New("the API key has expired")
	ErrRevoked   = errors.New("the API key has been revoked")
)

// A Caller is whom a valid key speaks for.
type Caller struct {
	KeyID     string
	OrgID     string
	ProjectID string
	Test      bool // asks with a test key: everything is simulated and free
}

type contextKey struct{}

// NewContext returns a context that carries the caller.
func NewContext(ctx context.Context, c *Caller) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// FromContext returns the caller of the request, or nil where none was asked for.
func FromContext(ctx context.Context) *Caller {
	c, _ := ctx.Value(contextKey{}).(*Caller)
	return c
}
