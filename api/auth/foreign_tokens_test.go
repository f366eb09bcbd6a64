package auth_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/auth"
)

func TestIssuers_TellWhoCalls(t *testing.T) {
	t.Parallel()
	b := setup(t)
	i := startIssuer(t)
	issuers := b.issuers(t, i)
	keys := testKeys()
	for name, c := range map[string]struct {
		token string
		role  string
	}{
		"RS256":          {b.good(t, i, nil), auth.RoleMember},
		"ES256":          {token(t, jwt.SigningMethodES256, "p256", keys.p256, b.claims(i, nil)), auth.RoleMember},
		"ES384":          {token(t, jwt.SigningMethodES384, "p384", keys.p384, b.claims(i, nil)), auth.RoleMember},
		"NoKid":          {token(t, jwt.SigningMethodES256, "", keys.p256, b.claims(i, nil)), auth.RoleMember},
		"AccessToken":    {token(t, jwt.SigningMethodRS256, "rsa", keys.rsa, b.claims(i, nil), "typ", "at+jwt"), auth.RoleMember},
		"AudienceInList": {b.good(t, i, jwt.MapClaims{"aud": []string{"other", audience}}), auth.RoleMember},
		"OrgInList":      {b.good(t, i, jwt.MapClaims{"org": []string{"unknown", "acme", "same"}}), auth.RoleMember},
		"Owner":          {b.good(t, i, jwt.MapClaims{"groups": []string{"guests", "bosses"}}), auth.RoleOwner},
		"Guest":          {b.good(t, i, jwt.MapClaims{"groups": "guests"}), auth.RoleReadOnly},
		"UnknownGroup":   {b.good(t, i, jwt.MapClaims{"groups": []string{"all"}}), auth.RoleMember},
		"ClockASecond":   {b.good(t, i, jwt.MapClaims{"nbf": b.clock.Now().Add(time.Second).Unix()}), auth.RoleMember},
	} {
		got, err := issuers.Authenticate(t.Context(), c.token)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := &auth.Caller{
			Kind: auth.KindToken, Subject: "corp|auth0|1", OrgID: b.project.OrgID, Role: c.role, Grants: auth.RoleGrants(c.role),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if n := i.fetches.Load(); n != 1 {
		t.Errorf("the keys were fetched %d times", n)
	}
}

func TestIssuers_RefuseTokens(t *testing.T) {
	t.Parallel()
	b := setup(t)
	i := startIssuer(t)
	issuers := b.issuers(t, i)
	keys := testKeys()
	good := b.good(t, i, nil)
	parts := strings.Split(good, ".")
	public, err := x509.MarshalPKIXPublicKey(keys.rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	_, edKey, _ := ed25519.GenerateKey(nil)
	later := b.clock.Now().Add(time.Minute).Unix()
	encode := base64.RawURLEncoding.EncodeToString
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	tampered := strings.Replace(string(payload), "auth0|1", "auth0|2", 1)

	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"TamperedSignature": {parts[0] + "." + parts[1] + "." + flipped(parts[2]), auth.ErrInvalidToken},
		"TamperedPayload":   {parts[0] + "." + encode([]byte(tampered)) + "." + parts[2], auth.ErrInvalidToken},
		"NoSignature":       {parts[0] + "." + parts[1] + ".", auth.ErrInvalidToken},
		"Expired":           {b.good(t, i, jwt.MapClaims{"exp": b.clock.Now().Add(-time.Minute).Unix()}), auth.ErrTokenExpired},
		"NeverExpires":      {b.good(t, i, jwt.MapClaims{"exp": nil}), auth.ErrInvalidToken},
		"NotYet":            {b.good(t, i, jwt.MapClaims{"nbf": later}), auth.ErrInvalidToken},
		"FromTheFuture":     {b.good(t, i, jwt.MapClaims{"iat": later}), auth.ErrInvalidToken},
		"OtherAudience":     {b.good(t, i, jwt.MapClaims{"aud": "https://other.example.com"}), auth.ErrInvalidToken},
		"IDToken":           {b.good(t, i, jwt.MapClaims{"aud": "client"}), auth.ErrInvalidToken},
		"IDTokenForBoth":    {b.good(t, i, jwt.MapClaims{"aud": []string{"client", audience}, "at_hash": "x"}), auth.ErrInvalidToken},
		"NoAudience":        {b.good(t, i, jwt.MapClaims{"aud": nil}), auth.ErrInvalidToken},
		"OtherIssuer":       {b.good(t, i, jwt.MapClaims{"iss": "https://evil.example.com"}), auth.ErrInvalidToken},
		"SlashedIssuer":     {b.good(t, i, jwt.MapClaims{"iss": i.url + "/"}), auth.ErrInvalidToken},
		"SignInOnly":        {b.good(t, i, jwt.MapClaims{"iss": "https://signin.example.com"}), auth.ErrInvalidToken},
		"NoSubject":         {b.good(t, i, jwt.MapClaims{"sub": nil}), auth.ErrInvalidToken},
		"LongSubject":       {b.good(t, i, jwt.MapClaims{"sub": strings.Repeat("x", 256)}), auth.ErrInvalidToken},
		"BrokenLines":       {b.good(t, i, jwt.MapClaims{"sub": "a\nb"}), auth.ErrInvalidToken},
		"AlgNone":           {token(t, jwt.SigningMethodNone, "rsa", jwt.UnsafeAllowNoneSignatureType, b.claims(i, nil)), auth.ErrInvalidToken},
		"AlgNoneSigned":     {encode([]byte(`{"alg":"none","kid":"rsa"}`)) + "." + parts[1] + "." + parts[2], auth.ErrInvalidToken},
		"KeyConfusionPEM":   {token(t, jwt.SigningMethodHS256, "rsa", asPEM, b.claims(i, nil)), auth.ErrInvalidToken},
		"KeyConfusionDER":   {token(t, jwt.SigningMethodHS256, "rsa", public, b.claims(i, nil)), auth.ErrInvalidToken},
		"KeyConfusionN":     {token(t, jwt.SigningMethodHS256, "rsa", keys.rsa.N.Bytes(), b.claims(i, nil)), auth.ErrInvalidToken},
		"PublishedSecret":   {token(t, jwt.SigningMethodHS256, "shared", []byte("a shared secret of 32 characters"), b.claims(i, nil)), auth.ErrInvalidToken},
		"EncryptionKey":     {token(t, jwt.SigningMethodRS256, "enc", keys.otherRSA, b.claims(i, nil)), auth.ErrInvalidToken},
		"ES256UnderRSA":     {token(t, jwt.SigningMethodES256, "rsa", keys.p256, b.claims(i, nil)), auth.ErrInvalidToken},
		"RS256UnderEC":      {token(t, jwt.SigningMethodRS256, "p256", keys.rsa, b.claims(i, nil)), auth.ErrInvalidToken},
		"PS256UnderRS256":   {token(t, jwt.SigningMethodPS256, "rsa", keys.rsa, b.claims(i, nil)), auth.ErrInvalidToken},
		"OtherKeySameKid":   {token(t, jwt.SigningMethodRS256, "rsa", keys.otherRSA, b.claims(i, nil)), auth.ErrInvalidToken},
		"EdDSA":             {token(t, jwt.SigningMethodEdDSA, "rsa", edKey, b.claims(i, nil)), auth.ErrInvalidToken},
		"UnknownKid":        {token(t, jwt.SigningMethodRS256, "none", keys.rsa, b.claims(i, nil)), auth.ErrInvalidToken},
		"OwnKeyInHeader": {token(t, jwt.SigningMethodRS256, "", keys.otherRSA, b.claims(i, nil),
			"jwk", jose.JSONWebKey{Key: keys.otherRSA.Public()}, "jku", "https://evil.example.com"), auth.ErrInvalidToken},
		"Critical":    {token(t, jwt.SigningMethodRS256, "rsa", keys.rsa, b.claims(i, nil), "crit", []string{"x"}), auth.ErrInvalidToken},
		"LogoutToken": {token(t, jwt.SigningMethodRS256, "rsa", keys.rsa, b.claims(i, nil), "typ", "logout+jwt"), auth.ErrInvalidToken},
		"Garbage":     {"a.b.c", auth.ErrInvalidToken},
		"Huge":        {parts[0] + "." + parts[1] + "." + strings.Repeat("A", 20_000), auth.ErrInvalidToken},
		"NoOrg":       {b.good(t, i, jwt.MapClaims{"org": nil}), auth.ErrForbidden},
		"UnknownOrg":  {b.good(t, i, jwt.MapClaims{"org": "unknown"}), auth.ErrForbidden},
		"OrgIsNumber": {b.good(t, i, jwt.MapClaims{"org": 5}), auth.ErrForbidden},
		"TwoOrgs":     {b.good(t, i, jwt.MapClaims{"org": []string{"acme", "other"}}), auth.ErrForbidden},
		"GoneOrg":     {b.good(t, i, jwt.MapClaims{"org": "other"}), auth.ErrForbidden},
	} {
		caller, err := issuers.Authenticate(t.Context(), c.token)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v, want %v", name, caller, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "evil") {
			t.Errorf("%s: the error repeats the token: %v", name, err)
		}
	}
	if _, err := issuers.Authenticate(t.Context(), good); err != nil {
		t.Errorf("the token that the others were made of: %v", err)
	}
}

// flipped is a signature with another first character.
func flipped(signature string) string {
	if signature[0] == 'A' {
		return "B" + signature[1:]
	}
	return "A" + signature[1:]
}

func TestIssuers_RefuseTokensOfAnOrganizationThatIsClosed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	i := startIssuer(t)
	issuers := b.issuers(t, i)
	for _, c := range []struct {
		column string
		want   error
	}{{"suspended_at", auth.ErrSuspended}, {"deleted_at", auth.ErrForbidden}} {
		if _, err := issuers.Authenticate(t.Context(), b.good(t, i, nil)); err != nil {
			t.Fatal(err)
		}
		if _, err := b.db.Pool().Exec(t.Context(), `UPDATE org SET `+c.column+` = now()`); err != nil {
			t.Fatal(err)
		}
		if _, err := issuers.Authenticate(t.Context(), b.good(t, i, nil)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.column, err, c.want)
		}
		if _, err := b.db.Pool().Exec(t.Context(), `UPDATE org SET `+c.column+` = NULL`); err != nil {
			t.Fatal(err)
		}
	}
}

// Whoever makes up key ids must not make us hammer the issuer.
func TestIssuers_FetchKeysSeldom(t *testing.T) {
	t.Parallel()
	b := setup(t)
	i := startIssuer(t)
	issuers := b.issuers(t, i)
	var callers sync.WaitGroup
	for n := range 20 {
		callers.Go(func() {
			for m := range 50 {
				made := token(t, jwt.SigningMethodES256, fmt.Sprintf("made up %d %d", n, m), testKeys().p256, b.claims(i, nil))
				if _, err := issuers.Authenticate(t.Context(), made); !errors.Is(err, auth.ErrInvalidToken) {
					t.Errorf("%v, want ErrInvalidToken", err)
				}
			}
		})
	}
	callers.Wait()
	if n := i.fetches.Load(); n > 2 {
		t.Errorf("1,000 unknown keys fetched the key set %d times, want at most 2", n)
	}
}

func TestIssuers_FollowKeyRotation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	i := startIssuer(t)
	issuers := b.issuers(t, i)
	expect := func(when, made string, want error) {
		t.Helper()
		if _, err := issuers.Authenticate(t.Context(), made); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", when, err, want)
		}
	}
	next := func() string {
		return token(t, jwt.SigningMethodRS256, "next", testKeys().otherRSA, b.claims(i, nil))
	}
	expect("before", b.good(t, i, nil), nil)
	expect("not published yet", next(), auth.ErrInvalidToken)
	i.change(func() { i.keys = []jose.JSONWebKey{{KeyID: "next", Key: testKeys().otherRSA.Public()}} })
	expect("within the minute", next(), auth.ErrInvalidToken)
	b.clock.advance(61 * time.Second)
	expect("a minute later", next(), nil)
	expect("of the key that is gone", b.good(t, i, nil), auth.ErrInvalidToken)
	fetched := i.fetches.Load()
	b.clock.advance(9 * time.Minute)
	expect("still fresh", next(), nil)
	if n := i.fetches.Load(); n != fetched {
		t.Errorf("fresh keys were fetched %d times", n-fetched)
	}
	b.clock.advance(2 * time.Minute)
	expect("fetched anew", next(), nil)
	if n := i.fetches.Load(); n != fetched+1 {
		t.Errorf("old keys were fetched %d times, want once", n-fetched)
	}
}

func TestIssuers_WhileTheIssuerIsAway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	i := startIssuer(t)
	i.change(func() { i.status = http.StatusServiceUnavailable })
	issuers := b.issuers(t, i)
	expect := func(when string, want error) {
		t.Helper()
		if _, err := issuers.Authenticate(t.Context(), b.good(t, i, nil)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", when, err, want)
		}
	}
	expect("from the start", auth.ErrIssuerAway)
	i.change(func() { i.status = 0 })
	expect("too soon", auth.ErrIssuerAway)
	b.clock.advance(6 * time.Second)
	expect("back", nil)
	i.change(func() { i.status = http.StatusServiceUnavailable })
	b.clock.advance(24 * time.Hour)
	expect("a day away, with the keys of yesterday", nil)
}

// What an issuer publishes is bounded, and can not lead elsewhere.
func TestIssuers_KeySetsThatAreNone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	elsewhere := startIssuer(t)
	for name, change := range map[string]func(*testIssuer){
		"NoJSON":  func(i *testIssuer) { i.raw = "<html>" },
		"NoKeys":  func(i *testIssuer) { i.raw = `{"keys":[]}` },
		"OnlyOct": func(i *testIssuer) { i.raw = `{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"rsa"},{"kty":"what"},7]}` },
		"Huge":    func(i *testIssuer) { i.raw = `{"x":"` + strings.Repeat("x", 2<<20) + `","keys":[]}` },
		"Redirect": func(i *testIssuer) {
			i.serving = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/keys" {
					http.Redirect(w, r, elsewhere.url+"/keys", http.StatusFound)
				}
				return r.URL.Path == "/keys"
			}
		},
		"OtherName": func(i *testIssuer) {
			i.serving = func(w http.ResponseWriter, _ *http.Request) bool {
				_, _ = fmt.Fprintf(w, `{"issuer":"https://other.example.com","jwks_uri":%q}`, i.url+"/keys")
				return true
			}
		},
		"KeysInTheClear": func(i *testIssuer) {
			i.serving = func(w http.ResponseWriter, _ *http.Request) bool {
				_, _ = fmt.Fprintf(w, `{"issuer":%[1]q,"authorization_endpoint":%[1]q,"token_endpoint":%[1]q,"jwks_uri":"http://192.0.2.1/keys"}`, i.url)
				return true
			}
		},
	} {
		i := startIssuer(t)
		change(i)
		_, err := b.issuers(t, i).Authenticate(t.Context(), b.good(t, i, nil))
		if !errors.Is(err, auth.ErrIssuerAway) {
			t.Errorf("%s: %v, want ErrIssuerAway", name, err)
		}
	}
	if n := elsewhere.fetches.Load(); n != 0 {
		t.Error("a redirect to another host was followed")
	}
}

func BenchmarkIssuers_Authenticate(b *testing.B) {
	bundle := setup(b)
	i := startIssuer(b)
	issuers, good := bundle.issuers(b, i), bundle.good(b, i, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := issuers.Authenticate(b.Context(), good); err != nil {
			b.Fatal(err)
		}
	}
}
