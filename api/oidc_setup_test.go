package api_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/oauth2-proxy/mockoidc"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/auth"
)

const signOnPath = "/v1/auth/oidc/corp"

// signOnBundle is a front door beside a provider of single sign-on that runs.
type signOnBundle struct {
	*bundle
	provider *mockoidc.MockOIDC
	issuers  *auth.Issuers
}

// setupSignOn serves the API with the provider corp; adjust, if not nil, changes what
// is configured of it. With it is the provider other, which nobody can reach.
func setupSignOn(t *testing.T, adjust func(*auth.Provider)) *signOnBundle {
	t.Helper()
	provider, err := mockoidc.NewServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.Keypair.KeyID(); err != nil { // the first call keeps it, without a lock
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
	b := &signOnBundle{provider: provider}
	b.bundle = setup(t, func(o *api.Options) {
		p := auth.Provider{Name: "corp", Issuer: provider.Issuer(), ClientID: provider.ClientID, ClientSecret: provider.ClientSecret}
		if adjust != nil {
			adjust(&p)
		}
		b.issuers, err = auth.NewIssuers(auth.IssuersOptions{DB: o.DB, DatabaseSecret: "database secret", Providers: []auth.Provider{
			p, {Name: "other", Issuer: "http://127.0.0.1:1", ClientID: "x"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		o.Issuers = b.issuers
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	return b
}

// identified is who the provider says has signed in, if the claims are right.
func identified(subject, email string, verified bool) *mockoidc.MockUser {
	return &mockoidc.MockUser{Subject: subject, Email: email, EmailVerified: verified}
}

// newBrowser is a browser that stops where it is sent to, or follows.
func (b *signOnBundle) newBrowser(follow bool) *http.Client {
	b.Helper()
	jar, err := cookiejar.New(nil)
	b.must(err)
	client := &http.Client{Jar: jar}
	if !follow {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return client
}

// open lets a browser go to a path or URL.
func (b *signOnBundle) open(browser *http.Client, target string, headers ...string) *answer {
	b.Helper()
	if strings.HasPrefix(target, "/") {
		target = b.url + target
	}
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, target, nil)
	b.must(err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := browser.Do(req)
	b.must(err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	b.must(err)
	a := &answer{status: resp.StatusCode, header: resp.Header, body: string(text)}
	if strings.Contains(resp.Header.Get("Content-Type"), "json") {
		b.must(json.Unmarshal(text, &a.json))
	}
	return a
}

// signIn lets someone sign in with a browser of their own.
func (b *signOnBundle) signIn(user *mockoidc.MockUser) *answer {
	b.Helper()
	b.provider.QueueUser(user)
	return b.open(b.newBrowser(true), signOnPath)
}

// callback begins to sign someone in and returns where the provider sends the browser
// back to.
func (b *signOnBundle) callback(browser *http.Client, user *mockoidc.MockUser, query string) *url.URL {
	b.Helper()
	b.provider.QueueUser(user)
	begun := b.open(browser, signOnPath+query)
	if begun.status != http.StatusFound {
		b.Fatalf("begin: status %d, %s", begun.status, begun.body)
	}
	back := b.open(browser, begun.header.Get("Location"))
	target, err := url.Parse(back.header.Get("Location"))
	b.must(err)
	return target
}

// accountOf is the id of who has signed in, to whom the access token gives access.
func (b *signOnBundle) accountOf(a *answer) string {
	b.Helper()
	if a.status != http.StatusOK {
		b.Fatalf("sign in: status %d, %s", a.status, a.body)
	}
	me := b.do(a.json["access_token"].(string), "GET", "/v1/me", "")
	if me.status != http.StatusOK {
		b.Fatalf("who am I: status %d, %s", me.status, me.body)
	}
	id, _ := me.json["id"].(string)
	if shown := a.json["account"].(map[string]any)["id"]; shown != id {
		b.Errorf("the answer names %v, the token %s", shown, id)
	}
	return id
}

// count returns the one number that a query yields.
func (b *signOnBundle) count(query string, args ...any) (n int) {
	b.Helper()
	b.must(b.db.Pool().QueryRow(b.Context(), query, args...).Scan(&n))
	return n
}

func (b *signOnBundle) exec(query string, args ...any) {
	b.Helper()
	_, err := b.db.Pool().Exec(b.Context(), query, args...)
	b.must(err)
}
