package api_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/store"
)

// A stranger holds a working key after one request.
func TestRegister(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	w := b.browser()
	a := w.must(201, "POST", "/v1/auth/register", `{"email":" Ada@Example.com ","password":"a few plain words","name":"Ada","organization":"Engines"}`)
	shown := map[string]any{}
	for _, part := range []string{"account", "organization", "project", "key"} {
		for name, value := range a.json[part].(map[string]any) {
			if s, ok := value.(string); ok && name != "key" && name != "last4" && !strings.HasSuffix(name, "id") && !strings.HasSuffix(name, "_at") || name == "email_verified" {
				shown[part+"."+name] = value
				_ = s
			}
		}
	}
	want := map[string]any{
		"account.object": "account", "account.email": "Ada@Example.com", "account.name": "Ada", "account.email_verified": false,
		"organization.object": "organization", "organization.name": "Engines", "organization.plan": "free", "organization.role": "owner",
		"project.object": "project", "project.name": "First project", "project.slug": "first-project",
		"key.object": "api_key", "key.name": "First key", "key.kind": "live", "key.prefix": "nb_live_", "key.created_by": a.json["account"].(map[string]any)["id"],
	}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if a.json["token_type"] != "Bearer" || a.json["expires_in"] != 900.0 || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s", a.body)
	}
	key := a.json["key"].(map[string]any)
	expires, err := time.Parse(time.RFC3339, key["expires_at"].(string))
	if days := time.Until(expires).Hours() / 24; err != nil || days < 89.9 || days > 90.1 {
		t.Errorf("the key expires at %s, %v", expires, err)
	}
	b.submit(key["key"].(string), `{"prompt":"x"}`)
	me := w.must(200, "GET", "/v1/me", "")
	if diff := cmp.Diff(a.json["account"], any(me.json)); diff != "" {
		t.Errorf("GET /v1/me: %s", diff)
	}
	// Someone who has signed in works in the only project of the only organization.
	if list := w.must(200, "GET", "/v1/generations", ""); len(list.json["data"].([]any)) != 1 {
		t.Errorf("%s", list.body)
	}
	entry := b.rows(`
		SELECT count(*) FROM audit_entry
		WHERE action = 'account.register' AND actor_kind = 'account' AND actor_id = target_id AND org_id IS NOT NULL AND after::text NOT LIKE '%xample%'`)
	if entry != 1 {
		t.Errorf("%d audit entries", entry)
	}
}

func TestRegister_Refuses(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for name, c := range map[string]struct {
		body   string
		faults []string
	}{
		"Email":     {credentials("ada", goodPassword), []string{"email invalid"}},
		"EmailName": {credentials("Ada <ada@example.com>", goodPassword), []string{"email invalid"}},
		"EmailTwo":  {credentials("ada@example.com, bob@example.com", goodPassword), []string{"email invalid"}},
		"EmailIP":   {credentials("ada@[169.254.169.254]", goodPassword), []string{"email invalid"}},
		"EmailIPv4": {credentials("ada@127.0.0.1", goodPassword), []string{"email invalid"}},
		"EmailHost": {credentials("root@localhost", goodPassword), []string{"email invalid"}},
		"EmailTwin": {credentials("v\u0130ctim@gma\u0130l.com", goodPassword), []string{"email invalid"}},
		"EmailFold": {credentials("\u212Aate@example.com", goodPassword), []string{"email invalid"}},
		"EmailHide": {credentials("ada\u200B@example.com", goodPassword), []string{"email invalid"}},
		"EmailTurn": {credentials("ada@example.com\u202E", goodPassword), []string{"email invalid"}},
		"EmailDash": {credentials("ada@-example.com", goodPassword), []string{"email invalid"}},
		"EmailLow":  {credentials("ada@exa_mple.com", goodPassword), []string{"email invalid"}},
		"EmailLine": {credentials("ada@example.com\r\nBcc: bob@example.com", goodPassword), []string{"email invalid"}},
		"Short":     {credentials("ada@example.com", "seven77"), []string{"password out_of_range"}},
		"Long":      {credentials("ada@example.com", strings.Repeat("ab", 600)), []string{"password out_of_range"}},
		"Common":    {credentials("ada@example.com", "Password1"), []string{"password unsupported_value"}},
		"Both":      {credentials("", "x"), []string{"email invalid", "password out_of_range"}},
		"Name":      {`{"email":"ada@example.com","password":"a few plain words","name":"a\nb"}`, []string{"name invalid"}},
		"Missing":   {`{}`, []string{"email required", "password required"}},
	} {
		b.exec(`DELETE FROM rate_limit`)
		a := b.do("", "POST", "/v1/auth/register", c.body)
		if diff := cmp.Diff(c.faults, a.faults()); a.status != 422 || diff != "" {
			t.Errorf("%s: %d %s", name, a.status, diff)
		}
	}
	if n := b.rows(`SELECT count(*) FROM account`); n != 0 {
		t.Errorf("%d accounts", n)
	}
}

// Two people register with one address: the answers do not tell them apart, the mails
// do, and whoever reads the mail has the address.
func TestRegister_TwiceOneAddress(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	first, second := b.registered("ada@example.com"), b.registered("ADA@example.com")
	if first.account == second.account || first.org == second.org || first.key == second.key {
		t.Error("the two share something")
	}
	theirs := b.mailed("verify_email", "ADA@example.com")
	a := second.must(200, "POST", "/v1/auth/verify_email", tokenBody(theirs))
	if a.json["id"] != second.account || a.json["email_verified"] != true {
		t.Errorf("verified: %s", a.body)
	}
	second.want("link_invalid", "POST", "/v1/auth/verify_email", tokenBody(theirs))
	first.want("link_invalid", "POST", "/v1/auth/verify_email", tokenBody("x"))
	first.want("already_exists", "POST", "/v1/auth/verify_email", tokenBody(b.mailed("verify_email", "ada@example.com")))
	if n := b.rows(`SELECT count(*) FROM audit_entry WHERE action = 'account.verify' AND actor_id = $1`, second.account); n != 1 {
		t.Errorf("%d audit entries", n)
	}
	third := b.registered("ada@example.com")
	if token := b.mailed("registered_again", "ADA@example.com"); token != "" {
		t.Errorf("the mail to the owner proves %q", token)
	}
	if n := b.rows(`SELECT count(*) FROM mail WHERE account_id = $1`, third.account); n != 0 {
		t.Errorf("%d mails to the third", n)
	}
	third.must(202, "POST", "/v1/auth/resend_verification", "")
	if n := b.rows(`SELECT count(*) FROM mail WHERE kind = 'registered_again'`); n != 2 {
		t.Errorf("%d mails to the owner", n)
	}
	second.must(202, "POST", "/v1/auth/resend_verification", "")
	if n := b.rows(`SELECT count(*) FROM mail`); n != 4 {
		t.Errorf("%d mails, one of them for what is verified", n)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.Passwords = nil }) // as the service keeps them
	w := b.verified("ada@example.com")
	for name, body := range map[string]string{
		"Password": credentials("ada@example.com", "a few plain word"),
		"Email":    credentials("bob@example.com", goodPassword),
		"NoEmail":  credentials("", goodPassword),
		"NUL":      credentials("ada@example.com\x00", goodPassword),
	} {
		if a := b.do("", "POST", "/v1/auth/login", body); a.status != 401 || a.code() != "invalid_credentials" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	in := b.browser()
	a := in.must(200, "POST", "/v1/auth/login", credentials("ADA@example.com ", goodPassword), "User-Agent: test")
	if a.json["account"].(map[string]any)["id"] != w.account {
		t.Errorf("%s", a.body)
	}
	if n := b.rows(`SELECT count(*) FROM session WHERE id = $1 AND ip = '127.0.0.1' AND user_agent = 'test' AND method = 'password'`, a.json["session_id"]); n != 1 {
		t.Error("the session says something else")
	}
	// A form that is weaker than today's is replaced.
	b.exec(`UPDATE account SET password = '$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc'`)
	b.login("ada@example.com", "password")
	if n := b.rows(`SELECT count(*) FROM account WHERE password LIKE '$argon2id$v=19$m=19456,t=2,p=1$%'`); n != 1 {
		t.Error("the password is kept in its former form")
	}
	b.login("ada@example.com", "password")
	b.exec(`UPDATE account SET suspended_at = now()`)
	if a := b.do("", "POST", "/v1/auth/login", credentials("ada@example.com", goodPassword)); a.code() != "invalid_credentials" {
		t.Errorf("whoever does not know the password is told %s", a.body)
	}
	in.want("account_suspended", "POST", "/v1/auth/login", credentials("ada@example.com", "password"))
	in.want("account_suspended", "GET", "/v1/me", "")
	in.want("account_suspended", "POST", "/v1/auth/refresh", "")
	if w.do("GET", "/v1/me", "").code() != "account_suspended" {
		t.Error("a suspended account goes on")
	}
}

func TestRefreshAndLogout(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	w := b.verified("ada@example.com")
	stolen := w.cookies["nb_refresh"]
	first := w.access
	w.must(200, "POST", "/v1/auth/refresh", "")
	if w.access == first || w.cookies["nb_refresh"] == stolen {
		t.Error("nothing is new")
	}
	latest := w.cookies["nb_refresh"]
	w.cookies["nb_refresh"] = stolen // the answer was lost
	w.must(200, "POST", "/v1/auth/refresh", "")
	if w.cookies["nb_refresh"] != latest {
		t.Error("the repetition gets another token")
	}
	csrf := w.cookies["nb_csrf"]
	w.cookies["nb_csrf"] = "x"
	w.want("csrf_failed", "POST", "/v1/auth/refresh", "")
	w.want("csrf_failed", "POST", "/v1/auth/logout", "")
	w.cookies["nb_csrf"] = csrf
	for _, header := range []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: https://evil.example.com"} {
		w.want("csrf_failed", "POST", "/v1/auth/refresh", "", header)
		w.want("csrf_failed", "POST", "/v1/auth/login", credentials("ada@example.com", goodPassword), header)
	}
	w.must(200, "POST", "/v1/auth/refresh", "", "Sec-Fetch-Site: same-origin")
	b.exec(`UPDATE session SET refreshed_at = now() - interval '1 minute'`)
	good := w.cookies["nb_refresh"]
	w.cookies["nb_refresh"] = stolen
	refused := w.do("POST", "/v1/auth/refresh", "")
	w.cookies["nb_refresh"] = good
	for _, a := range []*answer{refused, w.do("POST", "/v1/auth/refresh", "")} {
		if a.code() != "session_ended" || !strings.Contains(a.body, "ended because an old sign-in was used again") {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if n := b.rows(`
		SELECT count(*) FROM audit_entry
		WHERE action = 'session.reuse' AND actor_kind = 'service' AND target_kind = 'account' AND target_id = $1 AND org_id IS NULL`, w.account); n != 1 {
		t.Errorf("%d audit entries of the reuse", n)
	}
	w.want("session_ended", "GET", "/v1/me", "")
	if n := b.rows(`SELECT count(*) FROM session WHERE ended_reason = 'reuse'`); n != 1 {
		t.Errorf("%d sessions ended for reuse", n)
	}

	w = b.login("ada@example.com", goodPassword)
	refresh, csrf := w.cookies["nb_refresh"], w.cookies["nb_csrf"]
	w.must(204, "POST", "/v1/auth/logout", "")
	if len(w.cookies) != 0 {
		t.Errorf("cookies %v are left", w.cookies)
	}
	w.want("session_ended", "GET", "/v1/me", "")
	w.want("session_ended", "POST", "/v1/auth/refresh", "")
	w.want("session_ended", "POST", "/v1/auth/refresh", "", "Cookie: nb_refresh="+refresh, "X-CSRF-Token: "+csrf)
	w.want("csrf_failed", "POST", "/v1/auth/refresh", "", "Cookie: nb_refresh=forged.1.x", "X-CSRF-Token: "+csrf)
}

// Whether cookies are for https alone is not the sender's to say.
func TestCookies_BehindAProxy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		trusted      string
		secure, link bool
	}{
		"NoneTrusted":    {"", false, true},
		"AnotherTrusted": {"192.0.2.0/24", false, false},
		"Trusted":        {"127.0.0.0/8", true, true},
	} {
		b := setup(t, func(o *api.Options) {
			if c.trusted != "" {
				o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(c.trusted)}
			}
		})
		a := b.do("", "POST", "/v1/auth/register", credentials("ada@example.com", goodPassword), "X-Forwarded-Proto: https")
		cookies := strings.Join(a.header.Values("Set-Cookie"), "\n")
		if a.status != 201 || strings.Contains(cookies, "__Host-") != c.secure || strings.Count(cookies, "; Secure") != map[bool]int{true: 2}[c.secure] {
			t.Errorf("%s: status %d, cookies %s", name, a.status, cookies)
		}
		url := b.do(b.live, "POST", "/v1/generations", banana, "X-Forwarded-Proto: https").json["url"].(string)
		if strings.HasPrefix(url, "https://") != c.link {
			t.Errorf("%s: an image at %s", name, url)
		}
	}
}

// Over https a browser keeps the refresh token to this host alone.
func TestCookies(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.BaseURL = "https://images.example.com" })
	w := b.registered("ada@example.com")
	for _, line := range w.lastSetCookie {
		for _, want := range []string{"; Path=/;", "; Max-Age=259", "; Secure", "; SameSite=Lax"} {
			if !strings.Contains(line, want) {
				t.Errorf("no %q in %s", want, line)
			}
		}
		if strings.HasPrefix(line, "__Host-nb_refresh=") != strings.Contains(line, "; HttpOnly") || strings.Contains(line, "Domain") {
			t.Errorf("%s", line)
		}
	}
	w.must(200, "POST", "/v1/auth/refresh", "", "Origin: https://images.example.com")
	w.want("csrf_failed", "POST", "/v1/auth/refresh", "", "Origin: https://elsewhere.example.com")
	w.cookies["nb_refresh"] = w.cookies["__Host-nb_refresh"]
	delete(w.cookies, "__Host-nb_refresh")
	w.want("session_ended", "POST", "/v1/auth/refresh", "") // another host could have set it
}

func TestResetPassword(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	w := b.verified("ada@example.com")
	nobody := b.do("", "POST", "/v1/auth/forgot_password", `{"email":"bob@example.com"}`)
	somebody := b.do("", "POST", "/v1/auth/forgot_password", `{"email":"ADA@example.com"}`)
	if nobody.status != 202 || somebody.status != 202 || nobody.body != somebody.body {
		t.Errorf("%d %s and %d %s", nobody.status, nobody.body, somebody.status, somebody.body)
	}
	if n := b.rows(`SELECT count(*) FROM mail WHERE kind = 'reset_password' AND recipient <> ''`); n != 1 {
		t.Errorf("%d mails", n)
	}
	for kind, life := range map[string]string{"verify_email": "3 days", "reset_password": "1 hour"} {
		n := b.rows(`SELECT count(*) FROM mail WHERE kind = $1 AND recipient <> '' AND expires_at - created_at BETWEEN $2::text::interval - interval '1 minute' AND $2::text::interval + interval '1 minute'`, kind, life)
		if n != 1 {
			t.Errorf("%d mails %s are for sending within %s", n, kind, life)
		}
	}
	if n := b.rows(`SELECT count(*) FROM mail WHERE recipient = '' AND sent_at IS NOT NULL`); n != 1 {
		t.Errorf("%d mails to nobody", n)
	}
	token := b.mailed("reset_password", "ada@example.com")
	if a := b.do("", "POST", "/v1/auth/reset_password", tokenBody(token, "password")); a.status != 422 {
		t.Errorf("a common password: %d %s", a.status, a.body)
	}
	if a := b.do("", "POST", "/v1/auth/reset_password", tokenBody("x", "some other words")); a.code() != "link_invalid" {
		t.Errorf("a wrong link: %d %s", a.status, a.body)
	}
	if a := b.do("", "POST", "/v1/auth/reset_password", tokenBody(token, "some other words")); a.status != 204 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := b.do("", "POST", "/v1/auth/reset_password", tokenBody(token, "yet other words")); a.code() != "link_invalid" {
		t.Errorf("the link again: %d %s", a.status, a.body)
	}
	w.want("session_ended", "GET", "/v1/me", "")
	w.want("session_ended", "POST", "/v1/auth/refresh", "")
	if a := b.do("", "POST", "/v1/auth/login", credentials("ada@example.com", goodPassword)); a.code() != "invalid_credentials" {
		t.Errorf("the former password: %d %s", a.status, a.body)
	}
	in := b.login("ada@example.com", "some other words")
	if me := in.must(200, "GET", "/v1/me", ""); me.json["email_verified"] != true {
		t.Errorf("%s", me.body)
	}
	if n := b.rows(`SELECT count(*) FROM mail WHERE kind = 'password_changed' AND recipient = 'ada@example.com'`); n != 1 {
		t.Errorf("%d mails of the change", n)
	}
	if n := b.rows(`SELECT count(*) FROM audit_entry WHERE action = 'account.password_change' AND actor_id = $1`, w.account); n != 1 {
		t.Errorf("%d audit entries", n)
	}
	b.submit(w.key, `{"prompt":"x"}`) // keys go on
	// Another link that was mailed before a password was changed is void.
	b.do("", "POST", "/v1/auth/forgot_password", `{"email":"ada@example.com"}`)
	token = b.mailed("reset_password", "ada@example.com")
	in.must(200, "PATCH", "/v1/me", `{"password":{"current":"some other words","new":"the last words"}}`)
	if a := b.do("", "POST", "/v1/auth/reset_password", tokenBody(token, "yet other words")); a.code() != "link_invalid" {
		t.Errorf("an older link: %d %s", a.status, a.body)
	}
}

func TestAccessKeys(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	a := b.do("", "GET", "/v1/auth/jwks.json", "")
	var kids []string
	for _, k := range a.json["keys"].([]any) {
		k := k.(map[string]any)
		kids = append(kids, k["kid"].(string))
		if fmt.Sprint(k["kty"], k["crv"], k["use"], k["alg"]) != "OKPEd25519sigEdDSA" || len(k) != 6 {
			t.Errorf("%v", k)
		}
	}
	if len(kids) != 3 || a.header.Get("Content-Type") != "application/jwk-set+json" || a.header.Get("Cache-Control") != "public, max-age=3600" {
		t.Errorf("%v, %v", kids, a.header)
	}
}

// A stream ends when whoever follows it is signed out, or leaves the organization.
func TestGenerationEvents_EndForPeople(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.StreamPace = 10 * time.Millisecond })
	w := b.registered("ada@example.com")
	id := b.submit(w.key, `{"prompt":"x"}`)
	f := b.open(w.access, id)
	b.until(f, "status 1")
	b.exec(`UPDATE membership SET role = 'billing' WHERE account_id = $1`, w.account)
	if last := b.farewell(f); !strings.HasPrefix(last, "The role billing is not granted") {
		t.Errorf("it ends with %q", last)
	}
	b.exec(`UPDATE membership SET role = 'read_only' WHERE account_id = $1`, w.account)
	f = b.open(w.access, id)
	b.until(f, "status 1")
	w.must(204, "POST", "/v1/auth/logout", "")
	if last := b.farewell(f); last != store.ErrSessionEnded.Error() {
		t.Errorf("it ends with %q", last)
	}
}
