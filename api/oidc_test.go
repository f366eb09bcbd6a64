package api_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oauth2-proxy/mockoidc"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

func TestSignOn_MakesAnAccount(t *testing.T) {
	t.Parallel()
	b := setupSignOn(t, nil)
	browser := b.newBrowser(true)
	b.provider.QueueUser(identified("1", "Ada@Example.com", true))
	a := b.open(browser, signOnPath)
	id := b.accountOf(a)
	token := a.json["access_token"].(string)
	me := b.do(token, "GET", "/v1/me", "")
	for name, want := range map[string]any{"email": "Ada@Example.com", "email_verified": true, "has_password": false} {
		if diff := cmp.Diff(want, me.json[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff("no-store", a.header.Get("Cache-Control")); diff != "" {
		t.Errorf("Cache-Control (-want +got):\n%s", diff)
	}
	// They have an organization and a project to work in, and no key.
	if made := b.do(token, "POST", "/v1/generations", `{"prompt":"a banana"}`); made.status != http.StatusAccepted {
		t.Errorf("a generation: status %d, %s", made.status, made.body)
	}
	got := []int{
		b.count(`SELECT count(*) FROM membership WHERE account_id = $1 AND role = 'owner'`, id),
		b.count(`SELECT count(*) FROM project JOIN membership USING (org_id) WHERE account_id = $1`, id),
		b.count(`SELECT count(*) FROM api_key JOIN membership USING (org_id) WHERE account_id = $1`, id),
		b.count(`SELECT count(*) FROM mail`),
		b.count(`SELECT count(*) FROM session WHERE account_id = $1 AND method = 'oidc'`, id),
		b.count(`SELECT count(*) FROM audit_entry WHERE actor_id = $1 AND action = 'account.register' AND after ->> 'provider' = 'corp'`, id),
	}
	if diff := cmp.Diff([]int{1, 1, 0, 0, 1, 1}, got); diff != "" {
		t.Errorf("organizations, projects, keys, mails, sessions, audit entries (-want +got):\n%s", diff)
	}
	// The same person comes back to the same account, whatever their address is now.
	if again := b.accountOf(b.signIn(identified("1", "lovelace@example.com", true))); again != id {
		t.Errorf("signed in again as %s, want %s", again, id)
	}
	if other := b.accountOf(b.signIn(identified("2", "other@example.com", true))); other == id {
		t.Error("someone else got the same account")
	}
}

func TestSignOn_ReturnsToWhereItBegan(t *testing.T) {
	t.Parallel()
	b := setupSignOn(t, nil)
	browser := b.newBrowser(false)
	a := b.open(browser, b.callback(browser, identified("1", "ada@example.com", true), "?return_to=%2Fconsole%3Ftab%3Dkeys").String())
	if a.status != http.StatusSeeOther || a.header.Get("Location") != "/console?tab=keys" {
		t.Fatalf("status %d, Location %s, %s", a.status, a.header.Get("Location"), a.body)
	}
	var csrf string
	var got []string
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		name := c.Name
		if strings.HasPrefix(name, "nb_oidc_") {
			name = "nb_oidc"
		}
		if c.Name == "nb_csrf" {
			csrf = c.Value
		}
		if c.MaxAge < 0 {
			name += " gone"
		}
		if c.HttpOnly {
			name += " HttpOnly"
		}
		got = append(got, name)
	}
	if diff := cmp.Diff([]string{"nb_oidc gone HttpOnly", "nb_refresh HttpOnly", "nb_csrf"}, got); diff != "" {
		t.Errorf("cookies (-want +got):\n%s", diff)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/v1/auth/refresh", nil)
	b.must(err)
	req.Header.Set("X-Csrf-Token", csrf)
	resp, err := browser.Do(req)
	b.must(err)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("refresh: status %d", resp.StatusCode)
	}
	for _, elsewhere := range []string{"https://evil.example", "//evil.example", "/%5Cevil.example", "%5C%5Cevil.example", "console", "/%09/evil.example"} {
		a := b.open(browser, signOnPath+"?return_to="+elsewhere)
		if a.status != http.StatusBadRequest || a.code() != "invalid_request" || a.header.Get("Location") != "" {
			t.Errorf("return_to=%s: status %d, %s", elsewhere, a.status, a.body)
		}
	}
}

// Whose account it is, decides what is known of both addresses.
func TestSignOn_LinksOnlyWhatIsProven(t *testing.T) {
	t.Parallel()
	no := false
	for name, c := range map[string]struct {
		ours    string // what the account is beside its address
		trusted *bool
		theirs  bool // the provider calls the address verified
		linked  bool
		code    string
	}{
		"BothVerified":      {`verified_at = now()`, nil, true, true, ""},
		"OursUnverified":    {`name = name`, nil, true, false, ""},
		"TheirsUnverified":  {`verified_at = now()`, nil, false, false, ""},
		"ProviderUntrusted": {`verified_at = now()`, &no, true, false, ""},
		"Erased":            {`verified_at = now(), erased_at = now()`, nil, true, false, ""},
		"Operator":          {`verified_at = now(), operator = true`, nil, true, false, "permission_denied"},
		"Suspended":         {`verified_at = now(), suspended_at = now()`, nil, true, false, "account_suspended"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupSignOn(t, func(p *auth.Provider) { p.TrustEmail = c.trusted })
			ours, err := b.db.CreateAccount(t.Context(), store.Account{Email: "ada@example.com", Name: "Ada"})
			b.must(err)
			b.exec(`UPDATE account SET `+c.ours+` WHERE id = $1`, ours.ID)
			a := b.signIn(identified("1", "ADA@example.com", c.theirs))
			linked := b.count(`SELECT count(*) FROM account_identity WHERE account_id = $1`, ours.ID)
			if diff := cmp.Diff(c.linked, linked == 1); diff != "" {
				t.Errorf("linked (-want +got):\n%s", diff)
			}
			if c.code != "" {
				if a.status != http.StatusForbidden || a.code() != c.code || b.count(`SELECT count(*) FROM account`) != 1 {
					t.Errorf("status %d, %s, want %s", a.status, a.body, c.code)
				}
				return
			}
			id := b.accountOf(a)
			if diff := cmp.Diff(c.linked, id == ours.ID); diff != "" {
				t.Errorf("signed in to ours (-want +got):\n%s", diff)
			}
			action := map[bool]string{true: "identity.link", false: "account.register"}[c.linked]
			if n := b.count(`SELECT count(*) FROM audit_entry WHERE target_id = $1 AND action = $2`, id, action); n != 1 {
				t.Errorf("%d audit entries of %s", n, action)
			}
			verified := c.linked || c.theirs && c.trusted == nil
			if n := b.count(`SELECT count(*) FROM account WHERE id = $1 AND (verified_at IS NOT NULL) = $2`, id, verified); n != 1 {
				t.Errorf("that the address is verified is not %v", verified)
			}
		})
	}
}

func TestSignOn_RefusesWhoIsSuspendedLater(t *testing.T) {
	t.Parallel()
	b := setupSignOn(t, nil)
	id := b.accountOf(b.signIn(identified("1", "ada@example.com", true)))
	b.exec(`UPDATE account SET suspended_at = now() WHERE id = $1`, id)
	if a := b.signIn(identified("1", "ada@example.com", true)); a.status != http.StatusForbidden || a.code() != "account_suspended" {
		t.Errorf("status %d, %s", a.status, a.body)
	}
}

// Who had everything erased begins anew.
func TestSignOn_AfterErasure(t *testing.T) {
	t.Parallel()
	b := setupSignOn(t, nil)
	former := b.accountOf(b.signIn(identified("1", "ada@example.com", true)))
	b.exec(`UPDATE account SET erased_at = now() WHERE id = $1`, former)
	id := b.accountOf(b.signIn(identified("1", "ada@example.com", true)))
	if id == former || b.count(`SELECT count(*) FROM account_identity WHERE account_id = $1`, id) != 1 {
		t.Errorf("signed in as %s, who was %s", id, former)
	}
	if err := b.db.LinkIdentity(t.Context(), b.provider.Issuer(), "1", former); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an identity was taken from %s: %v", id, err)
	}
}

// Eight tabs in which one person signs in for the first time make one account.
func TestSignOn_AtOnce(t *testing.T) {
	t.Parallel()
	b := setupSignOn(t, nil)
	browser := b.newBrowser(false)
	var backs []string
	for range 8 {
		backs = append(backs, b.callback(browser, identified("1", "ada@example.com", true), "").String())
	}
	var tabs sync.WaitGroup
	for _, back := range backs {
		tabs.Go(func() {
			if a := b.open(browser, back); a.status != http.StatusOK {
				t.Errorf("status %d, %s", a.status, a.body)
			}
		})
	}
	tabs.Wait()
	if n := b.count(`SELECT count(*) FROM account`); n != 1 {
		t.Errorf("%d accounts", n)
	}
}

func TestSignOn_Joins(t *testing.T) {
	t.Parallel()
	b := setupSignOn(t, func(p *auth.Provider) {
		p.Scopes, p.Join = []string{"openid", "email", "groups"}, true
		p.OrganizationClaim, p.Organizations = "groups", map[string]string{"acme": "org_acme0000000000000000000000", "gone": "org_gone0000000000000000000000"}
		p.RoleClaim, p.Roles = "groups", map[string]string{"bosses": auth.RoleAdmin}
	})
	b.exec(`INSERT INTO org (id, name, plan) VALUES ('org_acme0000000000000000000000', 'Acme', 'free')`)
	in := func(subject string, groups ...string) *answer {
		t.Helper()
		user := identified(subject, subject+"@example.com", true)
		user.Groups = groups
		return b.signIn(user)
	}
	role := func(id string) (role string) {
		t.Helper()
		b.must(b.db.Pool().QueryRow(t.Context(), `SELECT coalesce(string_agg(org_id || ' ' || role, ','), '') FROM membership WHERE account_id = $1`, id).Scan(&role))
		return role
	}
	member, boss := b.accountOf(in("member", "acme")), b.accountOf(in("boss", "bosses", "acme"))
	if diff := cmp.Diff([]string{"org_acme0000000000000000000000 member", "org_acme0000000000000000000000 admin"}, []string{role(member), role(boss)}); diff != "" {
		t.Errorf("memberships (-want +got):\n%s", diff)
	}
	if n := b.count(`SELECT count(*) FROM audit_entry WHERE org_id = 'org_acme0000000000000000000000' AND action = 'membership.create'`); n != 2 {
		t.Errorf("%d audit entries", n)
	}
	b.exec(`UPDATE membership SET role = 'billing' WHERE account_id = $1`, boss)
	b.exec(`DELETE FROM membership WHERE account_id = $1`, member)
	in("boss", "bosses", "acme")
	in("member", "acme")
	if diff := cmp.Diff([]string{"", "org_acme0000000000000000000000 billing"}, []string{role(member), role(boss)}); diff != "" {
		t.Errorf("what was decided here is undone by the next sign-in (-want +got):\n%s", diff)
	}
	before := b.count(`SELECT count(*) FROM account`)
	for name, groups := range map[string][]string{"nobody": nil, "stranger": {"design"}, "torn": {"acme", "gone"}, "lost": {"gone"}} {
		if a := in(name, groups...); a.status != http.StatusForbidden || a.code() != "permission_denied" {
			t.Errorf("%s: status %d, %s", name, a.status, a.body)
		}
	}
	b.exec(`UPDATE org SET suspended_at = now() WHERE id = 'org_acme0000000000000000000000'`)
	if a := in("late", "acme"); a.status != http.StatusForbidden || a.code() != "organization_suspended" {
		t.Errorf("suspended: status %d, %s", a.status, a.body)
	}
	if after := b.count(`SELECT count(*) FROM account`); after != before {
		t.Errorf("%d accounts of those who were refused", after-before)
	}
}

func TestSignOn_Refuses(t *testing.T) {
	t.Parallel()
	b := setupSignOn(t, nil)
	refused := func(when string, a *answer, status int, code string) {
		t.Helper()
		if a.status != status || a.code() != code || strings.Contains(a.body, "foreign") {
			t.Errorf("%s: status %d, %s, want %d %s", when, a.status, a.body, status, code)
		}
	}
	ada := identified("1", "ada@example.com", true)
	browser := b.newBrowser(false)
	back := b.callback(browser, ada, "").String()
	refused("no cookie", b.open(b.newBrowser(false), back), 400, "sign_on_failed")
	refused("another's cookie", b.open(browser, strings.Replace(back, "/corp/", "/other/", 1)), 400, "sign_on_failed")
	refused("the cookie is used up by that", b.open(browser, back), 400, "sign_on_failed")

	back = b.callback(browser, ada, "").String()
	if a := b.open(browser, back); a.status != http.StatusOK {
		t.Fatalf("status %d, %s", a.status, a.body)
	}
	refused("twice", b.open(browser, back), 400, "sign_on_failed")

	back = b.callback(browser, ada, "").String()
	i := strings.Index(back, "state=") + len("state=")
	refused("another state", b.open(browser, back[:i+8]+strings.Repeat("A", 35)), 400, "sign_on_failed")
	refused("declined", b.open(browser, b.callback(browser, ada, "").String()+"&error=access_denied&error_description=foreign"), 403, "permission_denied")
	refused("no address", b.signIn(identified("9", "", true)), 400, "sign_on_failed")
	refused("no provider", b.open(browser, "/v1/auth/oidc/nobody"), 404, "not_found")
	refused("no provider", b.open(browser, "/v1/auth/oidc/nobody/callback?code=x&state=y"), 404, "not_found")
	refused("away", b.open(browser, "/v1/auth/oidc/other"), 503, "issuer_unavailable")

	back = b.callback(browser, ada, "").String()
	b.provider.QueueError(&mockoidc.ServerError{Code: 502, Error: "server_error", Description: "foreign"})
	refused("its token endpoint fails", b.open(browser, back), 503, "issuer_unavailable")
	if a := b.open(browser, back); a.status != http.StatusOK {
		t.Errorf("once it is back: status %d, %s", a.status, a.body)
	}
	b.provider.FastForward(-time.Hour)
	refused("expired", b.signIn(ada), 400, "sign_on_failed")
	if log := b.log.String(); strings.Contains(log, "foreign") || strings.Contains(log, "state=") {
		t.Error("the log repeats what the provider said")
	}
}

// Over https the browser takes the cookie from this host alone.
func TestSignOn_OverHTTPS(t *testing.T) {
	t.Parallel()
	b := setupSignOn(t, nil)
	a := b.open(b.newBrowser(false), signOnPath, "X-Forwarded-Proto: https")
	cookie := a.header.Get("Set-Cookie")
	for _, part := range []string{"__Host-nb_oidc_", "; Path=/;", "; HttpOnly", "; Secure", "; SameSite=Lax", "; Max-Age=600"} {
		if !strings.Contains(cookie, part) {
			t.Errorf("%s is not in %s", part, cookie)
		}
	}
	if !strings.Contains(a.header.Get("Location"), "redirect_uri=https%3A%2F%2F127.0.0.1") {
		t.Errorf("sent to %s", a.header.Get("Location"))
	}
	list := b.do("", "GET", "/v1/auth/oidc", "").json["data"].([]any)
	want := map[string]any{"object": "sign_on_provider", "name": "corp", "issuer": b.provider.Issuer(), "url": b.url + signOnPath}
	if diff := cmp.Diff(want, list[0]); diff != "" || len(list) != 2 {
		t.Errorf("%d providers (-want +got):\n%s", len(list), diff)
	}
	none := setup(t, nil)
	if a := none.do("", "GET", "/v1/auth/oidc", ""); a.status != http.StatusOK || len(a.json["data"].([]any)) != 0 {
		t.Errorf("without any: status %d, %s", a.status, a.body)
	}
}
