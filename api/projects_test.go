package api_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

const projectBody = `{"name":"Client A","retention_days":7,"webhook_url":"https://example.com/a","rate_limit":50}`

// ends are what a webhook is told unless it is said.
func ends() []any {
	return []any{"generation.succeeded", "generation.failed", "generation.canceled", "generation.expired"}
}

func TestProjects(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	ada, bob, eve := p.person("ada@example.com", "admin"), p.person("bob@example.com", "member"), p.person("eve@example.com", "")
	made := p.does(ada.token, "POST", "/v1/projects", projectBody, 201)
	id, path := made.text("id"), made.header.Get("Location")
	want := map[string]any{
		"id": id, "object": "project", "organization_id": p.org, "name": "Client A", "slug": "client-a", "retention_days": 7.0,
		"webhook_url": "https://example.com/a", "webhook_events": ends(), "rate_limit": 50.0, "archived_at": nil,
		"created_at": made.json["created_at"],
	}
	if diff := cmp.Diff(want, made.json); diff != "" {
		t.Error(diff)
	}
	for _, who := range []string{ada.token, bob.token, p.master} {
		if diff := cmp.Diff(want, p.does(who, "GET", path, "", 200).json); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{id, p.project.ID}, p.does(who, "GET", "/v1/projects", "", 200).ids("id")); diff != "" {
			t.Error(diff)
		}
	}
	p.refuses("a stranger", eve.token, "GET", path, "", 400, "organization_required")
	p.refuses("a member", bob.token, "PATCH", path, `{"name":"x"}`, 403, "permission_denied")
	p.refuses("a member", bob.token, "POST", "/v1/projects", projectBody, 403, "permission_denied")
	p.refuses("a project's key", p.live, "GET", path, "", 403, "permission_denied")
	p.refuses("the same slug", p.master, "POST", "/v1/projects", `{"name":"x","slug":"client-a"}`, 409, "already_exists")
	p.refuses("no id", p.master, "GET", "/v1/projects/x", "", 404, "not_found")
	if slug := p.does(p.master, "POST", "/v1/projects", `{"name":"Client A"}`, 201).text("slug"); slug != "client-a-2" {
		t.Errorf("the next of this name is %s", slug)
	}
	// Another organization's, whoever asks.
	other := p.does(eve.token, "POST", "/v1/orgs", `{"name":"other"}`, 201).text("id")
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		body := map[string]string{"PATCH": `{"name":"x"}`}[method]
		p.refuses("another's", eve.token, method, path, body, 404, "not_found")
		if a := p.do(eve.token, method, path, body, "NanoBanana-Organization: "+p.org); a.status != 404 {
			t.Errorf("in another's name: %d %s", a.status, a.body)
		}
	}
	if diff := cmp.Diff([]string{}, p.does(eve.token, "GET", "/v1/projects", "", 200, "NanoBanana-Organization: "+other).ids("id")); diff != "" {
		t.Error(diff)
	}
}

func TestUpdateProject(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	ada := p.person("ada@example.com", "owner")
	made := p.does(ada.token, "POST", "/v1/projects", projectBody, 201)
	path := made.header.Get("Location")
	for _, step := range []struct {
		body string
		want map[string]any
	}{
		{`{}`, nil},
		{`{"name":"B","slug":"bee"}`, map[string]any{"name": "B", "slug": "bee"}},
		{`{"webhook_events":["generation.*"]}`, map[string]any{"webhook_events": []any{"generation.*"}}},
		{`{"webhook_url":"https://example.com/b"}`, map[string]any{"webhook_url": "https://example.com/b"}},
		{`{"webhook_events":null}`, map[string]any{"webhook_events": ends()}},
		{`{"retention_days":null,"rate_limit":null}`, map[string]any{"retention_days": nil, "rate_limit": nil}},
		{`{"retention_days":30,"rate_limit":1}`, map[string]any{"retention_days": 30.0, "rate_limit": 1.0}},
		{`{"webhook_url":null}`, map[string]any{"webhook_url": nil, "webhook_events": []any{}}},
		{`{"webhook_url":"https://example.com/c","webhook_events":["*"]}`, map[string]any{"webhook_url": "https://example.com/c", "webhook_events": []any{"*"}}},
	} {
		want := made.json
		for name, value := range step.want {
			want[name] = value
		}
		if diff := cmp.Diff(want, p.does(ada.token, "PATCH", path, step.body, 200).json); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.body, diff)
		}
	}
	for body, want := range map[string][]string{
		`{"name":null}`:                                {"name invalid_type"},
		`{"slug":null}`:                                {"slug invalid_type"},
		`{"slug":"-a"}`:                                {"slug invalid"},
		`{"slug":"Banana"}`:                            {"slug invalid"},
		`{"slug":"ab"}`:                                {"slug invalid"},
		`{"retention_days":31}`:                        {"retention_days out_of_range"},
		`{"retention_days":0}`:                         {"retention_days out_of_range"},
		`{"retention_days":1.0}`:                       {"retention_days invalid_type"},
		`{"retention_days":"7"}`:                       {"retention_days invalid_type"},
		`{"rate_limit":0}`:                             {"rate_limit out_of_range"},
		`{"webhook_url":"http://10.0.0.1/"}`:           {"webhook_url webhook_url_forbidden"},
		`{"webhook_url":7}`:                            {"webhook_url invalid_type"},
		`{"webhook_events":[]}`:                        {"webhook_events unsupported_value"},
		`{"webhook_events":["test.ping"]}`:             {"webhook_events unsupported_value"},
		`{"webhook_url":null,"webhook_events":["*"]}`:  {"webhook_events conflict"},
		`{"archived":true}`:                            {"archived unknown_parameter"},
		`{"slug":"-","webhook_url":"https://[::1]/x"}`: {"slug invalid", "webhook_url webhook_url_forbidden"},
	} {
		if a := p.do(ada.token, "PATCH", path, body); a.status != 422 || !cmp.Equal(want, a.faults()) {
			t.Errorf("%s: %d %v, want %v", body, a.status, a.faults(), want)
		}
	}
	// Every process learns what binds the project's keys.
	own := "/v1/projects/" + p.project.ID
	for _, limit := range []int{7, 8} {
		p.does(ada.token, "PATCH", own, fmt.Sprintf(`{"rate_limit":%d}`, limit), 200)
		p.eventually("the limit is known", func() bool {
			caller, err := p.keys.Authenticate(t.Context(), p.live)
			p.must(err)
			return caller.Limits.ProjectRate != nil && *caller.Limits.ProjectRate == limit
		})
	}
	p.refuses("another's slug", ada.token, "PATCH", path, `{"slug":"first"}`, 409, "already_exists")
	// What a plan has come to forbid is not in the way of other changes.
	p.exec(`UPDATE org SET retention_days = 5`)
	p.does(ada.token, "PATCH", path, `{"name":"C"}`, 200)
}

func TestCreateProject_LimitsAndIdempotency(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	first := p.does(p.master, "POST", "/v1/projects", projectBody, 201, "Idempotency-Key: k")
	again := p.does(p.master, "POST", "/v1/projects", projectBody, 201, "Idempotency-Key: k")
	if again.header.Get("Idempotent-Replayed") != "true" || !cmp.Equal(first.json, again.json) {
		t.Errorf("the replay: %s", again.body)
	}
	for _, body := range []string{`{"name":"Client A"}`, `{"name":"Client A","slug":"a-b"}`} {
		if a := p.do(p.master, "POST", "/v1/projects", body, "Idempotency-Key: k"); a.code() != "idempotency_key_reused" {
			t.Errorf("the key for %s: %d %s", body, a.status, a.body)
		}
	}
	p.refuses("longer than the plan", p.master, "POST", "/v1/projects", `{"name":"x","retention_days":31}`, 422, "validation_failed")
	p.refuses("events alone", p.master, "POST", "/v1/projects", `{"name":"x","webhook_events":["*"]}`, 422, "validation_failed")
	p.refuses("no name", p.master, "POST", "/v1/projects", `{}`, 422, "validation_failed")
	p.exec(`UPDATE org SET suspended_at = now()`)
	ada := p.person("ada@example.com", "owner")
	p.refuses("of a suspended organization", ada.token, "POST", "/v1/projects", `{"name":"x"}`, 403, "organization_suspended")
	p.exec(`UPDATE org SET suspended_at = NULL`)
	p.exec(`INSERT INTO project (id, org_id, name) SELECT 'proj_' || i, $1, i FROM generate_series(1, $2::int) AS i`, p.org, store.MaxProjects-2)
	p.refuses("one too many", ada.token, "POST", "/v1/projects", `{"name":"x"}`, 409, "limit_reached")
}

func TestArchiveProject(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	ada := p.person("ada@example.com", "admin")
	path := "/v1/projects/" + p.project.ID
	endpoint := p.does(p.live, "POST", "/v1/webhook_endpoints", `{"url":"https://example.com/hook"}`, 201).text("id")
	p.does(ada.token, "PATCH", path, `{"webhook_url":"https://example.com/usual"}`, 200)
	live := p.submit(p.live, `{"prompt":"x"}`)
	archived := p.does(ada.token, "DELETE", path, "", 200)
	if archived.json["archived_at"] == nil || archived.json["webhook_url"] != nil {
		t.Errorf("archived: %s", archived.body)
	}
	if diff := cmp.Diff(archived.json, p.does(ada.token, "DELETE", path, "", 200).json); diff != "" {
		t.Errorf("twice: %s", diff)
	}
	for _, key := range []string{p.live, p.test} {
		p.eventually("its keys are refused", func() bool {
			return p.do(key, "POST", "/v1/generations", `{"prompt":"x"}`).code() == "key_revoked"
		})
	}
	p.refuses("a person submits", ada.token, "POST", "/v1/generations", `{"prompt":"x"}`, 400, "project_required")
	p.refuses("it is changed", ada.token, "PATCH", path, `{"name":"x"}`, 409, "project_archived")
	p.does(ada.token, "GET", path, "", 200)
	if ids := p.does(ada.token, "GET", "/v1/projects", "", 200).ids("id"); len(ids) != 0 {
		t.Errorf("listed: %v", ids)
	}
	if diff := cmp.Diff([]string{p.project.ID}, p.does(ada.token, "GET", "/v1/projects?archived=true", "", 200).ids("id")); diff != "" {
		t.Error(diff)
	}
	var reason string
	p.must(p.db.Pool().QueryRow(t.Context(), `SELECT disabled_reason FROM webhook_endpoint WHERE id = $1`, endpoint).Scan(&reason))
	if reason != "asked" {
		t.Errorf("the endpoint is disabled since %s", reason)
	}
	p.finish(p.claim(live), []byte("image")) // what was accepted goes on
	audit := []string{ada.id + " project.update " + p.project.ID, ada.id + " project.archive " + p.project.ID}
	for _, key := range p.strings(`SELECT id FROM api_key WHERE project_id = $1 ORDER BY id`, p.project.ID) {
		audit = append(audit, ada.id+" key.revoke "+key)
	}
	if diff := cmp.Diff(audit, p.audit(p.org)[1:]); diff != "" { // the first made the endpoint
		t.Error(diff)
	}
}

// A generation that names no webhook has its project's, and images are kept as long as
// the project says.
func TestProjectDefaults(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	p.does(p.master, "PATCH", "/v1/projects/"+p.project.ID, `{"retention_days":3,"webhook_url":"https://example.com/usual"}`, 200)
	for body, want := range map[string]string{
		`{"prompt":"x"}`: "https://example.com/usual",
		`{"prompt":"x","webhook_url":"https://example.com/own"}`: "https://example.com/own",
	} {
		a := p.does(p.live, "POST", "/v1/generations", body, 202)
		if got := a.json["webhook"].(map[string]any)["url"]; got != want {
			t.Errorf("%s: answered with %v, want %s", body, got, want)
		}
		got := p.does(p.live, "GET", "/v1/generations/"+a.text("id"), "", 200)
		if url := got.json["webhook"].(map[string]any)["url"]; url != want {
			t.Errorf("%s: kept with %v, want %s", body, url, want)
		}
	}
	p.done(p.live, `{"prompt":"x"}`, []byte("image"))
	var days int
	p.must(p.db.Pool().QueryRow(t.Context(), `SELECT extract(day FROM expires_at - created_at)::int FROM image`).Scan(&days))
	if days != 3 {
		t.Errorf("the image is kept for %d days", days)
	}
}

func TestOwnProject(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	ada, bob := p.person("ada@example.com", "read_only"), p.person("bob@example.com", "billing")
	for key, test := range map[string]bool{p.live: false, p.test: true, ada.token: false} {
		want := map[string]any{
			"id": p.project.ID, "object": "project", "organization_id": p.org, "name": "first", "slug": "first", "plan": "unlimited",
			"test": test, "retention_days": 30.0, "rate_limit": nil,
		}
		if diff := cmp.Diff(want, p.does(key, "GET", "/v1/project", "", 200).json); diff != "" {
			t.Error(diff)
		}
	}
	for project, days := range map[string]float64{`7`: 7, `365`: 30, `NULL`: 30} {
		p.exec(fmt.Sprintf(`UPDATE project SET rate_limit = 9, retention_days = %s`, project))
		got := p.does(p.live, "GET", "/v1/project", "", 200)
		if diff := cmp.Diff([]any{days, 9.0}, []any{got.json["retention_days"], got.json["rate_limit"]}); diff != "" {
			t.Errorf("%s: %s", project, diff)
		}
	}
	p.refuses("a master key", p.master, "GET", "/v1/project", "", 403, "permission_denied")
	p.refuses("billing", bob.token, "GET", "/v1/project", "", 403, "permission_denied")
}
