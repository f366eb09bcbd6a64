package api_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// master makes a master key of the organization that a project is of.
func (b *bundle) master(project *store.Project) string {
	b.Helper()
	key, _, err := b.keys.Create(b.Context(), nil, auth.NewKey{OrgID: project.OrgID, Name: "master", Kind: store.KeyMaster})
	b.must(err)
	return key
}

// createKey makes a key over HTTP and returns the answer's body.
func (b *bundle) createKey(key, body string, headers ...string) map[string]any {
	b.Helper()
	a := b.do(key, "POST", "/v1/keys", body, headers...)
	if a.status != 201 {
		b.Fatalf("create key: status %d, %s", a.status, a.body)
	}
	return a.json
}

func TestCreateKey(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	master := b.master(b.project)
	began := time.Now()
	a := b.do(master, "POST", "/v1/keys", `{"name":" Web shop ","scopes":["generations:*","models:read"],"ip_allowlist":["127.0.0.1","2001:db8::/32"],"monthly_limit":100,"rate_limit":10}`)
	got := a.json
	if a.status != 201 || a.header.Get("Location") != fmt.Sprint("/v1/keys/", got["id"]) || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("status %d, %v, %s", a.status, a.header, a.body)
	}
	secret, _ := got["key"].(string)
	expires, err := time.Parse(time.RFC3339, got["expires_at"].(string))
	if days := expires.Sub(began).Hours() / 24; err != nil || days < 89.99 || days > 90.01 {
		t.Errorf("it expires in %f days, %v, want 90", days, err)
	}
	want := map[string]any{
		"id": got["id"], "object": "api_key", "name": "Web shop", "kind": "live", "organization_id": b.project.OrgID, "project_id": b.project.ID,
		"prefix": "nb_live_", "last4": secret[max(0, len(secret)-4):], "scopes": []any{"generations:*", "models:read"},
		"ip_allowlist": []any{"127.0.0.1", "2001:db8::/32"}, "monthly_limit": 100.0, "rate_limit": 10.0, "expires_at": got["expires_at"],
		"revoked_at": nil, "last_used_at": nil, "created_at": got["created_at"], "created_by": b.keyID(master), "replaced_by": nil, "key": secret,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	delete(want, "key")
	if diff := cmp.Diff(want, b.do(master, "GET", a.header.Get("Location"), "").json); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	for path, status := range map[string]int{"/v1/models": 200, "/v1/generations": 200, "/v1/events": 403} {
		if a := b.do(secret, "GET", path, ""); a.status != status {
			t.Errorf("the key gets %d from %s, want %d", a.status, path, status)
		}
	}
	for name, c := range map[string]struct{ body, kind, project string }{
		"Test":  {`{"name":"k","kind":"test","expires_at":null}`, "test", b.project.ID},
		"Named": {`{"name":"k","project_id":"` + b.project.ID + `","expires_at":null}`, "live", b.project.ID},
	} {
		got := b.createKey(master, c.body)
		if diff := cmp.Diff([]any{c.kind, c.project, nil, []any{"*"}}, []any{got["kind"], got["project_id"], got["expires_at"], got["scopes"]}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// keyID is the id of a key.
func (b *bundle) keyID(key string) string {
	b.Helper()
	caller, err := b.keys.Authenticate(b.Context(), key)
	b.must(err)
	return caller.KeyID
}

func TestCreateKey_Refuses(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	master := b.master(b.project)
	_, err := b.db.CreateProject(t.Context(), b.project.OrgID, "another")
	b.must(err)
	in := `"project_id":"` + b.project.ID + `"`
	stranger := `"project_id":"` + b.doCaller(b.other).ProjectID + `"`
	for name, c := range map[string]struct {
		key, body string
		status    int
		code      string
		faults    []string
	}{
		"Nobody":        {"", `{"name":"k"}`, 401, "missing_api_key", nil},
		"ProjectKey":    {b.live, `{"name":"k",` + in + `}`, 403, "permission_denied", nil},
		"Master":        {master, `{"name":"k","kind":"master"}`, 403, "permission_denied", nil},
		"WhichProject":  {master, `{"name":"k"}`, 400, "project_required", nil},
		"OtherProject":  {master, `{"name":"k",` + stranger + `}`, 404, "not_found", nil},
		"NoName":        {master, `{` + in + `}`, 422, "validation_failed", []string{"name required"}},
		"Blank":         {master, `{"name":" ",` + in + `}`, 422, "validation_failed", []string{"name required"}},
		"TwoLines":      {master, `{"name":"a\nb",` + in + `}`, 422, "validation_failed", []string{"name invalid"}},
		"Kind":          {master, `{"name":"k","kind":"root"}`, 422, "validation_failed", []string{"kind unsupported_value"}},
		"NoScopes":      {master, `{"name":"k","scopes":[],` + in + `}`, 422, "validation_failed", []string{"scopes required"}},
		"Scope":         {master, `{"name":"k","scopes":["models:read","keys:write"],` + in + `}`, 422, "validation_failed", []string{"scopes.1 unsupported_value"}},
		"ManyScopes":    {master, `{"name":"k","scopes":["*"` + strings.Repeat(`,"*"`, 50) + `],` + in + `}`, 422, "validation_failed", []string{"scopes too_long"}},
		"Address":       {master, `{"name":"k","ip_allowlist":["10.0.0.1","10.0.0.300","fe80::1%eth0","10.0.0.0/33"],` + in + `}`, 422, "validation_failed", []string{"ip_allowlist.1 invalid", "ip_allowlist.2 invalid", "ip_allowlist.3 invalid"}},
		"NoAddress":     {master, `{"name":"k","ip_allowlist":[],` + in + `}`, 422, "validation_failed", []string{"ip_allowlist required"}},
		"ManyAddresses": {master, `{"name":"k","ip_allowlist":["::1"` + strings.Repeat(`,"::1"`, 50) + `],` + in + `}`, 422, "validation_failed", []string{"ip_allowlist too_long"}},
		"Monthly":       {master, `{"name":"k","monthly_limit":0,` + in + `}`, 422, "validation_failed", []string{"monthly_limit out_of_range"}},
		"Rate":          {master, `{"name":"k","rate_limit":1.5,` + in + `}`, 422, "validation_failed", []string{"rate_limit invalid_type"}},
		"Past":          {master, `{"name":"k","expires_at":"2020-01-01T00:00:00Z",` + in + `}`, 422, "validation_failed", []string{"expires_at out_of_range"}},
		"Never":         {master, `{"name":"k","expires_at":"9999-01-01T00:00:00Z",` + in + `}`, 422, "validation_failed", []string{"expires_at out_of_range"}},
		"Time":          {master, `{"name":"k","expires_at":"soon",` + in + `}`, 422, "validation_failed", []string{"expires_at invalid_type"}},
		"MasterScopes": {master, `{"name":"k","kind":"master","scopes":["*"],"monthly_limit":1,"rate_limit":1,` + in + `}`, 422, "validation_failed",
			[]string{"monthly_limit conflict", "project_id conflict", "rate_limit conflict", "scopes conflict"}},
		"Operator": {master, `{"name":"k","operator":true,` + in + `}`, 422, "validation_failed", []string{"operator unknown_parameter"}},
	} {
		a := b.do(c.key, "POST", "/v1/keys", c.body)
		if diff := cmp.Diff([]any{c.status, c.code, c.faults}, []any{a.status, a.code(), a.faults()}); diff != "" {
			t.Errorf("%s (-want +got):\n%s\n%s", name, diff, a.body)
		}
	}
	if n := len(b.do(master, "GET", "/v1/keys?limit=100", "").json["data"].([]any)); n != 3 {
		t.Errorf("%d keys, want the 3 from before", n)
	}
}

// doCaller is whom a key speaks for.
func (b *bundle) doCaller(key string) *auth.Caller {
	b.Helper()
	caller, err := b.keys.Authenticate(b.Context(), key)
	b.must(err)
	return caller
}

// A key is told once: who repeats a request gets it without, and nothing is made twice.
func TestCreateKey_Idempotency(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	master := b.master(b.project)
	const header, body = "Idempotency-Key: k1", `{"name":"k","scopes":["*"]}`
	first := b.createKey(master, body, header)
	again := b.do(master, "POST", "/v1/keys", body, header)
	if again.status != 201 || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("a replay: status %d, %v", again.status, again.header)
	}
	delete(first, "key")
	if diff := cmp.Diff(first, again.json); diff != "" {
		t.Errorf("a replay (-want +got):\n%s", diff)
	}
	if a := b.do(master, "POST", "/v1/keys", `{"name":"other"}`, header); a.code() != "idempotency_key_reused" {
		t.Errorf("another request: %d %s", a.status, a.body)
	}
	path := fmt.Sprint("/v1/keys/", first["id"], "/rotate")
	rotated := b.do(master, "POST", path, `{"grace_seconds":60}`, header)
	twice := b.do(master, "POST", path, `{"grace_seconds":60}`, header)
	if rotated.status != 201 || twice.status != 201 || rotated.json["key"] == nil || twice.json["key"] != nil || rotated.json["id"] != twice.json["id"] {
		t.Errorf("rotation and its replay: %s\n%s", rotated.body, twice.body)
	}
	if a := b.do(b.master(b.doProject(b.other)), "POST", "/v1/keys", body, header); a.status != 201 || a.json["key"] == nil {
		t.Errorf("another organization: %d %s", a.status, a.body)
	}
}

func (b *bundle) doProject(key string) *store.Project {
	c := b.doCaller(key)
	return &store.Project{ID: c.ProjectID, OrgID: c.OrgID}
}

func TestCreateKey_Limit(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	master := b.master(b.project)
	b.exec(`
		INSERT INTO api_key (id, org_id, project_id, name, kind, hash, pepper_version, last4, revoked_at)
		SELECT 'key_' || n, $1, $2, 'k', 'live', n::text::bytea, 0, '', CASE WHEN n > 497 THEN now() END FROM generate_series(1, 600) AS n`,
		b.project.OrgID, b.project.ID)
	// With the three of setup and master, 500 live: 3 of them exist already.
	a := b.do(master, "POST", "/v1/keys", `{"name":"k"}`)
	if a.status != 409 || a.code() != "limit_reached" {
		t.Fatalf("one too many: %d %s", a.status, a.body)
	}
	b.exec(`UPDATE api_key SET expires_at = now() WHERE id = 'key_1'`)
	var makers sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{}
	for range 8 {
		makers.Go(func() {
			a, err := b.try(t.Context(), master, "POST", "/v1/keys", `{"name":"k"}`)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[a.status]++
		})
	}
	makers.Wait()
	if diff := cmp.Diff(map[int]int{201: 1, 409: 7}, statuses); diff != "" {
		t.Errorf("at the same time (-want +got):\n%s", diff)
	}
}

func TestListKeys(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	master := b.master(b.project)
	made := map[string]string{"live": b.keyID(b.live), "test": b.keyID(b.test), "master": b.keyID(master)}
	second, err := b.db.CreateProject(t.Context(), b.project.OrgID, "second")
	b.must(err)
	made["second"] = b.createKey(master, `{"name":"s","project_id":"`+second.ID+`"}`)["id"].(string)
	b.do(master, "DELETE", "/v1/keys/"+made["test"], "")
	b.exec(`UPDATE api_key SET expires_at = now() WHERE id = $1`, made["second"])
	for query, names := range map[string][]string{
		"":                                      {"second", "master", "test", "live"},
		"order=asc":                             {"live", "test", "master", "second"},
		"limit=2":                               {"second", "master"},
		"limit=2&after=" + made["master"]:       {"test", "live"},
		"before=" + made["test"]:                {"second", "master"},
		"kind=live":                             {"second", "live"},
		"kind=master":                           {"master"},
		"project_id=" + second.ID:               {"second"},
		"project_id=" + b.doProject(b.other).ID: nil,
		"active=true":                           {"master", "live"},
		"active=false":                          {"second", "test"},
		"active=false&kind=test":                {"test"},
	} {
		a := b.do(master, "GET", "/v1/keys?"+query, "")
		var want []string
		for _, name := range names {
			want = append(want, made[name])
		}
		if diff := cmp.Diff(want, idsOf(a)); diff != "" {
			t.Errorf("%s (-want +got):\n%s\n%s", query, diff, a.body)
		}
		if strings.Contains(a.body, `"key":`) || strings.Contains(a.body, "hash") {
			t.Errorf("%s tells secrets: %s", query, a.body)
		}
	}
	for query, code := range map[string]string{
		"kind=root": "validation_failed", "active=maybe": "validation_failed", "after=x": "invalid_cursor", "scopes=x": "validation_failed",
	} {
		if a := b.do(master, "GET", "/v1/keys?"+query, ""); a.code() != code {
			t.Errorf("%s: %d %s, want %s", query, a.status, a.body, code)
		}
	}
}

// What is another organization's does not exist.
func TestKeys_OfOthers(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	stranger := b.master(b.doProject(b.other))
	id := b.keyID(b.live)
	for _, key := range []string{id, store.NewAPIKeyID(), "key_x", "gen_06f0r3k8cg7q1v2m4n6p8s9tb0", "%00"} {
		for _, c := range []struct{ method, path, body string }{
			{"GET", "", ""}, {"PATCH", "", `{"name":"mine"}`}, {"DELETE", "", ""}, {"POST", "/rotate", ""},
		} {
			if a := b.do(stranger, c.method, "/v1/keys/"+key+c.path, c.body); a.status != 404 || a.code() != "not_found" {
				t.Errorf("%s %s%s: %d %s", c.method, key, c.path, a.status, a.body)
			}
		}
	}
	if slices.Contains(idsOf(b.do(stranger, "GET", "/v1/keys", "")), id) {
		t.Error("it is listed")
	}
	if a := b.do(b.live, "GET", "/v1/models", ""); a.status != 200 {
		t.Errorf("it was touched: %d %s", a.status, a.body)
	}
}
