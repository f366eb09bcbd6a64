package mail_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/mail"
	"github.com/nanobanana/nanobanana/store"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// letters has one of each kind.
func letters() []mail.Letter {
	kinds := []struct {
		kind, token string
		data        map[string]string
	}{
		{store.MailVerify, "tok-en_1", map[string]string{"at": "2026-11-21T13:03:00Z", "ip": "203.0.113.5"}},
		{store.MailReset, "tok-en_1", map[string]string{"name": "Ada Lovelace"}},
		{store.MailRegistered, "", map[string]string{"name": "Ada Lovelace"}},
		{store.MailPasswordChanged, "", map[string]string{"name": "Ada Lovelace"}},
		{store.MailInvitation, "tok-en_1", map[string]string{"organization": "Müller & Söhne", "role": "read_only", "inviter": "Grace Hopper"}},
		{store.MailKeyExpiring, "", map[string]string{
			"organization": "Müller & Söhne", "key": "key_06gvrkha1lo0fcmjfkoeg6qfe0", "name": "production", "last4": "x7Qa", "expires_at": "2026-12-01T09:30:00Z"}},
		{store.MailEndpointDisabled, "", map[string]string{
			"organization": "Müller & Söhne", "endpoint": "whep_06gvrkha1lo0fcmjfkoeg6qfe0", "url": "https://u:pw@hooks.example.com/a/b?secret=hunter2", "reason": "gone"}},
		{store.MailQuotaWarning, "", map[string]string{
			"organization": "Müller & Söhne", "plan": "hobby", "percent": "80", "used": "400", "limit": "500", "resets_at": "2026-12-01T00:00:00Z"}},
		{store.MailQuotaExceeded, "", map[string]string{
			"organization": "Müller & Söhne", "plan": "hobby", "percent": "100", "used": "500", "limit": "500", "resets_at": "2026-12-01T00:00:00Z"}},
		{store.MailBudgetAlert, "", map[string]string{
			"organization": "Müller & Söhne", "plan": "hobby", "percent": "50", "used": "120", "limit": "240", "resets_at": "2026-12-01T00:00:00Z"}},
		{store.MailCostAlert, "", map[string]string{"day": "2026-11-21", "percent": "200", "cost": "231.07", "limit": "100.00"}},
	}
	var list []mail.Letter
	for _, k := range kinds {
		list = append(list, mail.Letter{
			ID: "mail_1", Kind: k.kind, To: "ada@example.com", Data: k.data, Token: k.token,
			BaseURL: "https://images.example.com", Date: time.Date(2026, 11, 21, 13, 4, 0, 0, time.UTC),
		})
	}
	return list
}

func render(t *testing.T, l mail.Letter) mail.Message {
	t.Helper()
	m, err := mail.Render(l)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRender_EachKind(t *testing.T) {
	t.Parallel()
	for _, l := range letters() {
		t.Run(l.Kind, func(t *testing.T) {
			t.Parallel()
			m := render(t, l)
			got := "Subject: " + m.Subject + "\nTo: " + m.To + "\nLink: " + m.Link + "\n\n" + m.Text + "\n=====\n\n" + m.HTML
			path := filepath.Join("testdata", l.Kind+".golden")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("run go test ./jobs/mail -update if this is meant (-want +got):\n%s", diff)
			}
			for _, says := range []string{"do nothing", "was not you"} {
				if strings.Contains(m.Text, says) {
					return
				}
			}
			t.Error("it does not say what to do if it is not meant for the reader")
		})
	}
}

// Without anything known of the reader each is still a letter.
func TestRender_WithoutData(t *testing.T) {
	t.Parallel()
	for _, l := range letters() {
		l.Data, l.Token = nil, ""
		m := render(t, l)
		for _, text := range []string{m.Subject, m.Text, m.HTML} {
			if strings.Contains(text, "<no value>") || strings.Contains(text, "{{") || strings.Contains(text, " ,") {
				t.Errorf("%s: %s", l.Kind, text)
			}
		}
		if m.Link != "" || strings.Contains(m.HTML, "href") {
			t.Errorf("%s has a link without a token", l.Kind)
		}
	}
}

// Names are strangers' words in our letters.
func TestRender_HostileNames(t *testing.T) {
	t.Parallel()
	hostile := map[string]string{
		"header":   "Ada\r\nBcc: victim@example.org\r\n\r\nBuy now",
		"html":     `<script>alert(1)</script><a href="https://evil.example">x</a>`,
		"link":     "Your prize is at https://evil.example/win and www.evil.example or evil.example/x, mail evil@evil.example",
		"reversed": "Ada \u202egnirts\u202c \u2066x\u2069 \u200bz",
		"long":     strings.Repeat("ä", 5000),
		"lines":    "Ada\n\nThe NanoBanana team asks you to call 0900\u2028now",
		"template": `{{.Link}} {{template "subject"}}`,
		"bytes":    "\xff\xfe\x00Ada",
	}
	for what, name := range hostile {
		for _, l := range letters() {
			token := l.Token
			for key := range l.Data {
				l.Data[key] = name
			}
			m := render(t, l)
			if strings.ContainsAny(m.Subject, "\r\n\x00") || len([]rune(m.Subject)) > 300 {
				t.Errorf("%s of %s: subject %q", what, l.Kind, m.Subject)
			}
			all := m.Subject + m.Text + m.HTML
			rest := strings.ReplaceAll(all, "https://images.example.com", "")
			for _, never := range []string{"://", "evil.example", "@evil", "www.evil", "\u202e", "\u2066", "\u2028", "\x00", "\n\nThe Nano", "Bcc: victim@example.org"} {
				if strings.Contains(rest, never) {
					t.Errorf("%s of %s has %q:\n%s", what, l.Kind, never, all)
				}
			}
			if links := strings.Count(strings.ToLower(m.HTML), "<a"); strings.Contains(m.HTML, "<script") || links > 1 || (links == 1) != (token != "") {
				t.Errorf("%s of %s has %d links", what, l.Kind, links)
			}
			if n := strings.Count(m.Text, "ä"); n > 100*3+300 {
				t.Errorf("%s of %s shows %d characters", what, l.Kind, n)
			}
		}
	}
}

// What is harmless is shown as it was typed, but for the marks between the parts of
// what may be an address.
func TestRender_HonestNames(t *testing.T) {
	t.Parallel()
	l := letters()[4]
	for name, want := range map[string]string{
		"Zoë O’Hara":      "Zoë O’Hara",
		"  多  田 ":         "多 田",
		"Dr. J. R. Smith": "Dr. J. R. Smith",
		"Booking.com":     "Booking.\u200bcom",
		"a/b":             "a/\u200bb",
	} {
		l.Data = map[string]string{"organization": name, "inviter": "x"}
		if got := render(t, l).Subject; got != "Invitation to "+want {
			t.Errorf("%q is shown as %q", name, got)
		}
	}
}

func TestRender_Refuses(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(*mail.Letter){
		"kind":        func(l *mail.Letter) { l.Kind = "newsletter" },
		"path":        func(l *mail.Letter) { l.Kind = "../templates/invitation" },
		"address":     func(l *mail.Letter) { l.To = "nobody" },
		"two":         func(l *mail.Letter) { l.To = "a@example.com, b@example.com" },
		"header":      func(l *mail.Letter) { l.To = "a@example.com\r\nBcc: b@example.com" },
		"named":       func(l *mail.Letter) { l.To = "B <b@example.com>" },
		"too long":    func(l *mail.Letter) { l.To = strings.Repeat("a", 255) + "@example.com" },
		"empty":       func(l *mail.Letter) { l.To = "" },
		"only spaces": func(l *mail.Letter) { l.To = "  " },
	} {
		l := letters()[0]
		change(&l)
		_, err := mail.Render(l)
		if err == nil || !mail.IsPermanent(err) {
			t.Errorf("%s: %v, want a permanent error", what, err)
		}
		if err != nil && strings.Contains(err.Error(), l.Token) {
			t.Errorf("%s: the error tells the token: %v", what, err)
		}
	}
}

func TestRender_Link(t *testing.T) {
	t.Parallel()
	l := letters()[0]
	l.Token, l.BaseURL = "a+b&c=d", "http://127.0.0.1:8080/"
	if got, want := render(t, l).Link, "http://127.0.0.1:8080/auth/verify?token=a%2Bb%26c%3Dd"; got != want {
		t.Errorf("link %s, want %s", got, want)
	}
}
