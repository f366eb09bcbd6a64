package auth_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// people is the bundle with someone signed in.
type people struct {
	*bundle
	sessions *auth.Sessions
	account  *store.Account
	in       *auth.SignIn
}

func setupPeople(t testing.TB) *people {
	t.Helper()
	p := &people{bundle: setup(t)}
	p.sessions = p.newSessions("", "")
	var err error
	if p.account, err = p.db.CreateAccount(t.Context(), store.Account{Email: "ada@example.com"}); err != nil {
		t.Fatal(err)
	}
	if err := p.db.InsertMembership(t.Context(), p.project.OrgID, p.account.ID, store.RoleOwner); err != nil {
		t.Fatal(err)
	}
	p.in = p.issue(t)
	return p
}

func (p *people) newSessions(secret, issuer string) *auth.Sessions {
	return auth.NewSessions(auth.SessionsOptions{
		DB: p.db, Secret: secret, DatabaseSecret: "of the database", Issuer: issuer, Now: p.clock.Now,
	})
}

func (p *people) issue(t testing.TB) *auth.SignIn {
	t.Helper()
	in, err := p.sessions.Issue(t.Context(), p.db, store.Session{AccountID: p.account.ID, Method: store.MethodPassword, IP: "192.0.2.1", UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func (p *people) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := p.db.Pool().Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func TestSessions_Authenticate(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	got, err := p.sessions.Authenticate(t.Context(), p.in.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	want := &auth.Caller{
		Kind: auth.KindAccount, AccountID: p.account.ID, SessionID: p.in.Session.ID,
		Orgs: []auth.OrgRole{{OrgID: p.project.OrgID, Role: auth.RoleOwner}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, c := range map[string]struct {
		change, back string
		want         error
		orgs         int
	}{
		"Suspended":   {`UPDATE account SET suspended_at = now()`, `UPDATE account SET suspended_at = NULL`, store.ErrAccountSuspended, 0},
		"Logout":      {`UPDATE session SET ended_at = now()`, `UPDATE session SET ended_at = NULL`, store.ErrSessionEnded, 0},
		"PastItsTime": {`UPDATE session SET expires_at = now()`, `UPDATE session SET expires_at = now() + interval '1 day'`, store.ErrSessionEnded, 0},
		"OrgDeleted":  {`UPDATE org SET deleted_at = now()`, `UPDATE org SET deleted_at = NULL`, nil, 0},
		"Demoted":     {`UPDATE membership SET role = 'member'`, `UPDATE membership SET role = 'owner'`, nil, 1},
		"Erased":      {`UPDATE account SET erased_at = now()`, `UPDATE account SET erased_at = NULL`, store.ErrSessionEnded, 0},
	} {
		p.exec(t, c.change)
		caller, err := p.sessions.Authenticate(t.Context(), p.in.AccessToken)
		if !errors.Is(err, c.want) || err == nil && (len(caller.Orgs) != c.orgs || caller.Within(p.project.OrgID) != nil && caller.Within(p.project.OrgID).May("org:delete")) {
			t.Errorf("%s: %+v, %v", name, caller, err)
		}
		p.exec(t, c.back)
	}
	if _, err := p.sessions.Authenticate(t.Context(), p.in.AccessToken); err != nil {
		t.Errorf("in the end: %v", err)
	}
	p.clock.advance(auth.AccessTTL + 29*time.Second)
	if _, err := p.sessions.Authenticate(t.Context(), p.in.AccessToken); err != nil {
		t.Errorf("within the leeway of clocks: %v", err)
	}
	p.clock.advance(2 * time.Second)
	if _, err := p.sessions.Authenticate(t.Context(), p.in.AccessToken); !errors.Is(err, auth.ErrTokenExpired) {
		t.Errorf("past its time: %v", err)
	}
}

// jwksKey is the public key that signs now.
func (p *people) jwksKey(t *testing.T) (ed25519.PublicKey, string) {
	t.Helper()
	k := p.sessions.JWKS()[0]
	raw, err := base64.RawURLEncoding.DecodeString(k.X)
	if err != nil {
		t.Fatal(err)
	}
	return raw, k.KeyID
}

// forge signs claims with a key of one's own.
func forge(t *testing.T, method jwt.SigningMethod, key any, kid string, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = kid
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// payload is what a token claims.
func payload(t *testing.T, token string) jwt.MapClaims {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.MapClaims
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestSessions_RefusesForgedTokens(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	public, kid := p.jwksKey(t)
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	_, own, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	claims := payload(t, p.in.AccessToken)
	parts := strings.Split(p.in.AccessToken, ".")
	claims["sub"] = "usr_another"
	other, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	claims = payload(t, p.in.AccessToken)
	flipped := "A" + parts[2][1:]
	if flipped == parts[2] {
		flipped = "B" + parts[2][1:]
	}
	for name, token := range map[string]string{
		"Payload":       parts[0] + "." + base64.RawURLEncoding.EncodeToString(other) + "." + parts[2],
		"Signature":     parts[0] + "." + parts[1] + "." + flipped,
		"NoSignature":   parts[0] + "." + parts[1] + ".",
		"None":          forge(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, kid, claims),
		"HS256Public":   forge(t, jwt.SigningMethodHS256, []byte(public), kid, claims),
		"HS256SPKI":     forge(t, jwt.SigningMethodHS256, spki, kid, claims),
		"OwnKey":        forge(t, jwt.SigningMethodEdDSA, own, kid, claims),
		"OwnKeyNoKid":   forge(t, jwt.SigningMethodEdDSA, own, "", claims),
		"OtherSecret":   p.signedBy(t, "the operator's own, of 32 characters", ""),
		"OtherIssuer":   p.signedBy(t, "", "https://elsewhere.example.com"),
		"RefreshToken":  p.in.RefreshToken,
		"Garbage":       "a.b.c",
		"Empty":         "..",
		"HugeAlgorithm": forge(t, jwt.SigningMethodHS512, spki, kid, claims),
	} {
		caller, err := p.sessions.Authenticate(t.Context(), token)
		if !errors.Is(err, auth.ErrInvalidToken) {
			t.Errorf("%s: %+v, %v", name, caller, err)
		}
	}
}

// signedBy is an access token of the same session by a service of another secret or
// issuer.
func (p *people) signedBy(t *testing.T, secret, issuer string) string {
	t.Helper()
	in, err := p.newSessions(secret, issuer).Issue(t.Context(), p.db, store.Session{AccountID: p.account.ID, Method: store.MethodPassword})
	if err != nil {
		t.Fatal(err)
	}
	return in.AccessToken
}

// Tokens that our own key has signed are refused for what they claim.
func TestSessions_RefusesWrongClaims(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	_, kid := p.jwksKey(t)
	key := p.privateKey(t, kid)
	now := p.clock.Now()
	for name, c := range map[string]struct {
		claim string
		value any
		want  error
	}{
		"Same":           {"jti", "x", nil},
		"Audience":       {"aud", "another", auth.ErrInvalidToken},
		"NoAudience":     {"aud", nil, auth.ErrInvalidToken},
		"Issuer":         {"iss", "another", auth.ErrInvalidToken},
		"NoIssuer":       {"iss", nil, auth.ErrInvalidToken},
		"NoExpiry":       {"exp", nil, auth.ErrInvalidToken},
		"Expired":        {"exp", now.Add(-time.Minute).Unix(), auth.ErrTokenExpired},
		"NotYet":         {"nbf", now.Add(time.Minute).Unix(), auth.ErrInvalidToken},
		"FromTheFuture":  {"iat", now.Add(time.Minute).Unix(), auth.ErrInvalidToken},
		"AnotherSubject": {"sub", "usr_another", auth.ErrInvalidToken},
		"NoSubject":      {"sub", nil, auth.ErrInvalidToken},
		"NoSession":      {"sid", nil, auth.ErrInvalidToken},
		"UnknownSession": {"sid", store.NewID("ses"), store.ErrSessionEnded},
	} {
		claims := payload(t, p.in.AccessToken)
		if claims[c.claim] = c.value; c.value == nil {
			delete(claims, c.claim)
		}
		if _, err := p.sessions.Authenticate(t.Context(), forge(t, jwt.SigningMethodEdDSA, key, kid, claims)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// privateKey derives the key that signs now as the service does.
func (p *people) privateKey(t *testing.T, kid string) ed25519.PrivateKey {
	t.Helper()
	period, _, _ := strings.Cut(kid, ".")
	number, err := strconv.ParseInt(period, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	private := auth.DeriveSigningKey("of the database", number)
	sum := sha256.Sum256(private.Public().(ed25519.PublicKey))
	if want := period + "." + hex.EncodeToString(sum[:4]); want != kid {
		t.Fatalf("kid %s, want %s", kid, want)
	}
	return private
}

// A token outlives the period of its key, and every process finds the key of each.
func TestSessions_KeysChange(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	const period = 30 * 24 * time.Hour
	into := time.Duration(p.clock.Now().Unix()%int64(period.Seconds())) * time.Second
	p.clock.advance(period - into - time.Minute) // a minute before the next
	before := p.issue(t)
	first := p.sessions.JWKS()
	p.clock.advance(2 * time.Minute)
	after := p.issue(t)
	for name, token := range map[string]string{"before": before.AccessToken, "after": after.AccessToken} {
		if _, err := p.newSessions("", "").Authenticate(t.Context(), token); err != nil {
			t.Errorf("made %s the change: %v", name, err)
		}
	}
	second := p.sessions.JWKS()
	if len(first) != 3 || first[0] != second[1] || first[2] != second[0] || first[0] == second[0] {
		t.Errorf("keys were %v and are %v", first, second)
	}
}

func TestSessions_Refresh(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	second, err := p.sessions.Refresh(t.Context(), p.db, p.in.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	// The answer was lost, or two pages asked at once.
	again, err := p.sessions.Refresh(t.Context(), p.db, p.in.RefreshToken)
	if err != nil || again.RefreshToken != second.RefreshToken || again.CSRFToken != p.in.CSRFToken {
		t.Errorf("again: %v, %v, want the same as %v", again, err, second)
	}
	if !p.sessions.VerifyCSRF(second.RefreshToken, p.in.CSRFToken) || p.sessions.VerifyCSRF(second.RefreshToken, p.issue(t).CSRFToken) || p.sessions.VerifyCSRF(second.RefreshToken, "") {
		t.Error("CSRF tokens are not those of their sessions")
	}
	p.exec(t, `UPDATE session SET refreshed_at = now() - interval '11 seconds' WHERE id = $1`, p.in.Session.ID)
	if _, err := p.sessions.Refresh(t.Context(), p.db, p.in.RefreshToken); !errors.Is(err, store.ErrTokenReused) {
		t.Errorf("a spent token after a while: %v", err)
	}
	if _, err := p.sessions.Refresh(t.Context(), p.db, second.RefreshToken); !errors.Is(err, store.ErrTokenReused) {
		t.Errorf("the good token of the session that ended: %v", err)
	}
	if _, err := p.sessions.Authenticate(t.Context(), second.AccessToken); !errors.Is(err, store.ErrSessionEnded) {
		t.Errorf("its access token: %v", err)
	}
}

func TestSessions_RefusesForgedRefreshTokens(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	parts := strings.Split(p.in.RefreshToken, ".")
	foreign, err := p.newSessions("the operator's own, of 32 characters", "").Issue(t.Context(), p.db, store.Session{AccountID: p.account.ID, Method: store.MethodPassword})
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"Empty": "", "Number": parts[0] + ".2." + parts[2], "Session": store.NewID("ses") + ".1." + parts[2], "NoMAC": parts[0] + ".1.",
		"CutMAC": p.in.RefreshToken[:len(p.in.RefreshToken)-1], "CSRF": parts[0] + ".1." + p.in.CSRFToken,
		"OtherSecret": foreign.RefreshToken, "Access": p.in.AccessToken, "Long": strings.Repeat("x.", 1000),
	} {
		if _, err := p.sessions.Refresh(t.Context(), p.db, token); !errors.Is(err, auth.ErrInvalidToken) {
			t.Errorf("%s: %v", name, err)
		}
		if err := p.sessions.End(t.Context(), token, store.EndLogout); !errors.Is(err, auth.ErrInvalidToken) {
			t.Errorf("%s ends a session: %v", name, err)
		}
	}
	if _, err := p.sessions.Authenticate(t.Context(), p.in.AccessToken); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if err := p.sessions.End(t.Context(), p.in.RefreshToken, store.EndLogout); err != nil {
		t.Fatal(err)
	}
	if _, err := p.sessions.Authenticate(t.Context(), p.in.AccessToken); !errors.Is(err, store.ErrSessionEnded) {
		t.Errorf("after the end: %v", err)
	}
}

func TestSessions_Owns(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	if !p.sessions.Owns(p.in.AccessToken) || p.sessions.Owns(p.signedBy(t, "", "https://elsewhere.example.com")) || p.sessions.Owns("a.b.c") {
		t.Error("it does not know its own tokens")
	}
}
