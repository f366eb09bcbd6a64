package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// requests is a front door that keeps requests.
type requests struct {
	*people
	kept *api.RequestLog
	said *logBuffer // by the log of requests
}

func setupRequests(t testing.TB, adjust ...func(*api.RequestLogOptions)) *requests {
	t.Helper()
	r := &requests{said: &logBuffer{}}
	r.people = setupPeople(t, func(o *api.Options) {
		opts := api.RequestLogOptions{DB: o.DB, Linger: time.Millisecond, Logger: slog.New(slog.NewJSONHandler(r.said, nil))}
		for _, change := range adjust {
			change(&opts)
		}
		r.kept = api.NewRequestLog(opts)
		o.RequestLog = r.kept
	})
	t.Cleanup(r.kept.Close)
	return r
}

// await returns the request that an answer is of, as a caller sees it.
func (r *requests) await(key string, a *answer) map[string]any {
	r.Helper()
	path := "/v1/requests/" + a.header.Get("X-Request-Id")
	var found *answer
	r.eventually("the request is kept", func() bool {
		found = r.do(key, "GET", path, "")
		return found.status == http.StatusOK
	})
	return found.json
}

// What asks for a change, and what fails, is kept with what it was about.
func TestRequests_Kept(t *testing.T) {
	t.Parallel()
	r := setupRequests(t)
	key := r.strings(`SELECT id FROM api_key WHERE project_id = $1 AND kind = 'live'`, r.project.ID)[0]
	made := r.does(r.live, "POST", "/v1/generations", `{"prompt":"a secret banana"}`, 202, "User-Agent: "+strings.Repeat("a", 300))
	id := made.text("id")
	missing := strings.Replace(id, "gen_", "gen_0", 1)[:30]
	for name, c := range map[string]struct {
		answer *answer
		want   map[string]any
	}{
		"Made": {made, map[string]any{
			"method": "POST", "path": "/v1/generations", "operation": "createGeneration", "status": 202.0, "code": nil, "generation_id": id,
			"user_agent": strings.Repeat("a", 200) + "…",
		}},
		"Invalid": {r.do(r.live, "POST", "/v1/generations?x=nb_live_0", `{"prompt":1}`), map[string]any{
			"method": "POST", "path": "/v1/generations", "operation": "createGeneration", "status": 422.0, "code": "validation_failed", "generation_id": nil,
		}},
		"Missing": {r.do(r.live, "GET", "/v1/generations/"+missing, ""), map[string]any{
			"method": "GET", "path": "/v1/generations/" + missing, "operation": "getGeneration", "status": 404.0, "code": "not_found",
		}},
		"Head": {r.do(r.live, "HEAD", "/v1/generations/"+missing, ""), map[string]any{
			"method": "HEAD", "path": "/v1/generations/" + missing, "operation": "getGeneration", "status": 404.0, "code": "not_found",
		}},
		"SecretInPath": {r.do(r.live, "GET", "/v1/generations/"+r.other, ""), map[string]any{
			"path": "/v1/generations/{id}", "status": 404.0, "generation_id": nil,
		}},
		"Model": {r.do(r.live, "GET", "/v1/models/nano-banana-9", ""), map[string]any{"path": "/v1/models/nano-banana-9", "status": 404.0}},
		"Image": {r.do(r.live, "GET", "/v1/images/"+store.ImageID(id, 3)+"/content?sig=x", ""), map[string]any{
			"path": "/v1/images/" + store.ImageID(id, 3) + "/content", "operation": "getImageContent", "status": 404.0, "generation_id": id,
		}},
		"Cancel": {r.do(r.live, "POST", "/v1/generations/"+id+"/cancel", ""), map[string]any{
			"method": "POST", "path": "/v1/generations/" + id + "/cancel", "operation": "cancelGeneration", "status": 200.0, "generation_id": id,
		}},
		"NotGranted": {r.do(r.live, "POST", "/v1/keys", `{"name":"x"}`), map[string]any{
			"method": "POST", "path": "/v1/keys", "operation": "createKey", "status": 403.0, "code": "permission_denied",
		}},
	} {
		got := r.await(r.live, c.answer)
		all := map[string]any{
			"id": c.answer.header.Get("X-Request-Id"), "object": "request", "project_id": r.project.ID, "api_key_id": key, "account_id": nil,
			"method": "GET", "code": got["code"], "operation": got["operation"], "generation_id": got["generation_id"], "ip": "127.0.0.1",
			"user_agent": "Go-http-client/1.1", "mode": "live", "created_at": got["created_at"], "duration_ms": got["duration_ms"],
		}
		for member, value := range c.want {
			all[member] = value
		}
		if diff := cmp.Diff(all, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if at, err := time.Parse(time.RFC3339Nano, got["created_at"].(string)); err != nil || time.Since(at).Abs() > time.Minute {
			t.Errorf("%s: at %v", name, got["created_at"])
		}
	}
	read, signed := r.does(r.live, "GET", "/v1/generations/"+id, "", 200), r.do("", "GET", "/v1/images/"+store.ImageID(id, 0)+"/content?sig=x", "")
	unknown := r.do("nb_live_x", "POST", "/v1/generations", `{}`)
	r.await(r.live, r.do(r.live, "POST", "/v1/generations", `{`)) // what came before is written by then
	for what, a := range map[string]*answer{"what was read": read, "a signed URL": signed, "of nobody who is known": unknown} {
		r.refuses(what, r.master, "GET", "/v1/requests/"+a.header.Get("X-Request-Id"), "", 404, "not_found")
	}
	var rows bytes.Buffer
	for _, row := range r.traces("") {
		if strings.HasPrefix(row, "public.request_log") {
			rows.WriteString(row)
		}
	}
	for _, secret := range []string{"secret banana", "sig=", "nb_live_", "Bearer"} {
		if rows.Len() == 0 || strings.Contains(rows.String(), secret) {
			t.Errorf("%q is kept: %s", secret, rows.String())
		}
	}
}

// Who sees which: a project's key what is of it, a test key of these what is of test
// mode, and the organization all; nobody else any.
func TestRequests_Reach(t *testing.T) {
	t.Parallel()
	r := setupRequests(t)
	owner := r.person("owner@example.com", auth.RoleOwner)
	sibling, err := r.db.CreateProject(t.Context(), r.org, "sibling")
	r.must(err)
	siblingKey := r.newKey(sibling, store.KeyLive)
	const bad = `{"prompt":1}`
	inProject := "NanoBanana-Project: " + r.project.ID
	made := map[string]string{}
	for name, a := range map[string]*answer{
		"live": r.do(r.live, "POST", "/v1/generations", bad), "test": r.do(r.test, "POST", "/v1/generations", bad),
		"sibling": r.do(siblingKey, "POST", "/v1/generations", bad), "master": r.do(r.master, "POST", "/v1/projects", bad),
		"person": r.do(owner.token, "POST", "/v1/generations", bad, inProject, "User-Agent: theirs"), "other": r.do(r.other, "POST", "/v1/generations", bad),
	} {
		id := a.header.Get("X-Request-Id")
		made[id] = name
		r.eventually(name+" is written", func() bool { return r.strings(`SELECT id FROM request_log WHERE id = $1`, id) != nil })
	}
	for who, c := range map[string]struct {
		key  string
		want []string
	}{
		"live":    {r.live, []string{"live", "person", "test"}},
		"test":    {r.test, []string{"test"}},
		"sibling": {siblingKey, []string{"sibling"}},
		"master":  {r.master, []string{"live", "master", "person", "sibling", "test"}},
		"owner":   {owner.token, []string{"live", "master", "person", "sibling", "test"}},
		"other":   {r.other, []string{"other"}},
	} {
		may := map[string]bool{}
		for _, name := range c.want {
			may[name] = true
		}
		got := map[string]bool{}
		for _, id := range r.does(c.key, "GET", "/v1/requests", "", 200).ids("id") {
			if name, known := made[id]; known { // the others are of asking for what there is not
				got[name] = true
			}
		}
		if diff := cmp.Diff(may, got); diff != "" {
			t.Errorf("%s sees (-want +got):\n%s", who, diff)
		}
		for id, name := range made {
			if status := r.do(c.key, "GET", "/v1/requests/"+id, "").status; (status == 200) != may[name] {
				t.Errorf("%s is answered %d of the request of %s", who, status, name)
			}
		}
	}
	for id, name := range made {
		if name != "person" {
			continue
		}
		for who, want := range map[string][]any{r.live: {nil, nil, nil}, owner.token: {owner.id, "127.0.0.1", "theirs"}} {
			a := r.does(who, "GET", "/v1/requests/"+id, "", 200)
			if diff := cmp.Diff(want, []any{a.json["account_id"], a.json["ip"], a.json["user_agent"]}); diff != "" {
				t.Errorf("of a person (-want +got):\n%s", diff)
			}
		}
	}
	r.refuses("another project", r.live, "GET", "/v1/requests?project_id="+sibling.ID, "", 404, "not_found")
	r.person("second@example.com", auth.RoleOwner)
	r.must(r.db.Transact(t.Context(), func(tx *store.DB) error {
		_, err := tx.EraseAccount(context.WithoutCancel(t.Context()), owner.id)
		return err
	}))
	if left := r.strings(`SELECT id FROM request_log WHERE account_id = $1`, owner.id); left != nil {
		t.Errorf("of whoever is erased: %v", left)
	}
}

// From where the others of an organization ask is for who reads the audit log.
func TestRequests_Whereabouts(t *testing.T) {
	t.Parallel()
	r := setupRequests(t)
	key := r.strings(`SELECT id FROM api_key WHERE project_id = $1 AND kind = 'live'`, r.project.ID)[0]
	owner, low := r.person("owner@example.com", auth.RoleOwner), r.person("low@example.com", "read_only")
	inOrg := "NanoBanana-Organization: " + r.org
	ofOwner := r.do(owner.token, "POST", "/v1/projects", `{}`, "User-Agent: ours", inOrg)
	ofLow := r.do(low.token, "POST", "/v1/projects", `{}`, "User-Agent: ours", inOrg)
	ofKey := r.do(r.live, "POST", "/v1/generations", `{`, "User-Agent: ours")
	for name, c := range map[string]struct {
		token string
		a     *answer
		want  []any
	}{
		"TheOwnersToOthers": {low.token, ofOwner, []any{nil, nil, nil, nil}},
		"OnesOwn":           {low.token, ofLow, []any{low.id, nil, "127.0.0.1", "ours"}},
		"AKeysToOthers":     {low.token, ofKey, []any{nil, key, nil, nil}},
		"AKeysOwn":          {r.live, ofKey, []any{nil, key, "127.0.0.1", "ours"}},
		"ToTheOwner":        {owner.token, ofLow, []any{low.id, nil, "127.0.0.1", "ours"}},
		"AKeysToTheOwner":   {owner.token, ofKey, []any{nil, key, "127.0.0.1", "ours"}},
		"ToAMasterKey":      {r.master, ofOwner, []any{owner.id, nil, "127.0.0.1", "ours"}},
	} {
		got := r.await(c.token, c.a)
		if diff := cmp.Diff(c.want, []any{got["account_id"], got["api_key_id"], got["ip"], got["user_agent"]}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// What an operator's key does to others is not in the log of its own organization.
func TestRequests_Operators(t *testing.T) {
	t.Parallel()
	r := setupRequests(t)
	r.exec(`UPDATE api_key SET operator = true WHERE kind = 'master' AND org_id = $1`, r.org)
	r.must(r.db.ForgetKeys(t.Context(), r.org))
	for _, key := range []string{r.master, r.live} {
		r.do(key, "POST", "/v1/admin/orgs/"+store.NewOrgID()+"/credits", `{"action":"grant","amount":1,"reason":"r"}`)
		r.do(key, "GET", "/v1/admin/orgs/"+store.NewOrgID(), "")
	}
	r.await(r.master, r.do(r.master, "POST", "/v1/projects", `{`)) // what came before is written by then
	if kept := r.strings(`SELECT path FROM request_log WHERE path NOT LIKE '/v1/requests/%'`); len(kept) != 1 {
		t.Errorf("%q are kept, want the last", kept)
	}
}

// A key that fails without end fills neither the table nor the place of others.
func TestRequests_Flood(t *testing.T) {
	t.Parallel()
	r := setupRequests(t, func(o *api.RequestLogOptions) { o.FailedReads, o.Idle = 3, 5 })
	unknown := "/v1/generations/" + store.NewGenerationID()
	for range 30 {
		r.does(r.live, "GET", unknown, "", 404)
		r.does(r.live, "POST", "/v1/generations", `{`, 400)
		r.does(r.live, "POST", "/v1/estimate", `{"prompt":"x"}`, 200)
		r.does(r.live, "POST", "/v1/generations", `{"prompt":"x","dry_run":true}`, 200)
	}
	for range 10 {
		r.does(r.live, "POST", "/v1/generations", `{"prompt":"x"}`, 202)
	}
	r.does(r.test, "GET", unknown, "", 404)
	r.kept.Close()
	kept := map[string]int{}
	for _, row := range r.strings(`SELECT method || ' ' || status FROM request_log`) {
		kept[row]++
	}
	// Within the time that it takes there is room for a few more.
	if reads, others := kept["GET 404"], kept["POST 400"]+kept["POST 200"]; kept["POST 202"] != 10 || reads < 4 || reads > 8 || others < 5 || others > 10 {
		t.Errorf("%v are kept", kept)
	}
	spared := 0
	for line := range strings.Lines(r.said.String()) {
		var said struct{ Spared int }
		r.must(json.Unmarshal([]byte(line), &said))
		spared += said.Spared
	}
	if all := kept["GET 404"] + kept["POST 400"] + kept["POST 200"] + spared; all != 121 {
		t.Errorf("%d are kept or counted, want 121", all)
	}
}

func TestRequests_Filters(t *testing.T) {
	t.Parallel()
	r := setupRequests(t)
	key, text := "key_1", store.NewGenerationID()
	begin := time.Now().Add(-time.Hour)
	rows := []store.LoggedRequest{
		{Method: "POST", Status: 202, GenerationID: &text}, {Method: "POST", Status: 402}, {Method: "GET", Status: 404, APIKeyID: &key},
		{Method: "DELETE", Status: 404, Operation: &key}, {Method: "GET", Status: 500, ProjectID: &key},
	}
	for i := range rows {
		rows[i].ID, rows[i].OrgID, rows[i].CreatedAt = store.NewRequestID(), r.org, begin.Add(time.Duration(i)*time.Minute)
	}
	r.must(r.db.RecordRequests(t.Context(), rows))
	at := func(i int) string { return rows[i].CreatedAt.UTC().Format("2006-01-02T15:04:05.999999Z") }
	for query, want := range map[string][]int{
		"": {4, 3, 2, 1, 0}, "status=404": {3, 2}, "status=4xx": {3, 2, 1}, "status=200": {}, "method=POST": {1, 0}, "api_key_id=key_1": {2},
		"operation=key_1": {3}, "generation_id=" + text: {0}, "project_id=key_1": {4}, "status=4xx&method=GET": {2},
		"limit=2": {4, 3}, "limit=2&after=" + rows[3].ID: {2, 1}, "order=asc&limit=1": {0}, "before=" + rows[2].ID: {4, 3},
		"after=" + rows[3].ID + "&status=4xx": {2, 1},
	} {
		ids := []string{}
		for _, i := range want {
			ids = append(ids, rows[i].ID)
		}
		if diff := cmp.Diff(ids, r.does(r.master, "GET", "/v1/requests?"+query, "", 200).ids("id")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	// The ids are of now: a time of the rows is not that of the ids.
	if a := r.does(r.master, "GET", "/v1/requests?created_before="+at(2), "", 200); len(a.ids("id")) != 0 {
		t.Errorf("before: %s", a.body)
	}
	for query, code := range map[string]string{
		"status=4": "validation_failed", "status=600": "validation_failed", "method=get": "validation_failed", "after=x": "invalid_cursor",
		"created_after=yesterday": "validation_failed",
	} {
		r.refuses(query, r.master, "GET", "/v1/requests?"+query, "", map[bool]int{true: 400, false: 422}[code == "invalid_cursor"], code)
	}
	for _, id := range []string{"req_x", store.NewRequestID(), "%00"} {
		r.refuses(id, r.live, "GET", "/v1/requests/"+id, "", 404, "not_found")
	}
}

// While the database is away requests are answered as ever and wait to be written; those
// for which there is no room are counted. What waits at the end is written, once it is
// back.
func TestRequests_DatabaseAway(t *testing.T) {
	t.Parallel()
	var p *proxy
	r := setupRequests(t, func(o *api.RequestLogOptions) {
		o.DB, p = behindProxy(t, o.DB)
		o.Size, o.Timeout = 3, time.Second
	})
	p.cut()
	for range 5 {
		r.does(r.live, "POST", "/v1/generations", `{"prompt":"x"}`, 202)
	}
	r.kept.Close()
	lost := 0
	for line := range strings.Lines(r.said.String()) {
		var said struct{ Dropped int }
		r.must(json.Unmarshal([]byte(line), &said))
		lost += said.Dropped
	}
	if lost != 5 {
		t.Errorf("%d are said to be missing, want 5: %s", lost, r.said.String())
	}
}

// Closing writes all that waits.
func TestRequests_Close(t *testing.T) {
	t.Parallel()
	r := setupRequests(t, func(o *api.RequestLogOptions) { o.Linger = time.Hour })
	for range 7 {
		r.does(r.live, "POST", "/v1/generations", `{"prompt":"x"}`, 202)
	}
	before := r.strings(`SELECT id FROM request_log`)
	r.kept.Close()
	r.kept.Close()
	if after := r.strings(`SELECT id FROM request_log`); before != nil || len(after) != 7 || r.said.String() != "" {
		t.Errorf("%d before, %d after; %s", len(before), len(after), r.said.String())
	}
}

// BenchmarkSubmit_Logged compares submissions of 64 clients without and with the log
// of requests.
func BenchmarkSubmit_Logged(b *testing.B) {
	for _, logged := range []bool{false, true} {
		b.Run(fmt.Sprintf("logged=%t", logged), func(b *testing.B) {
			s := setup(b, func(o *api.Options) {
				if logged {
					o.RequestLog = api.NewRequestLog(api.RequestLogOptions{DB: o.DB})
					b.Cleanup(o.RequestLog.Close)
				}
			})
			submitAll(b, s)
		})
	}
}
