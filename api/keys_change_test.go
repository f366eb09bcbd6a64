package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// A change takes effect with the next request, also where the key is remembered.
func TestUpdateKey(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	master := b.master(b.project)
	made := b.createKey(master, `{"name":"k"}`)
	key, path := made["key"].(string), fmt.Sprint("/v1/keys/", made["id"])
	until := func(code string) {
		t.Helper()
		b.eventually("the key gets "+code, func() bool { return b.do(key, "GET", "/v1/models", "").code() == code })
	}
	until("")
	for _, c := range []struct {
		body, code string
		changed    map[string]any
	}{
		{`{"name":"renamed","rate_limit":5,"monthly_limit":7}`, "", map[string]any{"name": "renamed", "rate_limit": 5.0, "monthly_limit": 7.0}},
		{`{"scopes":["events:read"]}`, "scope_missing", map[string]any{"scopes": []any{"events:read"}}},
		{`{"scopes":["*:read"],"ip_allowlist":["203.0.113.0/24"]}`, "ip_not_allowed", map[string]any{"scopes": []any{"*:read"}, "ip_allowlist": []any{"203.0.113.0/24"}}},
		{`{"ip_allowlist":["127.0.0.0/8","::1"]}`, "", map[string]any{"ip_allowlist": []any{"127.0.0.0/8", "::1"}}},
		{`{"ip_allowlist":null,"rate_limit":null,"monthly_limit":null,"expires_at":null}`, "", map[string]any{"ip_allowlist": nil, "rate_limit": nil, "monthly_limit": nil, "expires_at": nil}},
		{`{}`, "", nil},
	} {
		want := b.do(master, "GET", path, "").json
		for name, value := range c.changed {
			want[name] = value
		}
		a := b.do(master, "PATCH", path, c.body)
		if diff := cmp.Diff(want, a.json, cmp.FilterPath(isLastUse, cmp.Ignore())); a.status != 200 || diff != "" {
			t.Errorf("%s: %d (-want +got):\n%s", c.body, a.status, diff)
		}
		until(c.code)
	}
	for body, faults := range map[string][]string{
		`{"name":null}`:                      {"name invalid_type"},
		`{"scopes":null}`:                    {"scopes invalid_type"},
		`{"scopes":["owners:write"]}`:        {"scopes.0 unsupported_value"},
		`{"rate_limit":0}`:                   {"rate_limit out_of_range"},
		`{"ip_allowlist":[]}`:                {"ip_allowlist required"},
		`{"expires_at":"2020-01-01T00:00Z"}`: {"expires_at invalid_type"},
		`{"kind":"test"}`:                    {"kind unknown_parameter"},
	} {
		if a := b.do(master, "PATCH", path, body); a.status != 422 || !cmp.Equal(faults, a.faults()) {
			t.Errorf("%s: %d %v, want %v", body, a.status, a.faults(), faults)
		}
	}
	b.do(master, "PATCH", path, `{"expires_at":"`+time.Now().Add(time.Second).UTC().Format(time.RFC3339Nano)+`"}`)
	until("key_expired")
	if a := b.do(master, "PATCH", path, `{"expires_at":null}`); a.status != 409 || a.code() != "key_ended" {
		t.Errorf("an expired key: %d %s", a.status, a.body)
	}
}

func isLastUse(p cmp.Path) bool {
	step, ok := p.Last().(cmp.MapIndex)
	return ok && step.Key().String() == "last_used_at"
}

// Revoking is told as an event to the project and mode of the key, once.
func TestRevokeKey(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	master := b.master(b.project)
	made := b.createKey(master, `{"name":"k"}`)
	path := fmt.Sprint("/v1/keys/", made["id"])
	first := b.do(master, "DELETE", path, "")
	second := b.do(master, "DELETE", path, "")
	if first.status != 200 || second.status != 200 || first.json["revoked_at"] == nil || !cmp.Equal(first.json, second.json) {
		t.Errorf("%d %s\n%d %s", first.status, first.body, second.status, second.body)
	}
	if a := b.do(made["key"].(string), "GET", "/v1/models", ""); a.code() != "key_revoked" {
		t.Errorf("the key: %d %s", a.status, a.body)
	}
	events := b.do(b.live, "GET", "/v1/events?type=key.*", "").data()
	if len(events) != 1 || events[0]["type"] != "key.revoked" {
		t.Fatalf("events %v", events)
	}
	data := events[0]["data"].(map[string]any)
	if diff := cmp.Diff([]any{made["id"], "api_key", "k", "live", made["last4"]}, []any{data["id"], data["object"], data["name"], data["kind"], data["last4"]}); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
	for name, key := range map[string]string{"TestKey": b.test, "OtherProject": b.other} {
		if events := b.do(key, "GET", "/v1/events", "").data(); len(events) > 0 {
			t.Errorf("%s is told %v", name, events)
		}
	}
	// What is over is over.
	if a := b.do(master, "PATCH", path, `{"name":"x"}`); a.code() != "key_ended" {
		t.Errorf("change: %d %s", a.status, a.body)
	}
	if a := b.do(master, "POST", path+"/rotate", ""); a.code() != "key_ended" {
		t.Errorf("rotate: %d %s", a.status, a.body)
	}
}

func TestRotateKey(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	master := b.master(b.project)
	old := b.createKey(master, `{"name":"k","kind":"test","scopes":["*:read"],"ip_allowlist":["127.0.0.1"],"monthly_limit":5,"rate_limit":3}`)
	path := fmt.Sprint("/v1/keys/", old["id"])
	began := time.Now()
	a := b.do(master, "POST", path+"/rotate", `{"grace_seconds":3600}`)
	if a.status != 201 || a.header.Get("Location") != fmt.Sprint("/v1/keys/", a.json["id"]) {
		t.Fatalf("%d %s", a.status, a.body)
	}
	want := map[string]any{}
	for name, value := range old {
		want[name] = value
	}
	for _, name := range []string{"id", "key", "last4", "created_at", "expires_at"} {
		want[name] = a.json[name]
		if a.json[name] == old[name] {
			t.Errorf("%s is the same", name)
		}
	}
	if diff := cmp.Diff(want, a.json); diff != "" {
		t.Errorf("the new key (-want +got):\n%s", diff)
	}
	before := b.do(master, "GET", path, "").json
	end, err := time.Parse(time.RFC3339, before["expires_at"].(string))
	if left := end.Sub(began); err != nil || before["replaced_by"] != a.json["id"] || left < 59*time.Minute || left > 61*time.Minute {
		t.Errorf("the old key: replaced by %v, ends in %s, %v", before["replaced_by"], left, err)
	}
	for name, key := range map[string]any{"old": old["key"], "new": a.json["key"]} {
		if a := b.do(key.(string), "GET", "/v1/models", ""); a.status != 200 {
			t.Errorf("the %s key: %d %s", name, a.status, a.body)
		}
	}
	for name, c := range map[string]struct{ method, path, body string }{
		"Again":  {"POST", path + "/rotate", ""},
		"Longer": {"PATCH", path, `{"expires_at":null}`},
	} {
		if a := b.do(master, c.method, c.path, c.body); a.status != 409 || a.code() != "key_ended" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	next := fmt.Sprint("/v1/keys/", a.json["id"], "/rotate")
	for body, fault := range map[string]string{`{"grace_seconds":604801}`: "grace_seconds out_of_range", `{"grace_seconds":-1}`: "grace_seconds out_of_range"} {
		if a := b.do(master, "POST", next, body); a.status != 422 || !cmp.Equal([]string{fault}, a.faults()) {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	if b.do(master, "POST", next, `{"grace_seconds":0}`).status != 201 {
		t.Error("the new key can not be rotated")
	}
	b.eventually("the rotated key ends at once", func() bool {
		return b.do(a.json["key"].(string), "GET", "/v1/models", "").code() == "key_expired"
	})
}

// Grace never makes a key live longer than it would have.
func TestRotateKey_GraceShortensOnly(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	master := b.master(b.project)
	end := time.Now().Add(10 * time.Minute).UTC().Truncate(time.Second).Format(time.RFC3339)
	old := b.createKey(master, `{"name":"k","expires_at":"`+end+`"}`)
	path := fmt.Sprint("/v1/keys/", old["id"])
	if a := b.do(master, "POST", path+"/rotate", ""); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if got := b.do(master, "GET", path, "").json["expires_at"]; got != end {
		t.Errorf("it ends %v, want %s", got, end)
	}
}

// A master key rotates and revokes itself, and no other; what administers the service
// is not its organization's to take over.
func TestMasterKeys(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	one, two := b.master(b.project), b.master(b.project)
	operator, row, err := b.keys.Create(t.Context(), nil, auth.NewKey{OrgID: b.project.OrgID, Name: "op", Kind: store.KeyMaster, Operator: true})
	b.must(err)
	for name, c := range map[string]struct {
		key, method, path, body string
		status                  int
	}{
		"RotateOther":    {one, "POST", b.keyID(two) + "/rotate", "", 403},
		"RevokeOther":    {one, "DELETE", b.keyID(two), "", 403},
		"ChangeOther":    {one, "PATCH", b.keyID(two), `{"name":"x"}`, 403},
		"ChangeItself":   {one, "PATCH", b.keyID(one), `{"ip_allowlist":null}`, 403},
		"RotateOperator": {one, "POST", row.ID + "/rotate", "", 403},
		"RevokeOperator": {one, "DELETE", row.ID, "", 403},
	} {
		if a := b.do(c.key, c.method, "/v1/keys/"+c.path, c.body); a.status != c.status || a.code() != "permission_denied" {
			t.Errorf("%s: %d %s, want %d", name, a.status, a.body, c.status)
		}
	}
	rotated := b.do(one, "POST", "/v1/keys/"+b.keyID(one)+"/rotate", `{"grace_seconds":0}`)
	if rotated.status != 201 || rotated.json["kind"] != "master" || rotated.json["project_id"] != nil || rotated.json["expires_at"] != nil {
		t.Fatalf("rotate itself: %d %s", rotated.status, rotated.body)
	}
	b.eventually("the old one ends", func() bool { return b.do(one, "GET", "/v1/keys", "").code() == "key_expired" })
	if a := b.do(rotated.json["key"].(string), "DELETE", fmt.Sprint("/v1/keys/", rotated.json["id"]), ""); a.status != 200 {
		t.Errorf("revoke itself: %d %s", a.status, a.body)
	}
	next := b.do(operator, "POST", "/v1/keys/"+row.ID+"/rotate", "")
	if caller := b.doCaller(next.json["key"].(string)); !caller.Operator || next.json["operator"] != true {
		t.Errorf("an operator's key rotated: %d %s", next.status, next.body)
	}
}

// 100 submissions at the same time to two processes: the monthly limit is exact.
func TestMonthlyLimit_TwoProcesses(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	second := b.another(storetest.URL(b.db))
	limit := 5
	key, _, err := b.keys.Create(t.Context(), nil, auth.NewKey{OrgID: b.project.OrgID, ProjectID: b.project.ID, Name: "k", Kind: store.KeyTest, MonthlyLimit: &limit})
	b.must(err)
	var mu sync.Mutex
	statuses := map[int]int{}
	var clients sync.WaitGroup
	for i := range 100 {
		url := []string{b.url, second}[i%2]
		clients.Go(func() {
			a, err := b.try(t.Context(), key, "POST", url+"/v1/generations", `{"prompt":"x"}`)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[a.status]++
		})
	}
	clients.Wait()
	if diff := cmp.Diff(map[int]int{202: 5, 402: 95}, statuses); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var made int
	b.must(b.db.Pool().QueryRow(t.Context(), `SELECT count(*) FROM generation`).Scan(&made))
	if made != 5 {
		t.Errorf("%d generations", made)
	}
	_, resets := store.MonthOf(time.Now())
	a := b.do(key, "POST", "/v1/generations", `{"prompt":"x"}`)
	want := "This API key may ask for 5 generations a calendar month, and has. The count begins anew on " + resets.Format(time.RFC3339) + "; PATCH /v1/keys/{id} raises monthly_limit."
	if diff := cmp.Diff([]any{http.StatusPaymentRequired, "quota_exceeded", want}, []any{a.status, a.code(), a.json["detail"]}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	b.submit(b.test, `{"prompt":"x"}`) // others are not concerned
}

// A key that one process revokes is refused by others within 2 s, also where the
// connection that tells of it is dead without a word, or gone.
func TestRevokeKey_OtherProcesses(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	master := b.master(b.project)
	urls, dead := map[string]string{"Listens": b.another(storetest.URL(b.db))}, map[string]*proxy{}
	for _, name := range []string{"Hangs", "Gone"} {
		db, p := behindProxy(t, b.db)
		urls[name], dead[name] = b.another(storetest.URL(db)), p
	}
	keys := map[string]map[string]any{}
	for name, url := range urls {
		key := b.createKey(master, `{"name":"`+name+`"}`)
		if a := b.do(key["key"].(string), "GET", url+"/v1/models", ""); a.status != 200 {
			t.Fatalf("%s: %d %s", name, a.status, a.body)
		}
		keys[name] = key
	}
	dead["Hangs"].hang()
	dead["Gone"].cut()
	began := time.Now()
	for _, key := range keys {
		b.do(master, "DELETE", fmt.Sprint("/v1/keys/", key["id"]), "")
	}
	for name, url := range urls {
		b.eventually(name+" refuses it", func() bool {
			return b.do(keys[name]["key"].(string), "GET", url+"/v1/models", "").code() == "key_revoked"
		})
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%s: it took %s", name, took)
		}
	}
}

// another serves the same database from a process of its own, which listens at an
// address.
func (b *bundle) another(listens string) (url string) {
	b.Helper()
	keys := auth.NewKeys(auth.Options{DB: b.db, DatabaseSecret: "database secret"})
	queue, err := jobs.NewQueue(jobs.Options{DB: b.db})
	b.must(err)
	hears := make(chan struct{})
	live := store.NewLive(store.LiveOptions{URL: listens, OnKeys: keys.Invalidate, OnPulse: func() {
		keys.Pulse()
		select {
		case <-hears:
		default:
			close(hears)
		}
	}})
	handler, err := api.New(api.Options{
		DB: b.db, Queue: queue, Blobs: b.blobs, Keys: keys, Signer: b.signer, Keyring: b.keyring, Live: live, Sessions: b.sessions,
	})
	b.must(err)
	ctx, stop := context.WithCancel(context.Background())
	var listening sync.WaitGroup
	listening.Go(func() { live.Run(ctx) })
	srv := httptest.NewServer(handler)
	b.Cleanup(func() {
		srv.Close()
		queue.Close()
		stop()
		listening.Wait()
	})
	<-hears
	return srv.URL
}

// What it takes to make and change keys.
func TestKeys_Roles(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	master := p.keyID(p.master)
	_, row, err := p.keys.Create(t.Context(), nil, auth.NewKey{OrgID: p.org, Name: "op", Kind: store.KeyMaster, Operator: true})
	p.must(err)
	statuses := map[string][]int{ // list, create, create master, change, rotate and revoke master, rotate an operator's
		auth.RoleOwner:    {200, 201, 201, 200, 201, 200, 403},
		auth.RoleAdmin:    {200, 201, 403, 403, 403, 403, 403},
		auth.RoleMember:   {200, 403, 403, 403, 403, 403, 403},
		auth.RoleBilling:  {403, 403, 403, 403, 403, 403, 403},
		auth.RoleReadOnly: {200, 403, 403, 403, 403, 403, 403},
	}
	for _, role := range slices.Backward(auth.Roles()) { // owners last
		person := p.person(role+"@example.com", role)
		var got []int
		for _, c := range []struct{ method, path, body string }{
			{"GET", "", ""}, {"POST", "", `{"name":"k"}`}, {"POST", "", `{"name":"m","kind":"master"}`}, {"PATCH", "/" + master, `{"name":"m"}`},
			{"POST", "/" + master + "/rotate", ""}, {"DELETE", "/" + master, ""}, {"POST", "/" + row.ID + "/rotate", ""},
		} {
			a := p.do(person.token, c.method, "/v1/keys"+c.path, c.body)
			got = append(got, a.status)
			if a.status == 201 && a.json["created_by"] != person.id {
				t.Errorf("%s: %s %s: made by %v", role, c.method, c.path, a.json["created_by"])
			}
		}
		if diff := cmp.Diff(statuses[role], got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", role, diff)
		}
	}
}
