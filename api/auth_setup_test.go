package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
)

const goodPassword = "a few plain words"

// A browser is someone who keeps cookies and the access token.
type browser struct {
	b             *bundle
	cookies       map[string]string
	access        string
	account, key  string
	org, project  string
	lastSetCookie []string
}

func (b *bundle) browser() *browser { return &browser{b: b, cookies: map[string]string{}} }

// do sends a request with the cookies, and the header that shows they can be read.
func (w *browser) do(method, target, body string, headers ...string) *answer {
	w.b.Helper()
	var pairs []string
	for name, value := range w.cookies {
		pairs = append(pairs, name+"="+value)
	}
	if len(pairs) > 0 {
		headers = append([]string{"Cookie: " + strings.Join(pairs, "; "), "X-CSRF-Token: " + w.cookies["nb_csrf"]}, headers...)
	}
	a := w.b.do(w.access, method, target, body, headers...)
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if w.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(w.cookies, c.Name)
		}
	}
	if token, ok := a.json["access_token"].(string); ok && a.status < 300 {
		w.access = token
	}
	w.lastSetCookie = a.header.Values("Set-Cookie")
	return a
}

// must is do for what has to succeed.
func (w *browser) must(status int, method, target, body string, headers ...string) *answer {
	w.b.Helper()
	a := w.do(method, target, body, headers...)
	if a.status != status {
		w.b.Fatalf("%s %s: status %d, want %d: %s", method, target, a.status, status, a.body)
	}
	return a
}

// want fails unless a request is refused with a code.
func (w *browser) want(code, method, target, body string, headers ...string) {
	w.b.Helper()
	if a := w.do(method, target, body, headers...); a.code() != code {
		w.b.Errorf("%s %s: %d %s, want %s", method, target, a.status, a.body, code)
	}
}

func credentials(email, password string) string {
	text, _ := json.Marshal(map[string]string{"email": email, "password": password})
	return string(text)
}

// registered is a browser of someone who has just registered.
func (b *bundle) registered(email string) *browser {
	b.Helper()
	w := b.browser()
	a := w.must(201, "POST", "/v1/auth/register", credentials(email, goodPassword))
	part := func(name, field string) string { return a.json[name].(map[string]any)[field].(string) }
	w.account, w.org, w.project, w.key = part("account", "id"), part("organization", "id"), part("project", "id"), part("key", "key")
	return w
}

// verified is a browser of someone who has registered and shown that the address is
// theirs.
func (b *bundle) verified(email string) *browser {
	b.Helper()
	w := b.registered(email)
	w.must(200, "POST", "/v1/auth/verify_email", tokenBody(b.mailed("verify_email", email)))
	return w
}

// login is a browser of someone who signs in.
func (b *bundle) login(email, password string) *browser {
	b.Helper()
	w := b.browser()
	w.must(200, "POST", "/v1/auth/login", credentials(email, password))
	return w
}

// mailed returns what the link of the newest mail of a kind to someone proves.
func (b *bundle) mailed(kind, to string) string {
	b.Helper()
	var id string
	var sealed []byte
	b.must(b.db.Pool().QueryRow(b.Context(), `SELECT id, sealed FROM mail WHERE kind = $1 AND recipient = $2 ORDER BY id DESC LIMIT 1`, kind, to).Scan(&id, &sealed))
	if sealed == nil {
		return ""
	}
	token, err := b.keyring.Open(sealed, id)
	b.must(err)
	return token
}

func (b *bundle) rows(sql string, args ...any) (n int) {
	b.Helper()
	b.must(b.db.Pool().QueryRow(b.Context(), sql, args...).Scan(&n))
	return n
}

func tokenBody(token string, more ...string) string {
	body := map[string]string{"token": token}
	if len(more) > 0 {
		body["password"] = more[0]
	}
	text, _ := json.Marshal(body)
	return string(text)
}
