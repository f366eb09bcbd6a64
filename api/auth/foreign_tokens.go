package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/nanobanana/nanobanana/store"
)

const (
	maxToken   = 16 << 10 // bytes of a token
	maxSubject = 255      // characters: OpenID Connect Core 1.0, section 2
	skew       = 30 * time.Second
)

// A TokenError is why an issuer's token is refused. Err is ErrInvalidToken,
// ErrTokenExpired or ErrForbidden; Reason is for its bearer, and repeats nothing of
// the token.
type TokenError struct {
	Err    error
	Reason string
}

func (e *TokenError) Error() string { return e.Err.Error() + ": " + e.Reason }
func (e *TokenError) Unwrap() error { return e.Err }

// Issued reports whether a token claims to be of an issuer whose access tokens the
// API takes.
func (i *Issuers) Issued(token string) bool { return i.unverifiedIssuer(token) != nil }

// Authenticate returns whom an access token of an issuer speaks for: one organization,
// in one role. It fails with a TokenError, ErrIssuerAway or ErrSuspended.
func (i *Issuers) Authenticate(ctx context.Context, token string) (*Caller, error) {
	one := i.unverifiedIssuer(token)
	if one == nil {
		return nil, &TokenError{ErrInvalidToken, "its issuer is not known here"}
	}
	claims, err := i.verifyForeign(ctx, one, token)
	if err != nil {
		return nil, err
	}
	subject, _ := claims["sub"].(string)
	if !isSubject(subject) {
		return nil, &TokenError{ErrInvalidToken, "its subject is missing or too long"}
	}
	org, problem := one.organizationOf(claims)
	if problem != "" {
		return nil, &TokenError{ErrForbidden, problem}
	}
	found, err := i.db.Org(ctx, org)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, &TokenError{ErrForbidden, fmt.Sprintf("the organization that the issuer %s stands for does not exist here", one.Name)}
	case err != nil:
		return nil, err
	case found.SuspendedAt != nil:
		return nil, ErrSuspended
	}
	role := one.roleOf(claims)
	return &Caller{
		Kind: KindToken, Subject: one.Name + "|" + subject, OrgID: org, Role: role, Grants: RoleGrants(role),
	}, nil
}

// verifyForeign returns the claims of an access token (RFC 9068, section 4; RFC 8725).
func (i *Issuers) verifyForeign(ctx context.Context, one *issuer, token string) (map[string]any, error) {
	var keyless error // why there is no key
	claims := jwt.MapClaims{}
	_, err := jwt.NewParser(
		jwt.WithValidMethods([]string{"RS256", "PS256", "ES256", "ES384", "ES512"}),
		jwt.WithIssuer(one.Issuer), jwt.WithAudience(one.Audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(skew), jwt.WithTimeFunc(i.now),
		jwt.WithJSONNumber(),
	).ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		if problem := headerProblem(t.Header); problem != "" {
			keyless = &TokenError{ErrInvalidToken, problem}
			return nil, keyless
		}
		id, _ := t.Header["kid"].(string)
		var key any
		key, keyless = one.key(ctx, id, t.Method.Alg())
		return key, keyless
	})
	switch {
	case keyless != nil:
		return nil, keyless
	case errors.Is(err, jwt.ErrTokenExpired):
		return nil, &TokenError{ErrTokenExpired, fmt.Sprintf("ask the issuer %s for another", one.Name)}
	case err != nil:
		return nil, &TokenError{ErrInvalidToken, reasonOf(err)}
	}
	if _, ok := claims["at_hash"]; ok {
		return nil, &TokenError{ErrInvalidToken, "it is an ID token; send the access token"}
	}
	return claims, nil
}

// headerProblem says what is wrong with a token's header: of its types only those
// of access tokens are taken (RFC 9068, section 2.1), and extensions that must be
// understood are not (RFC 7515, section 4.1.11).
func headerProblem(header map[string]any) string {
	if _, ok := header["crit"]; ok {
		return "it needs an extension that is not known"
	}
	switch typ := header["typ"].(type) {
	case nil:
		return ""
	case string:
		if slices.Contains([]string{"jwt", "at+jwt", "application/at+jwt"}, strings.ToLower(typ)) {
			return ""
		}
	}
	return "its type is not that of an access token"
}

// reasonOf says in our words what is wrong with a token, and nothing of what it says.
func reasonOf(err error) string {
	for _, r := range []struct {
		err    error
		reason string
	}{
		{jwt.ErrTokenMalformed, "it is malformed"},
		{jwt.ErrTokenSignatureInvalid, "its signature or algorithm is not accepted"},
		{jwt.ErrTokenInvalidAudience, "it is for another audience"},
		{jwt.ErrTokenInvalidIssuer, "it is of another issuer"},
		{jwt.ErrTokenNotValidYet, "it is not valid yet"},
		{jwt.ErrTokenUsedBeforeIssued, "it comes from the future; is a clock wrong?"},
		{jwt.ErrTokenRequiredClaimMissing, "it has no end"},
	} {
		if errors.Is(err, r.err) {
			return r.reason
		}
	}
	return "it can not be verified"
}

// claimedIssuer is the claim iss of a token, unverified, or empty.
func claimedIssuer(token string) string {
	if len(token) > maxToken {
		return ""
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Issuer
}

// isSubject reports whether an issuer may name someone so.
func isSubject(subject string) bool {
	return subject != "" && len(subject) <= maxSubject &&
		!strings.ContainsFunc(subject, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\uFFFD' })
}
