package api_test

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// actions are "actor action" of a list of audit entries.
func (a *answer) actions() []string {
	list := []string{}
	data, _ := a.json["data"].([]any)
	for _, d := range data {
		entry := d.(map[string]any)
		list = append(list, entry["actor"].(map[string]any)["kind"].(string)+" "+entry["action"].(string))
	}
	return list
}

func (p *people) auditPath() string { return "/v1/orgs/" + p.org + "/audit_log" }

func TestListAuditLog(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	owner := p.person("owner@example.com", "owner")
	before := p.does(owner.token, "PATCH", "/v1/orgs/"+p.org, `{"name":"Renamed"}`, 200, "User-Agent: browser")
	a := p.does(owner.token, "GET", p.auditPath(), "", 200)
	entry := a.json["data"].([]any)[0].(map[string]any)
	want := map[string]any{
		"id": entry["id"], "object": "audit_entry", "at": entry["at"], "organization_id": p.org, "project_id": nil,
		"actor": map[string]any{"kind": "account", "id": owner.id, "email": "owner@example.com"},
		"ip":    "127.0.0.1", "user_agent": "browser", "request_id": before.header.Get("X-Request-Id"),
		"action": "org.update", "target": map[string]any{"kind": "organization", "id": p.org},
		"before": entry["before"], "after": entry["after"],
	}
	if diff := cmp.Diff(want, entry); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	names := []any{entry["before"].(map[string]any)["name"], entry["after"].(map[string]any)["name"]}
	if diff := cmp.Diff([]any{"first", "Renamed"}, names); diff != "" || a.json["first_id"] != entry["id"] || a.json["has_more"] != false {
		t.Errorf("%s\n%s", diff, a.body)
	}
	p.exec(`UPDATE account SET erased_at = now() WHERE id = $1`, owner.id)
	a = p.does(p.master, "GET", p.auditPath(), "", 200)
	if actor := a.json["data"].([]any)[0].(map[string]any)["actor"].(map[string]any); actor["email"] != nil || actor["id"] != owner.id {
		t.Errorf("erased: %v", actor)
	}
}

// Owners and master keys read the log of their own organization, and nobody else.
func TestListAuditLog_Access(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	for _, role := range []string{"admin", "member", "billing", "read_only"} {
		p.refuses(role, p.person(role+"@example.com", role).token, "GET", p.auditPath(), "", 403, "permission_denied")
	}
	stranger := p.person("stranger@example.com", "").token
	for _, path := range []string{p.auditPath(), p.auditPath() + "/export"} {
		p.refuses("stranger", stranger, "GET", path, "", 404, "not_found")
		p.refuses("project key", p.live, "GET", path, "", 403, "permission_denied")
		p.refuses("nobody", "", "GET", path, "", 401, "missing_api_key")
		p.does(p.master, "GET", path, "", 200)
	}
	for key, want := range map[string]int{p.master: 403, p.live: 403, stranger: 403, "": 401} {
		if a := p.do(key, "GET", "/v1/admin/audit_log", ""); a.status != want {
			t.Errorf("the operators' log: status %d, want %d", a.status, want)
		}
	}
}

// logs writes n entries with a user agent.
func (p *people) logs(n int, agent string) {
	p.Helper()
	for i := range n {
		p.must(p.db.RecordAudit(p.Context(), store.AuditEntry{
			OrgID: &p.org, ActorKind: store.ActorKey, ActorID: "key_1", IP: "192.0.2.1", UserAgent: agent, RequestID: "-",
			Action: "key.update", TargetKind: "key", TargetID: fmt.Sprint("key_", i), After: []byte(`{"n": 1}`),
		}))
	}
}

func TestListAuditLog_Pages(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	p.logs(5, "test")
	var got []string
	for query := "?limit=2"; ; {
		a := p.does(p.master, "GET", p.auditPath()+query, "", 200)
		for _, d := range a.json["data"].([]any) {
			got = append(got, d.(map[string]any)["target"].(map[string]any)["id"].(string))
		}
		if a.json["has_more"] == false {
			break
		}
		query = "?limit=2&after=" + a.text("next_cursor")
	}
	if diff := cmp.Diff([]string{"key_4", "key_3", "key_2", "key_1", "key_0"}, got); diff != "" {
		t.Error(diff)
	}
	for query, want := range map[string]int{
		"action=key.": 5, "action=org": 0, "actor=key_1": 5, "actor=key_2": 0, "target=key_2": 1,
		"created_after=2020-01-01T00:00:00Z": 5, "created_before=2020-01-01T00:00:00Z": 0, "order=asc&limit=3": 3,
	} {
		if n := len(p.does(p.master, "GET", p.auditPath()+"?"+query, "", 200).ids("id")); n != want {
			t.Errorf("%s: %d entries, want %d", query, n, want)
		}
	}
	for query, code := range map[string]string{
		"after=x": "invalid_cursor", "after=" + store.NewID("aud"): "invalid_cursor", "before=" + store.NewID("aud"): "invalid_cursor",
		"limit=101": "validation_failed", "org_id=x": "validation_failed", "created_after=then": "validation_failed",
	} {
		if a := p.do(p.master, "GET", p.auditPath()+"?"+query, ""); a.code() != code {
			t.Errorf("%s: %d %s, want %s", query, a.status, a.body, code)
		}
	}
}

// export reads an export to its end.
func (p *people) export(query string) (*http.Response, string, error) {
	p.Helper()
	req, err := http.NewRequestWithContext(p.Context(), http.MethodGet, p.url+p.auditPath()+"/export"+query, nil)
	p.must(err)
	req.Header.Set("Authorization", "Bearer "+p.master)
	resp, err := http.DefaultClient.Do(req)
	p.must(err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}

func TestExportAuditLog(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	const n = 450 // three pages
	p.logs(n-1, "test")
	p.logs(1, `=HYPERLINK("http://evil")`)
	resp, lines, err := p.export("")
	p.must(err)
	if got := resp.Header.Get("Content-Type") + resp.Header.Get("Content-Disposition"); got != `application/jsonlattachment; filename="audit_log_`+p.org+`.jsonl"` {
		t.Errorf("headers %q", got)
	}
	var ids []string
	for s := bufio.NewScanner(strings.NewReader(lines)); s.Scan(); {
		var e struct {
			ID     string
			Target struct{ ID string }
		}
		p.must(json.Unmarshal(s.Bytes(), &e))
		ids = append(ids, e.ID)
	}
	first := p.does(p.master, "GET", p.auditPath()+"?order=asc&limit=1", "", 200)
	if len(ids) != n || ids[0] != first.text("first_id") {
		t.Errorf("%d lines, the first %s", len(ids), ids[0])
	}
	table, err := csv.NewReader(strings.NewReader(p.does(p.master, "GET", p.auditPath()+"/export?format=csv", "", 200).body)).ReadAll()
	p.must(err)
	var column []string
	for _, row := range table[1:] {
		column = append(column, row[0])
	}
	if diff := cmp.Diff(ids, column); diff != "" {
		t.Error(diff)
	}
	want := []string{"192.0.2.1", `'=HYPERLINK("http://evil")`, "", "key.update", "key", "key_0", "", `{"n": 1}`}
	if diff := cmp.Diff(want, table[n][7:]); diff != "" || table[0][7] != "ip" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, lines, err := p.export("?target=key_9"); strings.Count(lines, "\n") != 1 || err != nil {
		t.Errorf("filtered: %v\n%s", err, lines)
	}
	if a := p.does(p.master, "HEAD", p.auditPath()+"/export", "", 200); a.body != "" || a.header.Get("Content-Type") != "application/jsonl" {
		t.Errorf("HEAD: %v", a.header)
	}
	p.refuses("form", p.master, "GET", p.auditPath()+"/export?format=xml", "", 422, "validation_failed")
}

// spoiler takes a table away from the answer whose first bytes it sees.
type spoiler struct {
	*httptest.ResponseRecorder
	spoil func()
}

func (s *spoiler) Write(p []byte) (int, error) {
	s.spoil()
	return s.ResponseRecorder.Write(p)
}

// An export that can not be completed is broken off, so that it does not look as if it
// were complete.
func TestExportAuditLog_BreaksOff(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	p.logs(450, "test")
	answer := &spoiler{httptest.NewRecorder(), sync.OnceFunc(func() { p.exec(`ALTER TABLE audit_entry RENAME COLUMN action TO act`) })}
	t.Cleanup(p.db.Close) // nobody else gets this database
	req := httptest.NewRequest(http.MethodGet, p.auditPath()+"/export", nil)
	req.Header.Set("Authorization", "Bearer "+p.master)
	defer func() {
		if cause, _ := recover().(error); !errors.Is(cause, http.ErrAbortHandler) {
			t.Errorf("it ends with %v", cause)
		}
		if n := strings.Count(answer.Body.String(), "\n"); n != 200 {
			t.Errorf("%d lines were sent", n)
		}
	}()
	p.handler.ServeHTTP(answer, req)
}

// A name that is another's query is only a value.
func TestListAuditLog_FiltersAreValues(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	p.logs(1, "test")
	for _, value := range []string{"%", "_", "' OR true --", "key_%"} {
		for _, name := range []string{"action", "actor", "target"} {
			if ids := p.does(p.master, "GET", p.auditPath()+"?"+name+"="+url.QueryEscape(value), "", 200).ids("id"); len(ids) != 0 {
				t.Errorf("%s=%s finds %v", name, value, ids)
			}
		}
	}
}
