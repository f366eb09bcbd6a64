// Package auth tells who is calling and what they may do: it makes and recognizes
// API keys, passwords, sessions and the tokens of single sign-on, and signs the
// URLs that need none of them.
package auth

import (
	"context"
	"errors"
	"net/netip"
	"slices"
)

// Why a caller is refused.
var (
	ErrMissing      = errors.New("no API key was sent")
	ErrMalformed    = errors.New("the API key is malformed")
	ErrUnknown      = errors.New("the API key is unknown")
	ErrExpired      = errors.New("the API key has expired")
	ErrRevoked      = errors.New("the API key has been revoked")
	ErrInvalidToken = errors.New("the access token is not valid")
	ErrTokenExpired = errors.New("the access token has expired")
	ErrSuspended    = errors.New("the organization is suspended")
)

// Kinds of caller.
const (
	KindKey     = "key"     // an API key of a project
	KindMaster  = "master"  // an API key of an organization
	KindAccount = "account" // a person who has signed in
	KindToken   = "token"   // a bearer of a token that an issuer of single sign-on has signed
)

// A Caller is whom a valid credential speaks for. It is shared between requests and
// never changed.
type Caller struct {
	Kind      string
	KeyID     string // of a key
	UsageID   string // of a project's key: what it is counted under (store.APIKey.Usage)
	AccountID string // of a person
	SessionID string // of a person
	Subject   string // of a foreign token: its issuer and subject

	OrgID     string // empty for a person until Within has said which
	ProjectID string // empty for who speaks for no project
	Test      bool   // asks with a test key: everything is simulated and free
	Role      string // of a person or token in the organization
	Suspended bool   // a person's organization; of others it is found by who they are
	Grants    Grants // what it may do there
	Operator  bool   // administers the service

	// Orgs are those that a person belongs to, in the order they joined.
	Orgs []OrgRole

	Limits Limits
	Allow  []netip.Prefix // addresses that a key may be used from; none: any
}

// An OrgRole is what someone is in an organization.
type OrgRole struct {
	OrgID     string
	Role      string
	Suspended bool // the organization: nobody may do anything in it
}

// Limits are what bounds a caller's generations beside the plan of its
// organization. nil is not set.
type Limits struct {
	Plan        string // of the organization
	OrgRate     *int   // an hour, in place of the plan's; 0: any number
	ProjectRate *int   // an hour
	KeyRate     *int   // an hour
	KeyMonthly  *int   // a calendar month (UTC)
	Downgrades  bool   // the organization's budget may lower the quality of its pictures
}

// May reports whether the caller is granted a scope, such as "generations:read".
func (c *Caller) May(scope string) bool { return c.Grants.Include(scope) }

// IsKey reports whether the caller is an API key.
func (c *Caller) IsKey() bool { return c.Kind == KindKey || c.Kind == KindMaster }

// Within returns the caller as a member of one of the organizations it belongs to,
// or nil.
func (c *Caller) Within(orgID string) *Caller {
	if c.Kind != KindAccount {
		if c.OrgID != orgID {
			return nil
		}
		return c
	}
	i := slices.IndexFunc(c.Orgs, func(o OrgRole) bool { return o.OrgID == orgID })
	if i < 0 {
		return nil
	}
	in := *c
	in.OrgID, in.Role, in.Grants, in.Suspended = orgID, c.Orgs[i].Role, RoleGrants(c.Orgs[i].Role), c.Orgs[i].Suspended
	return &in
}

// ActorID names the caller in the audit log.
func (c *Caller) ActorID() string {
	switch c.Kind {
	case KindAccount:
		return c.AccountID
	case KindToken:
		return c.Subject
	}
	return c.KeyID
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
