package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// operators is a front door with someone who runs it.
type operators struct {
	*people
	op  person // who belongs to no organization
	key string // a master key of another organization, that administers the service
}

func setupOperators(t testing.TB) *operators {
	t.Helper()
	o := &operators{people: setupPeople(t)}
	o.op = o.person("op@example.com", "")
	_, changed, err := o.db.SetOperator(t.Context(), "OP@example.com", true)
	o.must(err)
	if !changed {
		t.Fatal("nothing changed")
	}
	org, err := o.db.CreateOrg(t.Context(), "Operations", "unlimited", nil)
	o.must(err)
	o.key, _, err = o.keys.Create(t.Context(), nil, auth.NewKey{OrgID: org.ID, Name: "op", Kind: store.KeyMaster, Operator: true})
	o.must(err)
	return o
}

// Who does not run the service is refused, whatever else they may do.
func TestOperators_Access(t *testing.T) {
	t.Parallel()
	o := setupOperators(t)
	owner, victim := o.person("owner@example.com", "owner"), o.person("victim@example.com", "").id
	other, _ := o.newProject("third")
	org := "/v1/admin/orgs/" + other.OrgID
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/v1/admin/users", ""}, {"GET", "/v1/admin/users/" + victim, ""}, {"GET", "/v1/admin/orgs", ""},
		{"GET", org, ""}, {"GET", "/v1/admin/keys", ""}, {"GET", "/v1/admin/audit_log", ""},
		{"PATCH", org, `{"plan":"unlimited"}`},
		{"POST", org + "/suspend", `{"reason":"r"}`}, {"POST", org + "/unsuspend", `{"reason":"r"}`},
		{"POST", "/v1/admin/users/" + victim + "/suspend", `{"reason":"r"}`}, {"POST", "/v1/admin/users/" + victim + "/unsuspend", `{"reason":"r"}`},
	} {
		for who, key := range map[string]string{"owner": owner.token, "master": o.master, "project": o.live} {
			o.refuses(who, key, c.method, c.path, c.body, 403, "permission_denied")
		}
		for who, key := range map[string]string{"person": o.op.token, "key": o.key} {
			if a := o.do(key, c.method, c.path, c.body); a.status != 200 {
				t.Errorf("%s: %s %s is answered %d %s", who, c.method, c.path, a.status, a.body)
			}
		}
	}
}

func TestAdminUsers(t *testing.T) {
	t.Parallel()
	o := setupOperators(t)
	ann, bob := o.person("Ann_1@example.com", "owner"), o.person("annx1@example.com", "")
	carl, err := o.db.CreateAccount(t.Context(), store.Account{Email: "carl@example.com"})
	o.must(err)
	for query, want := range map[string][]string{
		"":                             {carl.ID, bob.id, ann.id, o.op.id},
		"?email=ANN":                   {bob.id, ann.id},
		"?email=ann_":                  {ann.id}, // which stands for itself
		"?email=%25":                   {},
		"?email=nn":                    {},
		"?id=" + ann.id:                {ann.id},
		"?status=unverified":           {carl.ID},
		"?status=active&order=asc":     {o.op.id, ann.id, bob.id},
		"?operator=true":               {o.op.id},
		"?operator=false&email=carl":   {carl.ID},
		"?limit=1&after=" + carl.ID:    {bob.id},
		"?limit=2&before=" + o.op.id:   {bob.id, ann.id},
		"?status=erased&email=example": {},
	} {
		if diff := cmp.Diff(want, o.does(o.op.token, "GET", "/v1/admin/users"+query, "", 200).ids("id")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	a := o.does(o.op.token, "GET", "/v1/admin/users/"+ann.id, "", 200)
	want := map[string]any{
		"id": ann.id, "object": "account", "email": "Ann_1@example.com", "email_verified": true, "name": "Name of Ann_1@example.com",
		"operator": false, "status": "active", "created_at": a.json["created_at"], "verified_at": a.json["verified_at"],
		"suspended_at": nil, "erased_at": nil,
		"organizations": []any{map[string]any{"id": o.org, "name": "first", "role": "owner", "deleted": false}},
	}
	if diff := cmp.Diff(want, a.json); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, id := range []string{store.NewID("usr"), "usr_x", "%00", o.org} {
		o.refuses("none", o.op.token, "GET", "/v1/admin/users/"+id, "", 404, "not_found")
		o.refuses("none", o.op.token, "POST", "/v1/admin/users/"+id+"/suspend", `{"reason":"r"}`, 404, "not_found")
	}
}

// A suspended person is out at once, until that ends; then they sign in again.
func TestAdminSuspendUser(t *testing.T) {
	t.Parallel()
	o := setupOperators(t)
	ann := o.person("ann@example.com", "owner")
	path := "/v1/admin/users/" + ann.id
	o.does(ann.token, "GET", "/v1/orgs", "", 200)
	if a := o.does(o.op.token, "POST", path+"/suspend", `{"reason":" Abuse "}`, 200); a.text("status") != "suspended" {
		t.Error(a.body)
	}
	if a := o.do(ann.token, "GET", "/v1/orgs", ""); a.status != 401 && a.status != 403 {
		t.Errorf("while suspended: %d %s", a.status, a.body)
	}
	var reason string
	o.must(o.db.Pool().QueryRow(t.Context(), `SELECT ended_reason FROM session WHERE account_id = $1`, ann.id).Scan(&reason))
	if reason != store.EndSuspended {
		t.Errorf("the session ended for %q", reason)
	}
	if a := o.does(o.op.token, "POST", path+"/unsuspend", `{"reason":"Mistaken"}`, 200); a.text("status") != "active" {
		t.Error(a.body)
	}
	o.refuses("the old session", ann.token, "GET", "/v1/orgs", "", 401, "session_ended")
	o.does(o.signIn(ann.id).token, "GET", "/v1/orgs", "", 200)

	log := o.does(o.op.token, "GET", "/v1/admin/audit_log?target="+ann.id, "", 200)
	if diff := cmp.Diff([]string{"account account.unsuspend", "account account.suspend"}, log.actions()); diff != "" {
		t.Error(diff)
	}
	entry := log.json["data"].([]any)[1].(map[string]any)
	after := entry["after"].(map[string]any)
	got := []any{entry["organization_id"], entry["actor"], after["reason"], after["status"], entry["before"].(map[string]any)["status"]}
	want := []any{nil, map[string]any{"kind": "account", "id": o.op.id, "email": "op@example.com"}, "Abuse", "suspended", "active"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	o.refuses("oneself", o.op.token, "POST", "/v1/admin/users/"+o.op.id+"/suspend", `{"reason":"r"}`, 403, "permission_denied")
	for body, code := range map[string]string{`{}`: "reason required", `{"reason":" "}`: "reason required", `{"reason":"\u0000x"}`: "reason invalid"} {
		if a := o.do(o.op.token, "POST", path+"/suspend", body); a.status != 422 || strings.Join(a.faults(), ",") != code {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
}

func TestAdminOrgs(t *testing.T) {
	t.Parallel()
	o := setupOperators(t)
	ann := o.person("ann@example.com", "owner")
	list := func(query string) (names []string) {
		t.Helper()
		for _, d := range o.does(o.key, "GET", "/v1/admin/orgs"+query, "", 200).json["data"].([]any) {
			names = append(names, d.(map[string]any)["name"].(string))
		}
		return names
	}
	for query, want := range map[string][]string{
		"":                           {"Operations", "second", "first"},
		"?name=FIR":                  {"first"},
		"?name=%25":                  nil,
		"?id=" + o.org:               {"first"},
		"?plan=unlimited":            {"Operations", "second", "first"},
		"?plan=hobby":                nil,
		"?status=suspended":          nil,
		"?order=asc&limit=2":         {"first", "second"},
		"?order=asc&after=" + o.org:  {"second", "Operations"},
		"?limit=1&before=" + o.org:   {"second"},
		"?status=active&name=second": {"second"},
	} {
		if diff := cmp.Diff(want, list(query)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	a := o.does(o.key, "GET", "/v1/admin/orgs/"+o.org, "", 200)
	members := []any{map[string]any{
		"account_id": ann.id, "email": "ann@example.com", "name": "Name of ann@example.com", "role": "owner",
		"created_at": a.json["members"].([]any)[0].(map[string]any)["created_at"],
	}}
	want := map[string]any{
		"id": o.org, "object": "organization", "name": "first", "plan": "unlimited", "rate_limit": nil, "retention_days": 30.0,
		"status": "active", "created_at": a.json["created_at"], "suspended_at": nil, "deleted_at": nil, "members": members,
	}
	if diff := cmp.Diff(want, a.json); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, id := range []string{store.NewID("org"), "org_x", "%00"} {
		o.refuses("none", o.key, "GET", "/v1/admin/orgs/"+id, "", 404, "not_found")
		o.refuses("none", o.key, "PATCH", "/v1/admin/orgs/"+id, `{"plan":"pro"}`, 404, "not_found")
		o.refuses("none", o.key, "POST", "/v1/admin/orgs/"+id+"/suspend", `{"reason":"r"}`, 404, "not_found")
	}
}

func TestAdminUpdateOrg(t *testing.T) {
	t.Parallel()
	o := setupOperators(t)
	path := "/v1/admin/orgs/" + o.org
	for _, c := range []struct {
		body string
		want []any
	}{
		{`{"plan":"pro"}`, []any{"pro", nil, nil}},
		{`{"rate_limit":7,"retention_days":90}`, []any{"pro", 7.0, 90.0}},
		{`{"plan":"free"}`, []any{"free", 7.0, 30.0}},
		{`{"plan":"hobby","retention_days":5}`, []any{"hobby", 7.0, 5.0}},
		{`{"rate_limit":0,"retention_days":null,"reason":"A friend"}`, []any{"hobby", 0.0, nil}},
		{`{"rate_limit":null}`, []any{"hobby", nil, nil}},
		{`{}`, []any{"hobby", nil, nil}},
	} {
		a := o.does(o.op.token, "PATCH", path, c.body, 200)
		if diff := cmp.Diff(c.want, []any{a.json["plan"], a.json["rate_limit"], a.json["retention_days"]}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.body, diff)
		}
	}
	for body, fault := range map[string]string{
		`{"plan":"gold"}`: "plan unsupported_value", `{"plan":null}`: "plan invalid_type", `{"rate_limit":-1}`: "rate_limit out_of_range",
		`{"retention_days":0}`: "retention_days out_of_range", `{"name":"x"}`: "name unknown_parameter", `{"reason":"\u0000","plan":"pro"}`: "reason invalid",
	} {
		if a := o.do(o.op.token, "PATCH", path, body); a.status != 422 || strings.Join(a.faults(), ",") != fault {
			t.Errorf("%s: %d %v, want %s", body, a.status, a.faults(), fault)
		}
	}
	// The organization sees what was done and why, and not by whom.
	log := o.does(o.master, "GET", o.auditPath()+"?action=org.override", "", 200)
	if n := len(log.ids("id")); n != 6 {
		t.Fatalf("%d entries: %s", n, log.body)
	}
	entry := log.json["data"].([]any)[1].(map[string]any)
	got := []any{entry["actor"], entry["ip"], entry["user_agent"], entry["after"]}
	want := []any{
		map[string]any{"kind": "operator", "id": "service operator", "email": nil}, nil, nil,
		map[string]any{"plan": "hobby", "rate_limit": 0.0, "retention_days": nil, "suspended_at": nil, "reason": "A friend"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if export := o.does(o.master, "GET", o.auditPath()+"/export?format=csv", "", 200); strings.Contains(export.body, o.op.id) || strings.Contains(export.body, "op@") {
		t.Errorf("the export names the operator:\n%s", export.body)
	}
	if a := o.does(o.op.token, "GET", "/v1/admin/audit_log?actor="+o.op.id+"&org_id="+o.org, "", 200); len(a.ids("id")) != 6 {
		t.Errorf("for operators: %s", a.body)
	}
}

// The keys of a suspended organization are refused everywhere and at once. What they
// have asked for goes on.
func TestAdminSuspendOrg(t *testing.T) {
	t.Parallel()
	o := setupOperators(t)
	path := "/v1/admin/orgs/" + o.org
	owner := o.person("owner@example.com", "owner")
	id := o.submit(o.live, `{"prompt":"a banana"}`)
	for _, key := range []string{o.live, o.test} {
		o.does(key, "GET", "/v1/generations", "", 200) // it is remembered now
	}
	if a := o.does(o.op.token, "POST", path+"/suspend", `{"reason":"Unpaid"}`, 200); a.text("status") != "suspended" {
		t.Error(a.body)
	}
	for _, key := range []string{o.live, o.test, o.master} {
		o.eventually("the key is refused", func() bool {
			a := o.do(key, "GET", "/v1/orgs/"+o.org, "")
			return a.status == 403 && a.code() == "organization_suspended"
		})
	}
	o.refuses("a key", o.live, "POST", "/v1/generations", `{"prompt":"x"}`, 403, "organization_suspended")
	o.refuses("a member", owner.token, "POST", "/v1/generations", `{"prompt":"x"}`, 403, "organization_suspended")
	for _, path := range []string{"/v1/generations/" + id, "/v1/models", "/v1/keys", "/v1/projects", "/v1/orgs/" + o.org, o.auditPath()} {
		o.refuses("a member", owner.token, "GET", path, "", 403, "organization_suspended")
	}
	o.refuses("a member", owner.token, "DELETE", "/v1/generations/"+id, "", 403, "organization_suspended")
	o.refuses("a member", owner.token, "DELETE", "/v1/orgs/"+o.org, `{"name":"first"}`, 403, "organization_suspended")
	o.refuses("a member", owner.token, "DELETE", "/v1/orgs/"+o.org+"/members/"+owner.id, "", 403, "organization_suspended")
	if list := o.does(owner.token, "GET", "/v1/orgs", "", 200); list.json["data"].([]any)[0].(map[string]any)["suspended"] != true {
		t.Errorf("the list does not say so: %s", list.body)
	}
	o.does(o.other, "GET", "/v1/generations", "", 200)
	o.finish(o.claim(id), []byte("image"))

	o.does(o.op.token, "POST", path+"/unsuspend", `{"reason":"Paid"}`, 200)
	o.eventually("the key is good again", func() bool { return o.do(o.live, "GET", "/v1/generations/"+id, "").status == 200 })
	if a := o.do(o.live, "GET", "/v1/generations/"+id, ""); a.text("status") != "succeeded" {
		t.Error(a.body)
	}
	log := o.does(owner.token, "GET", o.auditPath()+"?action=org.", "", 200)
	if diff := cmp.Diff([]string{"operator org.unsuspend", "operator org.suspend"}, log.actions()); diff != "" {
		t.Error(diff)
	}
}

func TestAdminSuspendOrg_NotItsOwnKeys(t *testing.T) {
	t.Parallel()
	o := setupOperators(t)
	orgs := o.does(o.key, "GET", "/v1/admin/orgs?name=operations", "", 200)
	own := orgs.text("first_id")
	o.refuses("its own", o.key, "POST", "/v1/admin/orgs/"+own+"/suspend", `{"reason":"r"}`, 403, "permission_denied")
	o.does(o.op.token, "POST", "/v1/admin/orgs/"+own+"/suspend", `{"reason":"r"}`, 200)
	o.eventually("an operator's key is refused as well", func() bool { return o.do(o.key, "GET", "/v1/admin/orgs", "").status == http.StatusForbidden })
}

func TestAdminKeys(t *testing.T) {
	t.Parallel()
	o := setupOperators(t)
	all := o.does(o.op.token, "GET", "/v1/admin/keys?limit=100", "", 200)
	own := o.does(o.op.token, "GET", "/v1/admin/keys?org_id="+o.org, "", 200)
	if n, m := len(all.ids("id")), len(own.ids("id")); n != 5 || m != 3 {
		t.Errorf("%d keys, %d of the organization", n, m)
	}
	for _, key := range []string{o.live, o.test, o.master} {
		if strings.Contains(own.body, key) || !strings.Contains(own.body, fmt.Sprintf(`"last4":%q`, key[len(key)-4:])) {
			t.Errorf("the list: %s", own.body)
		}
	}
	next := o.does(o.op.token, "GET", "/v1/admin/keys?limit=2&org_id="+o.org+"&after="+own.ids("id")[0], "", 200)
	if diff := cmp.Diff(own.ids("id")[1:], next.ids("id")); diff != "" {
		t.Error(diff)
	}
}
