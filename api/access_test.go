package api_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// What is in an archived project stays its organization's: people who name it read and
// delete, and change nothing.
func TestArchivedProject(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	ada := p.person("ada@example.com", "admin")
	id := p.done(p.live, `{"prompt":"x"}`, []byte("picture"))
	endpoint := p.does(p.live, "POST", "/v1/webhook_endpoints", `{"url":"https://example.com/hook"}`, 201).text("id")
	p.does(ada.token, "DELETE", "/v1/projects/"+p.project.ID, "", 200)
	named := "NanoBanana-Project: " + p.project.ID
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/v1/generations", "", 200},
		{"GET", "/v1/generations/" + id, "", 200},
		{"HEAD", "/v1/generations/" + id, "", 200},
		{"GET", "/v1/generations/" + id + "/events", "", 200},
		{"GET", "/v1/images/" + store.ImageID(id, 0) + "/content", "", 200},
		{"GET", "/v1/webhook_endpoints/" + endpoint, "", 200},
		{"GET", "/v1/project", "", 200},
		{"POST", "/v1/generations", `{"prompt":"x"}`, 409},
		{"POST", "/v1/generations/" + id + "/cancel", "", 409},
		{"POST", "/v1/webhook_endpoints/" + endpoint + "/enable", "", 409},
		{"PATCH", "/v1/webhook_endpoints/" + endpoint, `{"description":"d"}`, 409},
		{"DELETE", "/v1/webhook_endpoints/" + endpoint, "", 204},
		{"DELETE", "/v1/generations/" + id, "", 204},
	} {
		a := p.do(ada.token, c.method, c.path, c.body, named)
		if a.status != c.status || c.status == 409 && a.code() != "project_archived" {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, a.status, a.body, c.status)
		}
	}
	p.refuses("it is nobody's default", ada.token, "GET", "/v1/generations", "", 400, "project_required")
	p.refuses("it gets no key", ada.token, "POST", "/v1/keys", `{"name":"k","project_id":"`+p.project.ID+`"}`, 409, "project_archived")
	eve := p.person("eve@example.com", "")
	elsewhere, _ := p.newProject("elsewhere")
	p.must(p.db.InsertMembership(p.Context(), elsewhere.OrgID, eve.id, auth.RoleOwner))
	if a := p.do(eve.token, "GET", "/v1/generations", "", named); a.status != 404 {
		t.Errorf("a stranger: %d %s", a.status, a.body)
	}
}

// A stream goes on for as long as its caller would be given it anew.
func TestGenerationEvents_EndAsRequestsAreRefused(t *testing.T) {
	t.Parallel()
	p := setupPeople(t, func(o *api.Options) { o.StreamPace = 10 * time.Millisecond })
	ada := p.person("ada@example.com", "admin")
	id := p.submit(p.live, `{"prompt":"x"}`)
	person, key := p.open(ada.token, id), p.open(p.live, id)
	p.until(person, "status 1")
	p.until(key, "status 1")
	p.does(ada.token, "DELETE", "/v1/projects/"+p.project.ID, "", 200)
	if last := p.farewell(key); len(last) < 30 || last[:30] != "the API key has been revoked o" {
		t.Errorf("the key's ends with %q", last)
	}
	// Whose project was not named had it as the only one, and goes on to read it.
	p.claim(id)
	p.until(person, "status 4") // the two events before it are of the project's keys
	p.exec(`UPDATE org SET suspended_at = now() WHERE id = $1`, p.org)
	if last := p.farewell(person); last != auth.ErrSuspended.Error() {
		t.Errorf("a person's ends with %q", last)
	}
}

// Test keys, and people in test mode, reach what was asked for in test mode alone.
func TestTestMode_ReachesItsOwn(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	ada := p.person("ada@example.com", "admin")
	live, waiting := p.done(p.live, `{"prompt":"x"}`, []byte("picture")), p.submit(p.live, `{"prompt":"x"}`)
	test := p.done(p.test, `{"prompt":"x"}`, []byte("picture"))
	for name, c := range map[string]struct {
		key  string
		mode []string
		ids  []string
		want int // of what was asked for live
	}{
		"TestKey":        {p.test, nil, []string{test}, 404},
		"TestMode":       {ada.token, []string{"NanoBanana-Mode: test"}, []string{test}, 404},
		"LiveKey":        {p.live, nil, []string{test, waiting, live}, 200},
		"Person":         {ada.token, nil, []string{test, waiting, live}, 200},
		"PersonLiveMode": {ada.token, []string{"NanoBanana-Mode: live"}, []string{test, waiting, live}, 200},
	} {
		if diff := cmp.Diff(c.ids, p.does(c.key, "GET", "/v1/generations", "", 200, c.mode...).ids("id")); diff != "" {
			t.Errorf("%s lists (-want +got):\n%s", name, diff)
		}
		for id, want := range map[string]int{live: c.want, test: 200} {
			for _, path := range []string{"/v1/generations/" + id, "/v1/generations/" + id + "?wait=1", "/v1/generations/" + id + "/events", "/v1/images/" + store.ImageID(id, 0) + "/content"} {
				if a := p.do(c.key, "GET", path, "", c.mode...); a.status != want {
					t.Errorf("%s: GET %s: %d %s, want %d", name, path, a.status, a.code(), want)
				}
			}
		}
		if c.want == 404 {
			p.does(c.key, "POST", "/v1/generations/"+waiting+"/cancel", "", 404, c.mode...)
			p.does(c.key, "DELETE", "/v1/generations/"+live, "", 404, c.mode...)
		}
	}
	p.does(p.test, "DELETE", "/v1/generations/"+test, "", 204)
	if a := p.does(p.live, "GET", "/v1/generations/"+waiting, "", 200); a.text("status") != "queued" {
		t.Errorf("%s", a.body)
	}
	if a := p.do("", "GET", "/v1/images/"+store.ImageID(live, 0)+"/content?sig="+p.signer.Sign(store.ImageID(live, 0)), ""); a.status != 200 {
		t.Errorf("the signed URL: %d", a.status)
	}
}

// Ids that are none are not found, in whatever form they come.
func TestProjectIDs_ThatAreNone(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	ada := p.person("ada@example.com", "admin")
	for _, id := range []string{"proj_\xff", "\xff", "proj_1", store.NewProjectID()} {
		if a := p.do(ada.token, "GET", "/v1/generations", "", "NanoBanana-Project: "+id); a.status != 404 || a.code() != "not_found" {
			t.Errorf("project %q: %d %s", id, a.status, a.body)
		}
		if a := p.do(ada.token, "GET", "/v1/generations", "", "NanoBanana-Organization: "+id); a.status != 404 || a.code() != "not_found" {
			t.Errorf("organization %q: %d %s", id, a.status, a.body)
		}
	}
	p.refuses("U+0000", ada.token, "POST", "/v1/keys", `{"name":"k","project_id":"\u0000"}`, 404, "not_found")
}

// A master key that rotates itself gets no more time; who may make one gives it.
func TestRotateKey_ItselfKeepsItsEnd(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	ada := p.person("ada@example.com", auth.RoleOwner)
	end := time.Now().Add(10 * 24 * time.Hour).UTC().Truncate(time.Second).Format(time.RFC3339)
	first := p.does(ada.token, "POST", "/v1/keys", `{"name":"m","kind":"master","expires_at":"`+end+`"}`, 201)
	p.exec(`UPDATE api_key SET created_at = created_at - interval '5 days' WHERE id = $1`, first.text("id"))
	second := p.does(first.text("key"), "POST", "/v1/keys/"+first.text("id")+"/rotate", "", 201)
	if got := second.text("expires_at"); got != end {
		t.Errorf("it gave itself time until %s, and had %s", got, end)
	}
	p.exec(`UPDATE api_key SET created_at = created_at - interval '5 days' WHERE id = $1`, second.text("id"))
	third := p.does(ada.token, "POST", "/v1/keys/"+second.text("id")+"/rotate", "", 201)
	if got := third.text("expires_at"); got <= end {
		t.Errorf("an owner gave it time until %s, and it had %s", got, end)
	}
	revoked := p.does(ada.token, "DELETE", "/v1/keys/"+second.text("id"), "", 200)
	if got := revoked.json["replaced_by"]; fmt.Sprint(got) != third.text("id") {
		t.Errorf("revoked: replaced by %v, want %s", got, third.text("id"))
	}
	p.does(third.text("key"), "GET", "/v1/keys", "", 200) // it goes on
}
