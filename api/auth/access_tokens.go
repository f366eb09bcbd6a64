package auth

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Facts of access tokens.
const (
	// AccessTTL is how long an access token is good.
	AccessTTL = 15 * time.Minute

	// Audience is whom access tokens are for.
	Audience = "nanobanana"

	// signingPeriod is how long one key signs.
	signingPeriod = 30 * 24 * time.Hour

	// clockLeeway is how far the clocks of two processes may be apart.
	clockLeeway = 30 * time.Second
)

// IsToken reports whether a credential has the form of a JWT (RFC 7519) rather than
// of an API key.
func IsToken(credential string) bool {
	return !strings.HasPrefix(credential, keyPrefix) && strings.Count(credential, ".") == 2
}

// AccessKey is a public key that access tokens are signed with (RFC 8037).
type AccessKey struct {
	KeyType   string `json:"kty" enum:"OKP"`
	Curve     string `json:"crv" enum:"Ed25519"`
	X         string `json:"x"`
	KeyID     string `json:"kid"`
	Use       string `json:"use" enum:"sig"`
	Algorithm string `json:"alg" enum:"EdDSA"`
}

// accessClaims are those of an access token.
type accessClaims struct {
	jwt.RegisteredClaims
	SessionID string `json:"sid"`
}

// accessTokens signs and verifies access tokens. Its keys are derived from a secret and
// the number of a period, so that all processes agree and nothing is stored.
type accessTokens struct {
	secret string
	issuer string
	now    func() time.Time

	mu   sync.Mutex
	keys map[int64]*signingKey // by period
}

// signingKey is the key of a period.
type signingKey struct {
	id      string
	private ed25519.PrivateKey
	public  ed25519.PublicKey
}

// key returns the key of a period.
func (a *accessTokens) key(period int64) *signingKey {
	a.mu.Lock()
	defer a.mu.Unlock()
	if k := a.keys[period]; k != nil {
		return k
	}
	seed, err := hkdf.Key(sha256.New, []byte(a.secret), nil, "nanobanana access token "+strconv.FormatInt(period, 10), ed25519.SeedSize)
	if err != nil {
		panic(err) // only for a length beyond 255 hashes
	}
	private := ed25519.NewKeyFromSeed(seed)
	public := private.Public().(ed25519.PublicKey)
	sum := sha256.Sum256(public)
	k := &signingKey{
		id: strconv.FormatInt(period, 10) + "." + hex.EncodeToString(sum[:4]), private: private, public: public,
	}
	if a.keys == nil || len(a.keys) > 8 { // periods pass
		a.keys = map[int64]*signingKey{}
	}
	a.keys[period] = k
	return k
}

func (a *accessTokens) period() int64 { return a.now().Unix() / int64(signingPeriod/time.Second) }

// verifying are the keys that are good now: the present, and for tokens and clocks at
// either end of its period the previous and the next.
func (a *accessTokens) verifying() []*signingKey {
	p := a.period()
	return []*signingKey{a.key(p), a.key(p - 1), a.key(p + 1)}
}

// jwks are the public halves of them.
func (a *accessTokens) jwks() []AccessKey {
	var list []AccessKey
	for _, k := range a.verifying() {
		list = append(list, AccessKey{
			KeyType: "OKP", Curve: "Ed25519", X: base64.RawURLEncoding.EncodeToString(k.public), KeyID: k.id, Use: "sig", Algorithm: "EdDSA",
		})
	}
	return list
}

// sign returns an access token of a session.
func (a *accessTokens) sign(accountID, sessionID string) (string, error) {
	now := a.now()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, accessClaims{
		SessionID: sessionID,
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: a.issuer, Audience: jwt.ClaimStrings{Audience}, Subject: accountID, ID: randomText(22),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(AccessTTL)),
		},
	})
	k := a.key(a.period())
	token.Header["kid"] = k.id
	text, err := token.SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("sign access token: %w", err)
	}
	return text, nil
}

// verify returns the claims of an access token. The error wraps ErrInvalidToken, or
// ErrTokenExpired if nothing else is wrong with it.
func (a *accessTokens) verify(text string) (*accessClaims, error) {
	var claims accessClaims
	_, err := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithIssuer(a.issuer), jwt.WithAudience(Audience),
		jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(clockLeeway), jwt.WithTimeFunc(a.now), jwt.WithStrictDecoding(),
	).ParseWithClaims(text, &claims, a.keyOf)
	switch {
	case err == nil && claims.Subject != "" && claims.SessionID != "":
		return &claims, nil
	case err == nil:
		err = errors.New("it names no session")
	case errors.Is(err, jwt.ErrTokenExpired) && !isOtherwiseWrong(err):
		return nil, ErrTokenExpired
	}
	return nil, fmt.Errorf("%w: %w", ErrInvalidToken, err)
}

func isOtherwiseWrong(err error) bool {
	for _, other := range []error{
		jwt.ErrTokenInvalidAudience, jwt.ErrTokenInvalidIssuer, jwt.ErrTokenNotValidYet, jwt.ErrTokenUsedBeforeIssued, jwt.ErrTokenRequiredClaimMissing,
	} {
		if errors.Is(err, other) {
			return true
		}
	}
	return false
}

// keyOf finds the key that a token names.
func (a *accessTokens) keyOf(token *jwt.Token) (any, error) {
	kid, _ := token.Header["kid"].(string)
	for _, k := range a.verifying() {
		if k.id == kid {
			return k.public, nil
		}
	}
	return nil, errors.New("it is signed with a key that is none of ours")
}

// own reports whether a token says that it is ours, which is not verified.
func (a *accessTokens) own(text string) bool {
	var claims jwt.RegisteredClaims
	_, _, err := jwt.NewParser().ParseUnverified(text, &claims)
	return err == nil && claims.Issuer == a.issuer
}
