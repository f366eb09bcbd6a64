package api_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/nanobanana/nanobanana/jobs/mail"
	"github.com/nanobanana/nanobanana/store"
)

// An address is verified by whoever has the mailbox and the account: neither is enough.
func TestVerifyEmail_TakesBoth(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	w, stranger := b.registered("ada@example.com"), b.registered("eve@example.com")
	token := b.mailed("verify_email", "ada@example.com")
	for name, c := range map[string]struct {
		bearer, password, code string
		status                 int
	}{
		"TokenAlone":      {"", "", "invalid_credentials", 401},
		"WrongPassword":   {"", "some other words", "invalid_credentials", 401},
		"AnotherAccount":  {stranger.access, "", "permission_denied", 403},
		"AnotherAndRight": {stranger.access, goodPassword, "permission_denied", 403},
		"Key":             {w.key, "", "permission_denied", 403},
		"BadToken":        {"a.b.c", goodPassword, "invalid_token", 401},
	} {
		b.exec(`DELETE FROM rate_limit`)
		a := b.do(c.bearer, "POST", "/v1/auth/verify_email", tokenBody(token, c.password))
		if a.status != c.status || a.code() != c.code {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	b.exec(`DELETE FROM rate_limit`)
	w.want("link_invalid", "POST", "/v1/auth/verify_email", tokenBody("x"))
	if n := b.rows(`SELECT count(*) FROM account WHERE verified_at IS NOT NULL`); n != 0 {
		t.Fatalf("%d are verified", n)
	}
	if a := b.do("", "POST", "/v1/auth/verify_email", tokenBody(token, goodPassword)); a.status != 200 || a.json["id"] != w.account || a.json["email_verified"] != true {
		t.Errorf("with the password: %d %s", a.status, a.body)
	}
	stranger.must(200, "POST", "/v1/auth/verify_email", tokenBody(b.mailed("verify_email", "eve@example.com")))
}

// Guesses at the password of an account by its link have a bound of their own.
func TestVerifyEmail_LimitsGuesses(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.registered("ada@example.com")
	token := b.mailed("verify_email", "ada@example.com")
	for i := range 11 {
		b.exec(`DELETE FROM rate_limit WHERE bucket LIKE 'ip:%'`) // as from anywhere
		a := b.do("", "POST", "/v1/auth/verify_email", tokenBody(token, fmt.Sprintf("guess number %d", i)))
		if want := map[bool]int{true: 401, false: 429}[i < 10]; a.status != want {
			t.Errorf("guess %d: %d %s", i, a.status, a.body)
		}
	}
}

// Someone registers with another's address and waits. Whatever its owner does with the
// mails that come of it, the owner never gets into the stranger's account, and the
// stranger's keys, webhooks and identities never see what the owner does.
func TestPreHijacking(t *testing.T) {
	t.Parallel()
	b := setupSignOn(t, nil)
	const email = "ada@example.com"
	evil := b.registered(email)
	link := b.mailed("verify_email", email)
	byProvider := b.accountOf(b.signIn(identified("evil", email, false)))
	// The owner follows the link, and enters a password of her own.
	b.post(mail.VerifyPath, url.Values{"token": {link}, "password": {"words of her own"}})
	// She asks for a new password: there is none to have.
	sent := b.rows(`SELECT count(*) FROM mail WHERE recipient <> ''`)
	if a := b.do("", "POST", "/v1/auth/forgot_password", `{"email":"ada@example.com"}`); a.status != 202 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if n := b.rows(`SELECT count(*) FROM mail WHERE recipient <> ''`); n != sent {
		t.Error("a mail lets her into an account that is perhaps a stranger's")
	}
	// A link that an older version mailed does not either.
	b.exec(`INSERT INTO account_token (hash, account_id, purpose, expires_at) VALUES (sha256('old'), $1, 'reset_password', now() + interval '1 hour')`, evil.account)
	if a := b.do("", "POST", "/v1/auth/reset_password", tokenBody("old", "words of her own")); a.code() != "link_invalid" {
		t.Errorf("a new password for what is not verified: %d %s", a.status, a.body)
	}
	if n := b.rows(`SELECT count(*) FROM account WHERE verified_at IS NOT NULL`); n != 0 {
		t.Fatalf("%d are verified", n)
	}
	// She signs on: into an account of her own.
	hers := b.accountOf(b.signIn(identified("ada", email, true)))
	if hers == evil.account || hers == byProvider {
		t.Error("she is in the stranger's account")
	}
	evil.want("already_exists", "POST", "/v1/auth/verify_email", tokenBody(link))
	if again := b.accountOf(b.signIn(identified("evil", email, false))); again != byProvider {
		t.Errorf("the stranger is in %s", again)
	}
	evil.must(200, "GET", "/v1/me", "") // keeps the own account, unverified
}

// Two addresses that Unicode takes for the same are two.
func TestUnicodeTwins(t *testing.T) {
	t.Parallel()
	b := setupSignOn(t, nil)
	const twin, email = "v\u0130ctim@gma\u0130l.com", "victim@gmail.com"
	evil := b.accountOf(b.signIn(identified("evil", twin, true)))
	if n := b.rows(`SELECT count(*) FROM account WHERE id = $1 AND verified_at IS NULL`, evil); n != 1 {
		t.Error("a provider's word is taken for an address that nobody can show to be theirs")
	}
	if n := b.rows(`SELECT count(*) FROM mail`); n != 0 {
		t.Errorf("%d mails to it", n)
	}
	b.exec(`UPDATE account SET verified_at = now()`)
	if err := b.db.Transact(t.Context(), func(tx *store.DB) error {
		_, _, err := tx.SetOperator(t.Context(), email, true)
		return err
	}); err == nil {
		t.Error("the twin runs the service")
	}
	if b.accountOf(b.signIn(identified("victim", email, true))) == evil {
		t.Error("the victim is in the twin's account")
	}
	w := b.verified("owner@example.com")
	w.want("validation_failed", "POST", "/v1/orgs/"+w.org+"/invitations", `{"email":"`+twin+`","role":"member"}`)
}

// Passwords open accounts whose address is verified. The session of registering goes on.
func TestLogin_Unverified(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	w := b.registered("ada@example.com")
	waiting := b.do("", "POST", "/v1/auth/login", credentials("ada@example.com", goodPassword))
	nobody := b.do("", "POST", "/v1/auth/login", credentials("bob@example.com", goodPassword))
	if waiting.status != 401 || waiting.code() != "invalid_credentials" || waiting.json["detail"] != nobody.json["detail"] ||
		!strings.Contains(waiting.body, "is not verified yet: follow the link") {
		t.Errorf("%d %s and %s", waiting.status, waiting.body, nobody.body)
	}
	w.must(200, "POST", "/v1/auth/refresh", "")
	w.must(200, "POST", "/v1/auth/verify_email", tokenBody(b.mailed("verify_email", "ada@example.com")))
	b.login("ada@example.com", goodPassword)
}

// What anyone can have sent to an address that is not known to be theirs is bounded, and
// repeats nothing that they chose.
func TestMails_ToStrangers(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	const email, call = "ada@example.com", "YOUR ACCOUNT IS BLOCKED, CALL +1 555 0100"
	sent := func() int { return b.rows(`SELECT count(*) FROM mail WHERE recipient <> ''`) }
	var w *browser
	for range 8 {
		w = b.browser()
		w.must(201, "POST", "/v1/auth/register", `{"email":"`+email+`","password":"a few plain words","name":"`+call+`"}`)
	}
	if n := sent(); n != 5 {
		t.Errorf("%d mails of 8 registrations, want 5", n)
	}
	w.want("rate_limited", "POST", "/v1/auth/resend_verification", "")
	w.must(200, "PATCH", "/v1/me", `{"password":{"current":"a few plain words","new":"some other words"}}`)
	if n := sent(); n != 5 {
		t.Errorf("%d mails after a change of the password", n)
	}
	if n := b.rows(`SELECT count(*) FROM mail WHERE data::text LIKE '%BLOCKED%'`); n != 0 {
		t.Error("a mail says what a stranger wants")
	}
	if n := b.rows(`SELECT count(*) FROM mail WHERE data ->> 'ip' = '127.0.0.1' AND (data ->> 'at')::timestamptz > now() - interval '1 minute'`); n != 8 {
		t.Errorf("%d mails say when and from where", n)
	}
	other := b.registered("bob@example.com")
	other.must(202, "POST", "/v1/auth/resend_verification", "")
	if n := sent(); n != 7 {
		t.Errorf("%d mails, with two to someone else", n)
	}
}

// Whoever is signed in does not guess the password more often than whoever is not.
func TestConfirm_LimitsGuesses(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	w := b.registered("ada@example.com")
	guess := func(i int) int {
		if i%2 == 0 {
			return w.do("DELETE", "/v1/me", fmt.Sprintf(`{"password":"guess %d"}`, i)).status
		}
		return w.do("PATCH", "/v1/me", fmt.Sprintf(`{"password":{"current":"guess %d","new":"some other words"}}`, i)).status
	}
	for i := range 12 {
		if want := map[bool]int{true: 403, false: 429}[i < 10]; guess(i) != want {
			t.Errorf("guess %d is not answered %d", i, want)
		}
	}
	if n := b.rows(`SELECT count(*) FROM rate_limit WHERE bucket LIKE 'ip:%/confirm'`); n != 1 {
		t.Errorf("%d visitors are counted", n)
	}
}

// A token that is longer than any is refused before anything of it is read.
func TestAccessTokens_TooLong(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	long := strings.Repeat("a", 8<<10) + "." + strings.Repeat("b", 8<<10) + ".c"
	a := b.do(long, "GET", "/v1/me", "")
	if a.status != 401 || a.code() != "invalid_token" || !strings.Contains(a.body, "more than 16384 bytes") {
		t.Errorf("%d %s", a.status, a.body)
	}
}
