package api_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/mail"
	"github.com/nanobanana/nanobanana/store"
)

const linkToken = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA"

var styleElement = regexp.MustCompile(`(?s)<style>(.*?)</style>`)

// checkPage looks at what every page must have.
func checkPage(t *testing.T, a *answer, status int) {
	t.Helper()
	if a.status != status || a.header.Get("Content-Type") != "text/html; charset=UTF-8" {
		t.Errorf("status %d, %s, want %d: %s", a.status, a.header.Get("Content-Type"), status, a.body)
	}
	style := styleElement.FindStringSubmatch(a.body)
	if len(style) != 2 {
		t.Fatalf("no style in %s", a.body)
	}
	sum := sha256.Sum256([]byte(style[1]))
	want := map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
		"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
	}
	for name, value := range want {
		if diff := cmp.Diff(value, a.header.Get(name)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, never := range []string{"<script", "style=\"", "http-equiv", "onclick", "src="} {
		if strings.Contains(strings.ToLower(a.body), never) {
			t.Errorf("the page has %q", never)
		}
	}
}

// post sends a form as a browser does.
func (b *bundle) post(path string, values url.Values, headers ...string) *answer {
	b.Helper()
	return b.do("", "POST", path, values.Encode(), append([]string{"Content-Type: application/x-www-form-urlencoded"}, headers...)...)
}

func TestPages_OpeningALinkOnlyAsks(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for path, shows := range map[string]string{
		mail.VerifyPath:     `<form method="post" action="/auth/verify">`,
		mail.ResetPath:      `<form method="post" action="/auth/reset">`,
		mail.InvitationPath: "curl -X POST " + b.url + "/v1/invitations/accept",
	} {
		a := b.do("", "GET", path+"?token="+linkToken, "")
		checkPage(t, a, http.StatusOK)
		if !strings.Contains(a.body, shows) || !strings.Contains(a.body, linkToken) {
			t.Errorf("%s: %s", path, a.body)
		}
		if head := b.do("", "HEAD", path+"?token="+linkToken, ""); head.status != http.StatusOK || head.body != "" {
			t.Errorf("HEAD %s: %d %s", path, head.status, head.body)
		}
		for what, query := range map[string]string{
			"none": "", "empty": "?token=", "html": "?token=" + url.QueryEscape(`"><script>alert(1)</script>`),
			"shell": "?token=" + url.QueryEscape(`'; rm -rf ~ #`), "long": "?token=" + strings.Repeat("a", 200), "cut": "?token=%",
		} {
			a := b.do("", "GET", path+query, "")
			checkPage(t, a, http.StatusBadRequest)
			if strings.Contains(a.body, "alert(1)") || strings.Contains(a.body, "rm -rf") || strings.Contains(a.body, "<form") {
				t.Errorf("%s with %s: %s", path, what, a.body)
			}
		}
	}
	if strings.Contains(b.log.String(), linkToken) {
		t.Error("the log tells the token")
	}
}

func TestPages_FormsOfStrangers(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	form := url.Values{"token": {linkToken}, "password": {"correct horse battery"}}
	for _, path := range []string{mail.VerifyPath, mail.ResetPath} {
		for what, a := range map[string]*answer{
			"another site's": b.post(path, form, "Sec-Fetch-Site: cross-site"),
			"another origin": b.post(path, form, "Origin: https://evil.example"),
			"hidden":         b.post(path, form, "Origin: null", "Sec-Fetch-Site: cross-site"),
		} {
			checkPage(t, a, http.StatusForbidden)
			if !strings.Contains(a.body, "another site") {
				t.Errorf("%s, %s: %s", path, what, a.body)
			}
		}
		checkPage(t, b.do("", "POST", path, `{"token":"x"}`), http.StatusBadRequest)
		checkPage(t, b.post(path, url.Values{"token": {strings.Repeat("x", 20<<10)}}), http.StatusRequestEntityTooLarge)
		checkPage(t, b.do("", "POST", path, "token=%", "Content-Type: application/x-www-form-urlencoded"), http.StatusBadRequest)
	}
}

// send records a mail as the service does.
func (b *bundle) send(to string, m jobs.NewMail) {
	b.Helper()
	queue, err := jobs.NewQueue(jobs.Options{DB: b.db})
	b.must(err)
	defer queue.Close()
	m.To = to
	m.Seal = func(token, id string) []byte { return b.keyring.Seal(token, id) }
	b.must(b.db.Transact(b.Context(), func(tx *store.DB) error { return queue.Send(b.Context(), tx, m) }))
}

func TestDevMail(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.DevMail = true })
	if a := b.do("", "GET", api.DevMailPath, ""); !strings.Contains(a.body, "There is none yet") {
		t.Error(a.body)
	}
	for i := range 51 {
		b.send(fmt.Sprintf("ada%d@example.com", i), jobs.NewMail{Kind: jobs.MailVerify, Data: map[string]string{"name": "<b>Ada</b>"}, Token: linkToken})
	}
	b.send("grace@example.com", jobs.NewMail{Kind: "newsletter"})
	b.send("", jobs.NewMail{Kind: jobs.MailReset})
	a := b.do("", "GET", api.DevMailPath, "")
	checkPage(t, a, http.StatusOK)
	if n := strings.Count(a.body, "<article"); n != 50 {
		t.Errorf("%d mails are shown", n)
	}
	link := `<a href="` + b.url + "/auth/verify?token=" + linkToken + `">`
	if strings.Count(a.body, link) != 49 || strings.Contains(a.body, "<b>") || !strings.Contains(a.body, "there is no such kind") ||
		strings.Contains(a.body, "ada1@example.com") || strings.Index(a.body, "ada50@example.com") > strings.Index(a.body, "ada49@example.com") {
		t.Error(a.body)
	}
	if a := b.do("", "GET", b.url+"/auth/verify?token="+linkToken, ""); a.status != http.StatusOK {
		t.Errorf("the link leads to %d", a.status)
	}
}

// A page of a stranger's, whose name is made to lead to this machine, reads no mail.
func TestDevMail_OtherNames(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.DevMail = true })
	for host, want := range map[string]int{
		"127.0.0.1:8080": 200, "localhost:8080": 200, "[::1]:8080": 200, "localhost": 200, "[::1]": 200, "192.168.0.7": 200,
		"evil.example:8080": 403, "127.0.0.1.evil.example": 403, "evil.example": 403,
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", b.url+api.DevMailPath, nil)
		b.must(err)
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		b.must(err)
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", host, resp.StatusCode, want)
		}
	}
}

func TestDevMail_OnlyInDev(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	if a := b.do("", "GET", api.DevMailPath, ""); a.status != http.StatusNotFound {
		t.Errorf("status %d: %s", a.status, a.body)
	}
}

func TestPages_VerifyAndReset(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	const email, first, second = "ada@example.com", "correct horse battery", "staple battery horse"
	login := func(password string) int {
		return b.do("", "POST", "/v1/auth/login", fmt.Sprintf(`{"email":%q,"password":%q}`, email, password)).status
	}
	if a := b.do("", "POST", "/v1/auth/register", fmt.Sprintf(`{"email":%q,"password":%q,"name":"Ada"}`, email, first)); a.status != http.StatusCreated {
		t.Fatal(a.status, a.body)
	}
	verified := func() (n int) {
		b.must(b.db.Pool().QueryRow(t.Context(), `SELECT count(verified_at) FROM account WHERE email = $1`, email).Scan(&n))
		return n
	}
	token := b.mailed(jobs.MailVerify, email)
	checkPage(t, b.do("", "GET", mail.VerifyPath+"?token="+token, ""), http.StatusOK)
	if verified() != 0 {
		t.Fatal("opening the link has used it up")
	}
	for i, want := range []struct {
		password string
		status   int
		shows    string
	}{
		{"", http.StatusUnauthorized, `name="password"`},
		{second, http.StatusUnauthorized, "not the password of the account"},
		{first, http.StatusOK, "is confirmed"},
		{first, http.StatusGone, "has been used"}, // a link works once
	} {
		a := b.post(mail.VerifyPath, url.Values{"token": {token}, "password": {want.password}}, "Origin: null")
		checkPage(t, a, want.status)
		if done := i >= 2; !strings.Contains(a.body, want.shows) || (verified() == 1) != done || strings.Contains(a.body, "<form") == done {
			t.Errorf("try %d: %s", i, a.body)
		}
	}
	b.exec(`UPDATE account SET verified_at = NULL, password = NULL`)
	b.exec(`UPDATE account_token SET used_at = NULL`)
	a := b.post(mail.VerifyPath, url.Values{"token": {token}, "password": {first}})
	checkPage(t, a, http.StatusForbidden)
	if !strings.Contains(a.body, "has no password") || !strings.Contains(a.body, "Authorization: Bearer $ACCESS_TOKEN") {
		t.Error(a.body)
	}
	b.exec(`UPDATE account SET verified_at = now()`)

	if a := b.do("", "POST", "/v1/auth/forgot_password", fmt.Sprintf(`{"email":%q}`, email)); a.status >= 300 {
		t.Fatal(a.status, a.body)
	}
	token = b.mailed(jobs.MailReset, email)
	a = b.post(mail.ResetPath, url.Values{"token": {token}, "password": {"short"}})
	checkPage(t, a, http.StatusUnprocessableEntity)
	if !strings.Contains(a.body, "fewer than 8") || !strings.Contains(a.body, `value="`+token+`"`) || strings.Contains(a.body, `"short"`) {
		t.Error(a.body)
	}
	a = b.post(mail.ResetPath, url.Values{"token": {token}, "password": {second}}, "Origin: null", "Sec-Fetch-Site: same-origin")
	checkPage(t, a, http.StatusOK)
	if !strings.Contains(a.body, "Your password is set") {
		t.Error(a.body)
	}
	a = b.post(mail.ResetPath, url.Values{"token": {token}, "password": {first}})
	checkPage(t, a, http.StatusGone)
	if strings.Contains(a.body, "<form") {
		t.Errorf("a form for a link that is spent: %s", a.body)
	}
	if old, now := login(first), login(second); old != http.StatusUnauthorized || now != http.StatusOK {
		t.Errorf("the old password answers %d, the new one %d", old, now)
	}
	if log := b.log.String(); strings.Contains(log, token) || strings.Contains(log, second) {
		t.Error("the log tells a secret")
	}
}

// The forms count as the routes that do the same.
func TestPages_FormsAreLimited(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for range 5 {
		b.post(mail.VerifyPath, url.Values{"token": {linkToken}})
		b.do("", "POST", "/v1/auth/verify_email", `{"token":"`+linkToken+`"}`)
	}
	checkPage(t, b.post(mail.VerifyPath, url.Values{"token": {linkToken}}), http.StatusTooManyRequests)
}
