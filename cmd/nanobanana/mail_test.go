package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestConfig_Mail(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		args []string
		bad  string // the variable that is reported, if any
	}{
		"both":          {[]string{"--smtp-url=smtps://u:hunter2@mail.example.com", "--mail-from=NanoBanana <a@example.com>"}, ""},
		"neither":       {nil, ""},
		"no sender":     {[]string{"--smtp-url=smtp://u:hunter2@mail.example.com"}, "NANOBANANA_MAIL_FROM"},
		"no address":    {[]string{"--smtp-url=smtp://u:hunter2@mail.example.com", "--mail-from=me"}, "NANOBANANA_MAIL_FROM"},
		"no such URL":   {[]string{"--smtp-url=http://u:hunter2@mail.example.com", "--mail-from=a@example.com"}, "NANOBANANA_SMTP_URL"},
		"no such port":  {[]string{"--smtp-url=smtp://u:hunter2@mail.example.com:smtp", "--mail-from=a@example.com"}, "NANOBANANA_SMTP_URL"},
		"not even this": {[]string{"--smtp-url=smtp://u:hunter2@%zz", "--mail-from=a@example.com"}, "NANOBANANA_SMTP_URL"},
	} {
		var out, errs bytes.Buffer
		status := run(t.Context(), append([]string{"config"}, c.args...), &out, &errs)
		if (status != 0) != (c.bad != "") || c.bad != "" && !strings.Contains(errs.String(), c.bad+":") {
			t.Errorf("%s: status %d: %s", what, status, errs.String())
		}
		if strings.Contains(out.String()+errs.String(), "hunter2") {
			t.Errorf("%s tells the password: %s%s", what, out.String(), errs.String())
		}
	}
}

// fetch sends a request and returns the answer's text.
func fetch(ctx context.Context, method, target, media, body string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", media)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// Whoever tries the service signs up and confirms an address without a mail server:
// `dev` says where the mail is, and its link works after it is sent.
func TestDev_Mail(t *testing.T) {
	t.Parallel()
	p, state := devProcess(t, t.TempDir(), nil, nil)
	line := p.line(t, "mail ")
	page := state.URL + "/dev/mail"
	if !strings.Contains(line, page) || !strings.Contains(line, "none is sent") {
		t.Errorf("dev prints %q, want %s", line, page)
	}
	const account = `{"email":"ada@example.com","password":"correct horse battery","name":"Ada"}`
	if status, text, err := fetch(t.Context(), "POST", state.URL+"/v1/auth/register", "application/json", account); status != 201 || err != nil {
		t.Fatal(status, text, err)
	}
	shown := regexp.MustCompile(`<a href="([^"]+)">`)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		_, text, err := fetch(t.Context(), "GET", page, "", "")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, "handed on") && time.Now().Before(deadline) {
			continue
		}
		link := shown.FindStringSubmatch(text)
		if link == nil {
			t.Fatalf("no link in %s", text)
		}
		target, err := url.Parse(link[1])
		if err != nil {
			t.Fatal(err)
		}
		form := url.Values{"token": target.Query()["token"], "password": {"correct horse battery"}}.Encode()
		status, answer, err := fetch(t.Context(), "POST", state.URL+target.Path, "application/x-www-form-urlencoded", form)
		if status != 200 || err != nil || !strings.Contains(answer, "is confirmed") {
			t.Errorf("%d, %v: %s", status, err, answer)
		}
		break
	}
	if status := p.stop(t, syscall.SIGTERM); status != 0 {
		t.Errorf("dev ended with status %d", status)
	}
}
