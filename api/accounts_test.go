package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

func TestMe(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	w, other := b.verified("ada@example.com"), b.login("ada@example.com", goodPassword)
	if a := b.do(w.key, "GET", "/v1/me", ""); a.status != 403 || a.code() != "permission_denied" {
		t.Errorf("an API key: %d %s", a.status, a.body)
	}
	if a := w.must(200, "PATCH", "/v1/me", `{"name":" Ada King "}`); a.json["name"] != "Ada King" {
		t.Errorf("%s", a.body)
	}
	w.must(200, "PATCH", "/v1/me", `{"name":"Ada King"}`)
	w.must(200, "PATCH", "/v1/me", `{}`)
	if n := b.rows(`SELECT count(*) FROM audit_entry WHERE action = 'account.update' AND actor_id = $1 AND after = '{"changed": ["name"]}'`, w.account); n != 1 {
		t.Errorf("%d audit entries of the name", n)
	}
	w.want("permission_denied", "PATCH", "/v1/me", `{"password":{"current":"wrong words","new":"some other words"}}`)
	w.want("permission_denied", "PATCH", "/v1/me", `{"password":{"new":"some other words"}}`)
	w.want("validation_failed", "PATCH", "/v1/me", `{"password":{"current":"a few plain words","new":"x"}}`)
	other.must(200, "GET", "/v1/me", "")
	w.must(200, "PATCH", "/v1/me", `{"name":"Ada","password":{"current":"a few plain words","new":"some other words"}}`)
	w.must(200, "GET", "/v1/me", "") // goes on
	other.want("session_ended", "GET", "/v1/me", "")
	b.login("ada@example.com", "some other words")
	if n := b.rows(`SELECT count(*) FROM mail WHERE kind = 'password_changed'`); n != 1 {
		t.Errorf("%d mails", n)
	}
}

// Who has no password sets one soon after signing in.
func TestMe_FirstPassword(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	w := b.verified("ada@example.com")
	b.exec(`UPDATE account SET password = NULL`)
	b.exec(`UPDATE session SET created_at = now() - interval '11 minutes'`)
	w.want("permission_denied", "PATCH", "/v1/me", `{"password":{"new":"some other words"}}`)
	w.want("permission_denied", "DELETE", "/v1/me", `{}`)
	b.exec(`UPDATE session SET created_at = now() - interval '9 minutes'`)
	a := w.must(200, "PATCH", "/v1/me", `{"password":{"new":"some other words"}}`)
	if a.json["has_password"] != true {
		t.Errorf("%s", a.body)
	}
	b.login("ada@example.com", "some other words")
}

func TestSessions(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	w, stranger := b.verified("ada@example.com"), b.registered("bob@example.com")
	second, third := b.login("ada@example.com", goodPassword), b.login("ada@example.com", goodPassword)
	list := w.must(200, "GET", "/v1/me/sessions?order=asc", "")
	var ids []string
	for i, row := range list.json["data"].([]any) {
		row := row.(map[string]any)
		if ids = append(ids, row["id"].(string)); row["current"] != (i == 0) || row["object"] != "session" || row["ip"] != "127.0.0.1" {
			t.Errorf("%v", row)
		}
	}
	if len(ids) != 3 {
		t.Fatalf("%s", list.body)
	}
	page := w.must(200, "GET", "/v1/me/sessions?limit=1&after="+ids[2], "")
	if page.json["first_id"] != ids[1] || page.json["next_cursor"] != ids[1] || page.json["has_more"] != true {
		t.Errorf("%s", page.body)
	}
	w.want("invalid_cursor", "GET", "/v1/me/sessions?after=x", "")
	w.want("invalid_cursor", "GET", "/v1/me/sessions?after="+ids[0]+"&before="+ids[1], "")
	for _, id := range []string{ids[1], store.NewID("ses"), "x"} {
		stranger.want("not_found", "DELETE", "/v1/me/sessions/"+id, "")
	}
	second.must(200, "GET", "/v1/me", "")
	w.must(204, "DELETE", "/v1/me/sessions/"+ids[1], "")
	second.want("session_ended", "GET", "/v1/me", "")
	second.want("session_ended", "POST", "/v1/auth/refresh", "")
	if a := w.must(200, "DELETE", "/v1/me/sessions", ""); a.json["count"] != 1.0 {
		t.Errorf("%s", a.body)
	}
	third.want("session_ended", "GET", "/v1/me", "")
	w.must(200, "DELETE", "/v1/me/sessions", "")
	stranger.must(200, "GET", "/v1/me", "")
	if n := b.rows(`SELECT count(*) FROM audit_entry WHERE action = 'session.revoke' AND actor_id = $1`, w.account); n != 2 {
		t.Errorf("%d audit entries", n)
	}
}

func TestExport(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	w, stranger := b.verified("ada@example.com"), b.registered("bob@example.com")
	b.exec(`UPDATE org SET rate_limit = 0`)
	b.exec(`UPDATE plan SET credits = 1000`)
	b.submit(stranger.key, `{"prompt":"not theirs"}`)
	const many = 120 // several pages
	var want []string
	for range many {
		want = append(want, b.submit(w.key, `{"prompt":"a \"quoted\" word"}`))
	}
	b.exec(`INSERT INTO account_identity (issuer, subject, account_id) VALUES ('https://issuer.example.com', 'ada', $1)`, w.account)
	b.exec(`INSERT INTO membership (org_id, account_id, role) VALUES ($1, $2, 'member')`, stranger.org, w.account)
	a := w.must(200, "GET", "/v1/me/export", "")
	var got struct {
		Object        string
		Account       struct{ ID, Email string }
		Identities    []map[string]any
		Sessions      []map[string]any
		Memberships   []map[string]any
		Audit         []map[string]any `json:"audit_entries"`
		Organizations []struct {
			ID          string
			Projects    []map[string]any
			Keys        []map[string]any `json:"api_keys"`
			Generations []struct{ ID, Prompt string }
		}
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Object != "account_export" || got.Account.ID != w.account || got.Account.Email != "ada@example.com" ||
		len(got.Identities) != 1 || len(got.Sessions) != 1 || len(got.Memberships) != 2 || len(got.Audit) != 2 || len(got.Organizations) != 1 {
		t.Fatalf("%.3000s", a.body)
	}
	org := got.Organizations[0]
	var ids []string
	for _, g := range org.Generations {
		if ids = append(ids, g.ID); g.Prompt != `a "quoted" word` {
			t.Errorf("prompt %q", g.Prompt)
		}
	}
	if diff := cmp.Diff(want, ids); diff != "" || org.ID != w.org || len(org.Projects) != 1 || len(org.Keys) != 1 {
		t.Errorf("generations (-want +got):\n%s", diff)
	}
	for _, secret := range []string{w.key, "hash", "argon2", "not theirs", "refresh\""} {
		if strings.Contains(a.body, secret) {
			t.Errorf("it holds %q", secret)
		}
	}
	if head := w.must(200, "HEAD", "/v1/me/export", ""); head.body != "" || head.header.Get("Content-Disposition") == "" {
		t.Errorf("%v", head.header)
	}
	empty := b.registered("eve@example.com")
	b.exec(`DELETE FROM membership WHERE account_id = $1`, empty.account)
	if a := empty.must(200, "GET", "/v1/me/export", ""); a.json["organizations"] == nil {
		t.Errorf("%s", a.body)
	}
}

// An export that can not be finished does not look like one that was.
func TestExport_BreaksOff(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	w := b.verified("ada@example.com")
	b.exec(`ALTER TABLE audit_entry RENAME TO away`)
	defer b.exec(`ALTER TABLE away RENAME TO audit_entry`)
	if a, err := b.try(t.Context(), w.access, http.MethodGet, "/v1/me/export", ""); err == nil {
		t.Errorf("it ends with %d %s", a.status, a.body)
	}
}

func TestDeleteMe(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	w, other := b.verified("ada@example.com"), b.registered("bob@example.com")
	b.submit(w.key, `{"prompt":"x"}`)
	w.want("permission_denied", "DELETE", "/v1/me", `{"password":"wrong words"}`)
	w.want("permission_denied", "DELETE", "/v1/me", `{}`)
	b.exec(`INSERT INTO membership (org_id, account_id, role) VALUES ($1, $2, 'admin'), ($3, $4, 'member')`, w.org, other.account, other.org, w.account)
	w.want("last_owner", "DELETE", "/v1/me", `{"password":"a few plain words"}`)
	b.submit(w.key, `{"prompt":"x"}`) // nothing has happened
	b.exec(`DELETE FROM membership WHERE org_id = $1 AND account_id = $2`, w.org, other.account)
	w.must(204, "DELETE", "/v1/me", `{"password":"a few plain words"}`)
	if len(w.cookies) != 0 {
		t.Errorf("cookies %v are left", w.cookies)
	}
	w.want("session_ended", "GET", "/v1/me", "")
	b.eventually("the key is refused", func() bool {
		return b.do(w.key, "GET", "/v1/generations", "").status == 401
	})
	w.want("invalid_credentials", "POST", "/v1/auth/login", credentials("ada@example.com", goodPassword))
	other.must(200, "GET", "/v1/me", "")
	b.submit(other.key, `{"prompt":"x"}`)
	if n := b.rows(`SELECT count(*) FROM river.river_job WHERE kind = 'erase_org' AND args = jsonb_build_object('org', $1::text)`, w.org); n != 1 {
		t.Errorf("%d jobs to erase the organization", n)
	}
	if n := b.rows(`SELECT count(*) FROM river.river_job WHERE kind = 'erase_org'`); n != 1 {
		t.Errorf("%d jobs to erase any", n)
	}
	for _, action := range []string{"org.delete", "account.erase"} {
		if n := b.rows(`SELECT count(*) FROM audit_entry WHERE action = $1 AND actor_id = $2`, action, w.account); n != 1 {
			t.Errorf("%d audit entries of %s", n, action)
		}
	}
	if n := b.rows(`SELECT count(*) FROM audit_entry WHERE audit_entry::text ILIKE '%ada@%'`); n != 0 {
		t.Error("the audit log remembers the address")
	}
	if a := b.do("", "POST", "/v1/auth/register", credentials("ada@example.com", goodPassword)); a.status != 201 {
		t.Errorf("registering again: %d %s", a.status, a.body)
	}
}
