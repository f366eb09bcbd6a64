package mail_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/mail"
	"github.com/nanobanana/nanobanana/jobs/mail/mailtest"
)

func message() mail.Message {
	return mail.Message{
		ID: "mail_06gvrkha1lo0", Kind: "verify_email", To: "ada@example.com", Subject: "Grüße, 多田",
		Text: "Hello Zoë,\n\n.\n..two\n.hidden\n\nbye\n", HTML: "<p>Zoë\n.\n</p>",
		Date: time.Date(2026, 11, 21, 13, 4, 0, 0, time.UTC),
	}
}

// sender sends to a server whose certificate it checks.
func sender(t *testing.T, s *mailtest.Server, change func(*mail.SMTPOptions)) *mail.SMTP {
	t.Helper()
	opts := mail.SMTPOptions{URL: s.URL(), From: "NanoBanana <no-reply@nb.example>", RootCAs: s.CA}
	if change != nil {
		change(&opts)
	}
	smtp, err := mail.NewSMTP(opts)
	if err != nil {
		t.Fatal(err)
	}
	return smtp
}

// decode returns the headers that matter and the texts of a message.
func decode(t *testing.T, data string) (header map[string]string, texts map[string]string) {
	t.Helper()
	msg, err := netmail.ReadMessage(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	header = map[string]string{}
	for name := range msg.Header {
		header[name] = msg.Header.Get(name)
	}
	media, params, err := mime.ParseMediaType(header["Content-Type"])
	if err != nil || media != "multipart/alternative" {
		t.Fatal(media, err)
	}
	delete(header, "Content-Type") // it names a random boundary
	if header["Subject"], err = new(mime.WordDecoder).DecodeHeader(header["Subject"]); err != nil {
		t.Fatal(err)
	}
	texts = map[string]string{}
	for parts := multipart.NewReader(msg.Body, params["boundary"]); ; {
		p, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return header, texts
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		texts[p.Header.Get("Content-Type")] = strings.ReplaceAll(string(text), "\r\n", "\n")
	}
}

func TestSMTP_Send(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]mailtest.Options{
		"STARTTLS":               {},
		"TLS from the start":     {Implicit: true},
		"with a password":        {User: "u", Password: "p-w"},
		"TLS and a password":     {Implicit: true, User: "u", Password: "p-w"},
		"fails after it took it": {Answer: func(c string) string { return map[string]string{"RSET": mailtest.HangUp}[c] }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := mailtest.Start(t, opts)
			if err := sender(t, server, nil).Send(t.Context(), message()); err != nil {
				t.Fatal(err)
			}
			got := server.Messages()
			if len(got) != 1 {
				t.Fatalf("%d messages", len(got))
			}
			header, texts := decode(t, got[0].Data)
			got[0].Data = ""
			want := mailtest.Message{From: "no-reply@nb.example", To: "ada@example.com", Encrypted: true, User: opts.User}
			if diff := cmp.Diff(want, got[0]); diff != "" {
				t.Error(diff)
			}
			wantHeader := map[string]string{
				"From": `"NanoBanana" <no-reply@nb.example>`, "To": "<ada@example.com>", "Subject": "Grüße, 多田",
				"Date": "Sat, 21 Nov 2026 13:04:00 +0000", "Message-Id": "<mail_06gvrkha1lo0@nb.example>",
				"Auto-Submitted": "auto-generated", "Mime-Version": "1.0",
			}
			if diff := cmp.Diff(wantHeader, header); diff != "" {
				t.Error(diff)
			}
			wantTexts := map[string]string{"text/plain; charset=UTF-8": message().Text, "text/html; charset=UTF-8": message().HTML}
			if diff := cmp.Diff(wantTexts, texts); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A server on this machine may do without encryption and without a certificate.
func TestSMTP_LocalServer(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]mailtest.Options{
		"plain":                 {Plain: true},
		"plain with a password": {Plain: true, User: "u", Password: "p"},
		"its own certificate":   {},
	} {
		server := mailtest.Start(t, opts)
		smtp := sender(t, server, func(o *mail.SMTPOptions) { o.RootCAs = nil })
		if err := smtp.Send(t.Context(), message()); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := server.Messages()[0]; got.Encrypted == opts.Plain || got.User != opts.User {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestSMTP_Fails(t *testing.T) {
	t.Parallel()
	answer := func(command, reply string) mailtest.Options {
		return mailtest.Options{Answer: func(c string) string {
			if command == c || command != "" && command != "." && strings.HasPrefix(c, command) {
				return reply
			}
			return ""
		}}
	}
	for name, c := range map[string]struct {
		opts      mailtest.Options
		permanent bool
		taken     int
	}{
		"no STARTTLS":              {opts: mailtest.Options{Plain: true}},
		"greeting":                 {opts: answer("", "554 go away")},
		"busy":                     {opts: answer("", "421 later")},
		"sender refused":           {opts: answer("MAIL", "550 5.7.1 not you")},
		"recipient unknown":        {opts: answer("RCPT", "550 5.1.1 no such user"), permanent: true},
		"recipient's box is full":  {opts: answer("RCPT", "452 4.2.2 full")},
		"text refused":             {opts: answer(".", "554 5.7.1 spam"), permanent: true, taken: 1},
		"text refused for now":     {opts: answer(".", "451 4.7.1 greylisted"), taken: 1},
		"lost after the text":      {opts: answer(".", mailtest.HangUp), taken: 1}, // nobody knows whether it took it
		"lost before the text":     {opts: answer("RCPT", mailtest.HangUp)},
		"slow to greet":            {opts: answer("", mailtest.Stall)},
		"slow in the conversation": {opts: answer("RCPT", mailtest.Stall)},
		"slow to take it":          {opts: answer(".", mailtest.Stall), taken: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := mailtest.Start(t, c.opts)
			began := time.Now()
			err := sender(t, server, func(o *mail.SMTPOptions) { o.Timeout = time.Second }).Send(t.Context(), message())
			var typed *mail.Error
			if !errors.As(err, &typed) || typed.Permanent != c.permanent || mail.IsPermanent(err) != c.permanent {
				t.Errorf("%#v (%v), want permanent %t", err, err, c.permanent)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
			if n := len(server.Messages()); n != c.taken {
				t.Errorf("%d messages came, want %d", n, c.taken)
			}
		})
	}
}

func TestSMTP_WrongPasswordIsTheOperatorsToMend(t *testing.T) {
	t.Parallel()
	server := mailtest.Start(t, mailtest.Options{User: "u", Password: "right"})
	err := sender(t, server, func(o *mail.SMTPOptions) { o.URL = "smtp://u:hunter2@" + server.Addr }).Send(t.Context(), message())
	if err == nil || mail.IsPermanent(err) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v, want one for now that does not tell the password", err)
	}
}

// What went wrong is kept and logged: no address with it, whatever the server says.
func TestSMTP_ErrorsHoldNoAddress(t *testing.T) {
	t.Parallel()
	m := message()
	m.To = "ada.lovelace+nb@example.com"
	for name, c := range map[string]struct{ command, reply, want string }{
		"recipient":  {"RCPT", "550 5.1.1 <ada.lovelace+nb@example.com>: no such user here", "5.1.1 <(an address)>: no such user here"},
		"for now":    {"RCPT", "451 4.7.1 to=Ada.Lovelace+NB@EXAMPLE.com, greylisted", "4.7.1 to=(an address), greylisted"},
		"forwarded":  {"RCPT", `551 try "ada"@other.example or smtp:ada@[192.0.2.1]`, "try (an address) or smtp:(an address)"},
		"text":       {".", "554 spam for ada.lovelace+nb@example.com", "spam for (an address)"},
		"sender":     {"MAIL", "550 5.7.1 no-reply@nb.example may not", "5.7.1 (an address) may not"},
		"connection": {"", "554 write to postmaster@example.com", "write to (an address)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := mailtest.Start(t, mailtest.Options{Answer: func(command string) string {
				if command == c.command || len(c.command) > 1 && strings.HasPrefix(command, c.command) {
					return c.reply
				}
				return ""
			}})
			err := sender(t, server, nil).Send(t.Context(), m)
			if err == nil || strings.Contains(err.Error(), "@") || strings.Contains(strings.ToLower(err.Error()), "ada") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want one with %q", err, c.want)
			}
		})
	}
	none := m
	none.To = "ada@@example.com"
	if err := sender(t, mailtest.Start(t, mailtest.Options{}), nil).Send(t.Context(), none); err == nil || strings.Contains(err.Error(), "ada") {
		t.Errorf("of one that is none: %v", err)
	}
}

func TestSMTP_StrangersCertificate(t *testing.T) {
	t.Parallel()
	for _, implicit := range []bool{false, true} {
		server := mailtest.Start(t, mailtest.Options{Implicit: implicit, User: "u", Password: "p"})
		err := sender(t, server, func(o *mail.SMTPOptions) { o.RootCAs = x509.NewCertPool() }).Send(t.Context(), message())
		var unknown x509.UnknownAuthorityError
		if !errors.As(err, &unknown) || mail.IsPermanent(err) {
			t.Errorf("implicit %t: %v", implicit, err)
		}
	}
}

func TestSMTP_StopsWithItsContext(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	server := mailtest.Start(t, mailtest.Options{Answer: func(c string) string {
		if strings.HasPrefix(c, "RCPT") {
			close(asked)
			return mailtest.Stall
		}
		return ""
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if err := sender(t, server, nil).Send(ctx, message()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestNewSMTP_Refuses(t *testing.T) {
	t.Parallel()
	const from = "a@example.com"
	for _, c := range []mail.SMTPOptions{
		{URL: "http://mail.example.com", From: from}, {URL: "smtp://", From: from}, {URL: "mail.example.com:25", From: from},
		{URL: "smtp://u:hunter2@mail.example.com:port", From: from}, {URL: "smtp://u:hunter2@mail.example.com:99999", From: from},
		{URL: "smtp://mail.example.com/path", From: from}, {URL: "smtp://mail.example.com?x=1", From: from},
		{URL: "smtp://mail.example.com"}, {URL: "smtp://mail.example.com", From: "nobody"},
	} {
		if _, err := mail.NewSMTP(c); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	m := message()
	m.Link = "https://images.example.com/auth/verify?token=secret"
	for links, want := range map[bool]int{false: 0, true: 1} {
		var out bytes.Buffer
		l := mail.Log{Logger: slog.New(slog.NewTextHandler(&out, nil)), Links: links}
		if err := l.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		line := out.String()
		if strings.Count(line, "token=secret") != want || strings.Count(line, "to=ada@example.com") != want || !strings.Contains(line, "kind=verify_email") ||
			strings.Count(line, "\n") != 1 {
			t.Errorf("links %t: %s", links, line)
		}
	}
}
