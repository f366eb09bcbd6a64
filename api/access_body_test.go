package api_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// slowly sends a request whose body comes once meanwhile is done, which begins after
// the caller was admitted: the front door asks for a body when it wants to read it.
func (p *people) slowly(key, method, path, body string, meanwhile func()) (status int, text string) {
	p.Helper()
	reader, writer := io.Pipe()
	wanted := make(chan struct{})
	ctx := httptrace.WithClientTrace(p.Context(), &httptrace.ClientTrace{Got100Continue: func() { close(wanted) }})
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	go func() {
		select {
		case <-wanted:
			meanwhile()
		case <-ctx.Done():
		}
		_, _ = io.WriteString(writer, body)
		_ = writer.Close()
	}()
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, reader)
	p.must(err)
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Expect", "100-continue")
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: 20 * time.Second}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	p.must(err)
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	p.must(err)
	return resp.StatusCode, string(answer)
}

// What a caller may do is looked up again when the body took long to arrive.
func TestSlowBodyIsAdmittedAnew(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	key, row, err := p.keys.Create(t.Context(), nil, auth.NewKey{OrgID: p.org, ProjectID: p.project.ID, Name: "n", Kind: store.KeyLive})
	p.must(err)
	status, text := p.slowly(key, "POST", "/v1/generations", `{"prompt":"x"}`, func() { p.later.Add(int64(2 * time.Second)) })
	if status != 202 {
		t.Errorf("a key that may still ask: %d %s", status, text)
	}
	status, text = p.slowly(key, "POST", "/v1/generations", `{"prompt":"x"}`, func() {
		p.does(p.master, "DELETE", "/v1/keys/"+row.ID, "", 200)
		p.eventually("the key is refused", func() bool { return p.do(key, "GET", "/v1/models", "").status == 401 })
		p.later.Add(int64(2 * time.Second))
	})
	if status != 401 || !strings.Contains(text, "key_revoked") {
		t.Errorf("a key that was revoked meanwhile: %d %s", status, text)
	}
	ada := p.person("ada@example.com", auth.RoleOwner)
	status, text = p.slowly(ada.token, "POST", "/v1/generations", `{"prompt":"x"}`, func() {
		p.exec(`DELETE FROM membership WHERE account_id = $1`, ada.id)
		p.later.Add(int64(2 * time.Second))
	})
	if status != 400 && status != 404 {
		t.Errorf("someone who was removed meanwhile: %d %s", status, text)
	}
}

// A change of the organization looks at its key once it is its turn, however quickly
// the body came.
func TestChangeOrg_LooksAtItsKey(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, code string }{
		"Revoked": {`UPDATE api_key SET revoked_at = now() WHERE id = $1`, "key_revoked"},
		"Expired": {`UPDATE api_key SET expires_at = now() WHERE id = $1`, "key_expired"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := setupPeople(t)
			master, row, err := p.keys.Create(t.Context(), nil, auth.NewKey{OrgID: p.org, Name: "n", Kind: store.KeyMaster})
			p.must(err)
			// Nobody is told of it, as when the news comes a moment later.
			status, text := p.slowly(master, "POST", "/v1/keys", `{"name":"a new key"}`, func() { p.exec(c.sql, row.ID) })
			if status != 401 || !strings.Contains(text, c.code) {
				t.Errorf("%d %s, want 401 %s", status, text, c.code)
			}
			if n := p.rows(`SELECT count(*) FROM api_key WHERE name = 'a new key'`); n != 0 {
				t.Error("it made a key")
			}
		})
	}
}
