package auth

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// DefaultIssuer is what access tokens say who made them, unless they say the address
// of the service.
const DefaultIssuer = "nanobanana"

// SessionsOptions configure Sessions. DB and DatabaseSecret are required.
type SessionsOptions struct {
	DB *store.DB

	// Secret is the operator's own. With one, what was made with the database's is
	// good no more: whoever can read the database could make more of it.
	Secret string

	// DatabaseSecret is store.DB.Secret.
	DatabaseSecret string

	// Issuer is the claim iss of access tokens; default DefaultIssuer.
	Issuer string

	// Now is the clock of access tokens; default time.Now. Sessions go by the
	// database's.
	Now func() time.Time
}

// Sessions signs people in: a short access token for each request, and a refresh token
// that gets the next of both. It is safe for concurrent use.
type Sessions struct {
	db      *store.DB
	access  accessTokens
	refresh *pepper
	csrf    *pepper
}

// NewSessions returns Sessions.
func NewSessions(opts SessionsOptions) *Sessions {
	if opts.Issuer == "" {
		opts.Issuer = DefaultIssuer
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	secret, version := opts.Secret, int16(pepperOfOperator)
	if secret == "" {
		secret, version = opts.DatabaseSecret, pepperOfDatabase
	}
	return &Sessions{
		db:      opts.DB,
		access:  accessTokens{secret: secret, issuer: opts.Issuer, now: opts.Now},
		refresh: newPepper(secret, "nanobanana refresh token", version),
		csrf:    newPepper(secret, "nanobanana csrf token", version),
	}
}

// A SignIn is what a session has just been given.
type SignIn struct {
	Session      *store.Session
	AccessToken  string // good for AccessTTL
	RefreshToken string // good once, until the session's ExpiresAt
	CSRFToken    string // of the session: shows that whoever sends the refresh token can read what was answered
}

// Issue begins a session, from its AccountID, Method, IP and UserAgent, in a
// transaction.
func (s *Sessions) Issue(ctx context.Context, tx *store.DB, session store.Session) (*SignIn, error) {
	made, err := tx.CreateSession(ctx, session)
	if err != nil {
		return nil, err
	}
	return s.signIn(made)
}

func (s *Sessions) signIn(session *store.Session) (*SignIn, error) {
	access, err := s.access.sign(session.AccountID, session.ID)
	if err != nil {
		return nil, err
	}
	return &SignIn{
		Session: session, AccessToken: access, RefreshToken: s.refreshToken(session.ID, session.Refresh), CSRFToken: s.csrfToken(session.ID),
	}, nil
}

// Owns reports whether a JWT says that it is an access token of ours: Authenticate
// tells whether that is so.
func (s *Sessions) Owns(token string) bool { return s.access.own(token) }

// JWKS are the public keys of access tokens: of the present period, the previous and
// the next.
func (s *Sessions) JWKS() []AccessKey { return s.access.jwks() }

// Authenticate returns whom an access token speaks for, as its session, account and
// memberships are now. A refusal wraps ErrInvalidToken, ErrTokenExpired,
// store.ErrSessionEnded or store.ErrAccountSuspended; any other error means that the
// database could not tell.
func (s *Sessions) Authenticate(ctx context.Context, token string) (*Caller, error) {
	claims, err := s.access.verify(token)
	if err != nil {
		return nil, err
	}
	state, err := s.db.SessionState(ctx, claims.SessionID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, store.ErrSessionEnded
	case err != nil:
		return nil, err
	case state.AccountID != claims.Subject:
		return nil, ErrInvalidToken
	case state.SuspendedAt != nil:
		return nil, store.ErrAccountSuspended
	case state.Ended:
		return nil, store.ErrSessionEnded
	}
	caller := &Caller{Kind: KindAccount, AccountID: state.AccountID, SessionID: claims.SessionID, Operator: state.Operator}
	for i, org := range state.Orgs {
		caller.Orgs = append(caller.Orgs, OrgRole{OrgID: org, Role: state.Roles[i], Suspended: state.Suspended[i]})
	}
	return caller, nil
}

// Refresh spends a refresh token, in a transaction that is to be committed also if the
// refusal is a store.ReuseError, which ends the session. Others wrap ErrInvalidToken,
// store.ErrSessionEnded, store.ErrTokenReused or store.ErrAccountSuspended.
func (s *Sessions) Refresh(ctx context.Context, tx *store.DB, token string) (*SignIn, error) {
	id, n, err := s.parseRefreshToken(token)
	if err != nil {
		return nil, err
	}
	session, err := tx.RefreshSession(ctx, id, n)
	if err != nil {
		return nil, err
	}
	return s.signIn(session)
}

// End ends the session of a refresh token, whichever of the session's it is. One that
// is over or unknown is no error; ErrInvalidToken is that the token is none of ours.
func (s *Sessions) End(ctx context.Context, token, reason string) error {
	id, _, err := s.parseRefreshToken(token)
	if err != nil {
		return err
	}
	state, err := s.db.SessionState(ctx, id)
	if err == nil {
		_, err = s.db.EndSession(ctx, state.AccountID, id, reason)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

// VerifyCSRF reports whether a CSRF token is that of a refresh token's session.
func (s *Sessions) VerifyCSRF(refreshToken, csrf string) bool {
	id, _, err := s.parseRefreshToken(refreshToken)
	return err == nil && subtle.ConstantTimeCompare([]byte(s.csrfToken(id)), []byte(csrf)) == 1
}

func (s *Sessions) csrfToken(sessionID string) string { return seal(s.csrf, sessionID) }

// refreshToken is a session's id, the number of the token and their HMAC.
func (s *Sessions) refreshToken(sessionID string, n int) string {
	text := sessionID + "." + strconv.Itoa(n)
	return text + "." + seal(s.refresh, text)
}

func (s *Sessions) parseRefreshToken(token string) (sessionID string, n int, err error) {
	i := strings.LastIndexByte(token, '.')
	if i < 0 || len(token) > 200 || subtle.ConstantTimeCompare([]byte(seal(s.refresh, token[:i])), []byte(token[i+1:])) != 1 {
		return "", 0, fmt.Errorf("%w: it is no refresh token", ErrInvalidToken)
	}
	sessionID, number, _ := strings.Cut(token[:i], ".")
	if n, err = strconv.Atoi(number); err != nil || !store.ValidSessionID(sessionID) {
		return "", 0, fmt.Errorf("%w: it is no refresh token", ErrInvalidToken)
	}
	return sessionID, n, nil
}

// seal returns the whole HMAC of a text, in 43 characters that need no escaping.
func seal(p *pepper, text string) string {
	sum := p.hash(text)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
