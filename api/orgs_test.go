package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

func TestOrgs(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	ada, eve := p.person("ada@example.com", "admin"), p.person("eve@example.com", "")
	made := p.does(ada.token, "POST", "/v1/orgs", `{"name":" Banana Agency "}`, 201)
	id := made.text("id")
	want := map[string]any{
		"id": id, "object": "organization", "name": "Banana Agency", "plan": "free", "role": "owner", "suspended": false,
		"retention_days": 30.0, "rate_limit": nil, "created_at": made.json["created_at"],
	}
	if diff := cmp.Diff(want, made.json); diff != "" {
		t.Error(diff)
	}
	path := made.header.Get("Location")
	if path != "/v1/orgs/"+id {
		t.Errorf("Location %s", path)
	}
	if diff := cmp.Diff(want, p.does(ada.token, "GET", path, "", 200).json); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{id, p.org}, p.does(ada.token, "GET", "/v1/orgs", "", 200).ids("id")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{p.org}, p.does(ada.token, "GET", "/v1/orgs?limit=1&order=asc", "", 200).ids("id")); diff != "" {
		t.Error(diff)
	}
	if ids := p.does(eve.token, "GET", "/v1/orgs", "", 200).ids("id"); len(ids) != 0 {
		t.Errorf("a stranger's: %v", ids)
	}
	want["name"] = "Renamed"
	if diff := cmp.Diff(want, p.does(ada.token, "PATCH", path, `{"name":"Renamed"}`, 200).json); diff != "" {
		t.Error(diff)
	}
	p.does(ada.token, "PATCH", path, `{"name":"Renamed"}`, 200) // changes nothing
	audit := []string{ada.id + " org.create " + id, ada.id + " org.update " + id}
	if diff := cmp.Diff(audit, p.audit(id)); diff != "" {
		t.Error(diff)
	}
	want["id"], want["name"], want["role"], want["created_at"], want["plan"] = p.org, "first", nil, nil, "unlimited"
	got := p.does(p.master, "GET", "/v1/orgs/"+p.org, "", 200).json
	got["created_at"] = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	p.refuses("a stranger", eve.token, "GET", path, "", 404, "not_found")
	p.refuses("a stranger", eve.token, "PATCH", path, `{"name":"x"}`, 404, "not_found")
	p.refuses("another's master key", p.master, "GET", path, "", 404, "not_found")
	p.refuses("a project's key", p.live, "GET", "/v1/orgs/"+p.org, "", 403, "permission_denied")
	p.refuses("a master key", p.master, "POST", "/v1/orgs", `{"name":"x"}`, 403, "permission_denied")
	p.refuses("nobody", "", "GET", "/v1/orgs", "", 401, "missing_api_key")
	p.refuses("a bad cursor", ada.token, "GET", "/v1/orgs?after=usr_1", "", 400, "invalid_cursor")
	for _, name := range []string{``, `  `, `a\nb`, `a\u202eb`, strings.Repeat("x", 101)} {
		p.refuses("a bad name", ada.token, "POST", "/v1/orgs", `{"name":"`+name+`"}`, 422, "validation_failed")
	}
}

func TestCreateOrg_LimitAndIdempotency(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	ada, bob := p.person("ada@example.com", ""), p.person("bob@example.com", "")
	first := p.does(ada.token, "POST", "/v1/orgs", `{"name":"one"}`, 201, "Idempotency-Key: k")
	again := p.does(ada.token, "POST", "/v1/orgs", `{"name":"one"}`, 201, "Idempotency-Key: k")
	if again.header.Get("Idempotent-Replayed") != "true" || !cmp.Equal(first.json, again.json) {
		t.Errorf("the replay: %s", again.body)
	}
	if a := p.do(ada.token, "POST", "/v1/orgs", `{"name":"two"}`, "Idempotency-Key: k"); a.code() != "idempotency_key_reused" {
		t.Errorf("the key for another name: %d %s", a.status, a.body)
	}
	other := p.does(bob.token, "POST", "/v1/orgs", `{"name":"one"}`, 201, "Idempotency-Key: k")
	if other.text("id") == first.text("id") {
		t.Error("another account's key is the same")
	}
	for i := range store.MaxOwnedOrgs - 1 {
		p.does(ada.token, "POST", "/v1/orgs", fmt.Sprintf(`{"name":"more %d"}`, i), 201)
	}
	p.refuses("one too many", ada.token, "POST", "/v1/orgs", `{"name":"x"}`, 409, "limit_reached")
}

func TestDeleteOrg(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	ada, bob := p.person("ada@example.com", "owner"), p.person("bob@example.com", "admin")
	path := "/v1/orgs/" + p.org
	p.refuses("an admin", bob.token, "DELETE", path, `{"name":"first"}`, 403, "permission_denied")
	p.refuses("a master key", p.master, "DELETE", path, `{"name":"first"}`, 403, "permission_denied")
	p.refuses("another name", ada.token, "DELETE", path, `{"name":"second"}`, 422, "validation_failed")
	p.refuses("no name", ada.token, "DELETE", path, ``, 400, "invalid_json")
	p.does(p.live, "GET", "/v1/models", "", 200)
	p.does(ada.token, "DELETE", path, `{"name":"first"}`, 202)
	for _, token := range []string{ada.token, bob.token} {
		p.refuses("once it is deleted", token, "GET", path, "", 404, "not_found")
	}
	p.eventually("its keys are refused", func() bool {
		return p.do(p.live, "GET", "/v1/models", "").status == 401 && p.do(p.master, "GET", path, "").status == 401
	})
	audit := []string{ada.id + " org.delete " + p.org}
	for _, key := range p.strings(`SELECT id FROM api_key WHERE org_id = $1 ORDER BY id`, p.org) {
		audit = append(audit, ada.id+" key.revoke "+key)
	}
	if diff := cmp.Diff(audit, p.audit(p.org)); diff != "" || len(audit) < 3 {
		t.Error(audit, diff)
	}
	var queued int
	p.must(p.db.Pool().QueryRow(t.Context(), `SELECT count(*) FROM river.river_job WHERE kind = 'erase_org' AND args->>'org' = $1`, p.org).Scan(&queued))
	if queued != 1 {
		t.Errorf("%d erasures are queued", queued)
	}
}
