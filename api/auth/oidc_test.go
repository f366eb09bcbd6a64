package auth_test

import (
	"crypto/rsa"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/oauth2-proxy/mockoidc"

	"github.com/nanobanana/nanobanana/api/auth"
)

const callbackURL = "https://images.example.com/v1/auth/oidc/corp/callback"

// A signOnTest is a provider that runs, and this service as its client.
type signOnTest struct {
	provider *mockoidc.MockOIDC
	issuers  *auth.Issuers
	clock    *clock
	rewrite  func(body string) string // of the token endpoint's answers
	userinfo string                   // in place of its own, if not empty
}

func setupSignOn(t *testing.T, adjust func(*auth.Provider)) *signOnTest {
	t.Helper()
	provider, err := mockoidc.NewServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.Keypair.KeyID(); err != nil { // the first call keeps it, without a lock
		t.Fatal(err)
	}
	s := &signOnTest{provider: provider, clock: &clock{now: time.Now()}}
	if err := provider.AddMiddleware(s.rewriting); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := provider.Start(ln, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = provider.Shutdown() })
	p := auth.Provider{Name: "corp", Issuer: provider.Issuer(), ClientID: provider.ClientID, ClientSecret: provider.ClientSecret}
	if adjust != nil {
		adjust(&p)
	}
	other := p
	other.Name, other.Issuer = "other", "https://other.example.com"
	s.issuers, err = auth.NewIssuers(auth.IssuersOptions{
		DatabaseSecret: "of the database", Now: s.clock.Now, Providers: []auth.Provider{p, other},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rewriting lets a test change what the provider says.
func (s *signOnTest) rewriting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == mockoidc.UserinfoEndpoint && s.userinfo != "" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(s.userinfo))
			return
		}
		if r.URL.Path != mockoidc.TokenEndpoint || s.rewrite == nil {
			next.ServeHTTP(w, r)
			return
		}
		said := httptest.NewRecorder()
		next.ServeHTTP(said, r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(said.Code)
		_, _ = w.Write([]byte(s.rewrite(said.Body.String())))
	})
}

func (s *signOnTest) begin(t *testing.T) *auth.SignOn {
	t.Helper()
	begun, err := s.issuers.Begin(t.Context(), "corp", callbackURL, "/console")
	if err != nil {
		t.Fatal(err)
	}
	return begun
}

// visit lets the browser go to the provider, which signs everyone in, and returns
// what it brings back.
func (s *signOnTest) visit(t *testing.T, begun *auth.SignOn) url.Values {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, begun.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		t.Fatalf("status %d: %v", resp.StatusCode, err)
	}
	if !strings.HasPrefix(back.String(), callbackURL+"?") {
		t.Fatalf("sent to %s", back)
	}
	return back.Query()
}

func TestSignOn_TellsWhoItIs(t *testing.T) {
	t.Parallel()
	no := false
	jane := auth.Identified{Provider: "corp", Subject: "1234567890", Email: "jane.doe@example.com", Verified: true, ReturnTo: "/console"}
	for name, c := range map[string]struct {
		adjust func(*auth.Provider)
		want   func(*auth.Identified)
	}{
		"Alone":     {nil, func(*auth.Identified) {}},
		"Untrusted": {func(p *auth.Provider) { p.TrustEmail = &no }, func(w *auth.Identified) { w.Verified = false }},
		"NoEmail":   {func(p *auth.Provider) { p.Scopes = []string{"openid"} }, func(w *auth.Identified) { w.Email, w.Verified = "", false }},
		"Joins": {func(p *auth.Provider) {
			p.Scopes = []string{"openid", "email", "groups"}
			p.Join, p.OrganizationClaim, p.Organizations = true, "groups", map[string]string{"design": "org_10000000000000000000000000"}
			p.RoleClaim, p.Roles = "groups", map[string]string{"engineering": auth.RoleAdmin}
		}, func(w *auth.Identified) { w.OrgID, w.Role = "org_10000000000000000000000000", auth.RoleAdmin }},
		"JoinsAll": {func(p *auth.Provider) { p.Join, p.Organization = true, "org_20000000000000000000000000" },
			func(w *auth.Identified) { w.OrgID, w.Role = "org_20000000000000000000000000", auth.RoleMember }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setupSignOn(t, c.adjust)
			want := jane
			want.Issuer = s.provider.Issuer()
			c.want(&want)
			begun := s.begin(t)
			back := s.visit(t, begun)
			if diff := cmp.Diff(begun.Mark, auth.FlowMark(back)); diff != "" {
				t.Errorf("cookie (-want +got):\n%s", diff)
			}
			got, err := s.issuers.Finish(t.Context(), "corp", back, begun.Sealed)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&want, got); diff != "" {
				t.Errorf("who (-want +got):\n%s", diff)
			}
			if _, err := s.issuers.Finish(t.Context(), "corp", back, begun.Sealed); !isSignOnError(err) {
				t.Errorf("the code once more: %v", err)
			}
		})
	}
}

func isSignOnError(err error) bool {
	var refused *auth.SignOnError
	return errors.As(err, &refused)
}

// What goes to the provider says who asks, and nothing that must not be seen.
func TestBegin_AsksAsItShould(t *testing.T) {
	t.Parallel()
	s := setupSignOn(t, nil)
	one, two := s.begin(t), s.begin(t)
	asked, err := url.Parse(one.URL)
	if err != nil {
		t.Fatal(err)
	}
	query := asked.Query()
	for name, want := range map[string]string{
		"response_type": "code", "client_id": s.provider.ClientID, "redirect_uri": callbackURL, "scope": "openid email profile",
		"code_challenge_method": "S256", "client_secret": "", "code_verifier": "",
	} {
		if diff := cmp.Diff(want, query.Get(name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if value := query.Get(name); len(value) != 43 || strings.Contains(two.URL, value) {
			t.Errorf("%s %q is short, or comes twice", name, value)
		}
	}
	if one.Mark == two.Mark {
		t.Error("two tabs share a cookie")
	}
	if _, err := s.issuers.Begin(t.Context(), "nobody", callbackURL, ""); !errors.Is(err, auth.ErrUnknownIssuer) {
		t.Errorf("%v, want ErrUnknownIssuer", err)
	}
	var none *auth.Issuers
	if _, err := none.Begin(t.Context(), "corp", callbackURL, ""); !errors.Is(err, auth.ErrUnknownIssuer) {
		t.Errorf("%v, want ErrUnknownIssuer", err)
	}
}

// A refusal changes one thing about a sign-in that would succeed.
func TestFinish_Refuses(t *testing.T) {
	t.Parallel()
	type attempt struct {
		provider string
		query    url.Values
		sealed   string
	}
	for name, change := range map[string]func(*testing.T, *signOnTest, *attempt){
		"OtherState":    func(_ *testing.T, _ *signOnTest, a *attempt) { a.query.Set("state", strings.Repeat("A", 43)) },
		"NoState":       func(_ *testing.T, _ *signOnTest, a *attempt) { a.query.Del("state") },
		"NoCookie":      func(_ *testing.T, _ *signOnTest, a *attempt) { a.sealed = "" },
		"TouchedCookie": func(_ *testing.T, _ *signOnTest, a *attempt) { a.sealed = flipped(a.sealed) },
		"OtherProvider": func(_ *testing.T, _ *signOnTest, a *attempt) { a.provider = "other" },
		"TooLate":       func(_ *testing.T, s *signOnTest, _ *attempt) { s.clock.advance(10 * time.Minute) },
		"NoCode":        func(_ *testing.T, _ *signOnTest, a *attempt) { a.query.Del("code") },
		"OtherCode":     func(_ *testing.T, _ *signOnTest, a *attempt) { a.query.Set("code", "guessed") },
		"OtherIssuer":   func(_ *testing.T, _ *signOnTest, a *attempt) { a.query.Set("iss", "https://evil.example.com") },
		"Denied":        func(_ *testing.T, _ *signOnTest, a *attempt) { a.query.Set("error", "access_denied") },
		"BadRequest":    func(_ *testing.T, _ *signOnTest, a *attempt) { a.query.Set("error", "invalid_scope") },
		"CodeRefused": func(_ *testing.T, s *signOnTest, _ *attempt) {
			s.provider.QueueError(&mockoidc.ServerError{Code: 400, Error: mockoidc.InvalidGrant, Description: "foreign"})
		},
		// The code of one sign-in with the cookie of another: PKCE and the nonce are not its own.
		"OtherVerifier": func(t *testing.T, s *signOnTest, a *attempt) {
			a.query.Set("code", s.visit(t, s.begin(t)).Get("code"))
		},
		"OtherNonce": func(_ *testing.T, s *signOnTest, a *attempt) {
			s.provider.SessionStore.Store[a.query.Get("code")].OIDCNonce = "foreign"
		},
		"NoNonce": func(_ *testing.T, s *signOnTest, a *attempt) {
			s.provider.SessionStore.Store[a.query.Get("code")].OIDCNonce = ""
		},
		"Expired":       func(_ *testing.T, s *signOnTest, _ *attempt) { s.provider.FastForward(-time.Hour) },
		"FromTheFuture": func(_ *testing.T, s *signOnTest, _ *attempt) { s.provider.FastForward(2 * time.Minute) },
		"OtherKey": func(t *testing.T, s *signOnTest, a *attempt) {
			s.resign(t, testKeys().otherRSA, nil)
		},
		"AlgNone": func(t *testing.T, s *signOnTest, _ *attempt) {
			s.resign(t, jwt.UnsafeAllowNoneSignatureType, nil)
		},
		"KeyConfusion": func(t *testing.T, s *signOnTest, _ *attempt) {
			s.resign(t, s.provider.Keypair.PublicKey.N.Bytes(), nil)
		},
		"OtherApplication": func(t *testing.T, s *signOnTest, _ *attempt) {
			s.resign(t, s.provider.Keypair.PrivateKey, func(c jwt.MapClaims) { c["aud"] = "foreign" })
		},
		"TwoApplications": func(t *testing.T, s *signOnTest, _ *attempt) {
			s.resign(t, s.provider.Keypair.PrivateKey, func(c jwt.MapClaims) { c["aud"] = []string{s.provider.ClientID, "foreign"} })
		},
		"MadeForAnother": func(t *testing.T, s *signOnTest, _ *attempt) {
			s.resign(t, s.provider.Keypair.PrivateKey, func(c jwt.MapClaims) { c["azp"] = "foreign" })
		},
		"OtherAccessToken": func(t *testing.T, s *signOnTest, _ *attempt) {
			s.resign(t, s.provider.Keypair.PrivateKey, func(c jwt.MapClaims) { c["at_hash"] = "foreign" })
		},
		"SaysOtherIssuer": func(t *testing.T, s *signOnTest, _ *attempt) {
			s.resign(t, s.provider.Keypair.PrivateKey, func(c jwt.MapClaims) { c["iss"] = "https://other.example.com" })
		},
		"NoSubject": func(t *testing.T, s *signOnTest, _ *attempt) {
			s.resign(t, s.provider.Keypair.PrivateKey, func(c jwt.MapClaims) { delete(c, "sub") })
		},
		"NoIDToken": func(_ *testing.T, s *signOnTest, _ *attempt) {
			s.rewrite = func(string) string { return `{"access_token":"x","token_type":"bearer"}` }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setupSignOn(t, nil)
			begun := s.begin(t)
			a := &attempt{provider: "corp", query: s.visit(t, begun), sealed: begun.Sealed}
			change(t, s, a)
			who, err := s.issuers.Finish(t.Context(), a.provider, a.query, a.sealed)
			if !isSignOnError(err) {
				t.Fatalf("%+v, %v, want a SignOnError", who, err)
			}
			if strings.Contains(err.Error(), "foreign") {
				t.Errorf("the error repeats what the provider says: %v", err)
			}
		})
	}
}

// resign makes the token endpoint answer with an ID token of another key or other
// claims, whose header is that of the true one.
func (s *signOnTest) resign(t *testing.T, key any, change func(jwt.MapClaims)) {
	t.Helper()
	kid, err := s.provider.Keypair.KeyID()
	if err != nil {
		t.Fatal(err)
	}
	var method jwt.SigningMethod = jwt.SigningMethodNone
	switch key.(type) {
	case []byte:
		method = jwt.SigningMethodHS256
	case *rsa.PrivateKey:
		method = jwt.SigningMethodRS256
	}
	s.rewrite = func(body string) string {
		_, rest, _ := strings.Cut(body, `"id_token":"`)
		raw, _, _ := strings.Cut(rest, `"`)
		claims := jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(raw, claims); err != nil {
			t.Error(err)
		}
		if change != nil {
			change(claims)
		}
		return strings.Replace(body, raw, token(t, method, kid, key, claims), 1)
	}
}

// The same rewriting with nothing changed is accepted, so the refusals are of what
// they say.
func TestFinish_TakesWhatIsSignedAnew(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*signOnTest) func(jwt.MapClaims){
		"Same": func(*signOnTest) func(jwt.MapClaims) { return nil },
		"AZP": func(s *signOnTest) func(jwt.MapClaims) {
			return func(c jwt.MapClaims) { c["azp"] = s.provider.ClientID }
		},
		"AsText": func(*signOnTest) func(jwt.MapClaims) { return func(c jwt.MapClaims) { c["email_verified"] = "true" } },
		"Shared": func(s *signOnTest) func(jwt.MapClaims) {
			return func(c jwt.MapClaims) { c["azp"], c["aud"] = s.provider.ClientID, []string{s.provider.ClientID, "x"} }
		},
	} {
		s := setupSignOn(t, nil)
		s.resign(t, s.provider.Keypair.PrivateKey, change(s))
		begun := s.begin(t)
		who, err := s.issuers.Finish(t.Context(), "corp", s.visit(t, begun), begun.Sealed)
		if err != nil || !who.Verified {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
}
