package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/nanobanana/nanobanana/api/auth"
)

const audience = "https://api.example.com"

// testKeys are made once: RSA takes its time.
var testKeys = sync.OnceValue(func() (keys struct {
	rsa, otherRSA *rsa.PrivateKey
	p256, p384    *ecdsa.PrivateKey
}) {
	keys.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	keys.otherRSA, _ = rsa.GenerateKey(rand.Reader, 2048)
	keys.p256, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	keys.p384, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	return keys
})

// A testIssuer publishes its keys as issuers do.
type testIssuer struct {
	url     string
	fetches atomic.Int32 // of its keys
	mu      sync.Mutex
	keys    []jose.JSONWebKey
	raw     string // in place of the keys
	status  int
	serving func(http.ResponseWriter, *http.Request) bool // in place of everything
}

func startIssuer(t testing.TB) *testIssuer {
	t.Helper()
	i := &testIssuer{keys: []jose.JSONWebKey{
		{KeyID: "rsa", Key: testKeys().rsa.Public(), Use: "sig", Algorithm: "RS256"},
		{KeyID: "p256", Key: testKeys().p256.Public()},
		{KeyID: "p384", Key: testKeys().p384.Public()},
		{KeyID: "shared", Key: []byte("a shared secret of 32 characters")},
		{KeyID: "enc", Key: testKeys().otherRSA.Public(), Use: "enc"},
	}}
	server := httptest.NewServer(i)
	t.Cleanup(server.Close)
	i.url = server.URL
	return i
}

func (i *testIssuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.serving != nil && i.serving(w, r) {
		return
	}
	switch {
	case i.status != 0:
		w.WriteHeader(i.status)
	case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
		_ = json.NewEncoder(w).Encode(map[string]string{
			"issuer": i.url, "authorization_endpoint": i.url + "/authorize", "token_endpoint": i.url + "/token", "jwks_uri": i.url + "/keys",
		})
	case i.raw != "":
		i.fetches.Add(1)
		_, _ = w.Write([]byte(i.raw))
	default:
		i.fetches.Add(1)
		w.Header().Set("Cache-Control", "public, max-age=600")
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: i.keys})
	}
}

func (i *testIssuer) change(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

// claims are those of a good access token, with changes; nil takes one away.
func (b *bundle) claims(i *testIssuer, changes jwt.MapClaims) jwt.MapClaims {
	now := b.clock.Now()
	claims := jwt.MapClaims{
		"iss": i.url, "aud": audience, "sub": "auth0|1", "org": "acme",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	for name, value := range changes {
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
	}
	return claims
}

// token signs claims; header holds what differs there.
func token(t testing.TB, method jwt.SigningMethod, kid string, key any, claims jwt.MapClaims, header ...any) string {
	t.Helper()
	made := jwt.NewWithClaims(method, claims)
	if kid != "" {
		made.Header["kid"] = kid
	}
	for n := 0; n < len(header); n += 2 {
		made.Header[header[n].(string)] = header[n+1]
	}
	text, err := made.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// good is a token as the issuer makes them.
func (b *bundle) good(t testing.TB, i *testIssuer, changes jwt.MapClaims) string {
	t.Helper()
	return token(t, jwt.SigningMethodRS256, "rsa", crypto.Signer(testKeys().rsa), b.claims(i, changes))
}

// issuers takes access tokens of an issuer for the bundle's organization.
func (b *bundle) issuers(t testing.TB, i *testIssuer) *auth.Issuers {
	t.Helper()
	made, err := auth.NewIssuers(auth.IssuersOptions{
		DB: b.db, DatabaseSecret: "of the database", Now: b.clock.Now,
		Providers: []auth.Provider{
			{Name: "signin", Issuer: "https://signin.example.com", ClientID: "client"},
			{
				Name: "corp", Issuer: i.url, ClientID: "client", Audience: audience,
				OrganizationClaim: "org", Organizations: map[string]string{"acme": b.project.OrgID, "same": b.project.OrgID, "other": "org_other000000000000000000000"},
				RoleClaim: "groups", Roles: map[string]string{"bosses": auth.RoleOwner, "guests": auth.RoleReadOnly},
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}
