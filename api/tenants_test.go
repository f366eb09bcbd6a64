package api_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// A tenant has an organization, credentials, and things of each kind there is.
type tenant struct {
	*matrix
	owner  []string            // headers of its owner, who names its organization and project
	things []map[string]string // path parameters of all that it has
}

// newTenant makes an organization with a project, and one or two things of each kind.
func newTenant(m *matrix, random *rand.Rand, name string) *tenant {
	m.Helper()
	own := *m.bundle
	own.project, own.live = m.newProject(name)
	own.test = own.newKey(own.project, store.KeyTest)
	t := &tenant{matrix: &matrix{people: &people{bundle: &own, org: own.project.OrgID}, targets: map[string]map[string]string{}, made: len(name) * 1000}}
	var err error
	t.master, _, err = own.keys.Create(m.Context(), nil, auth.NewKey{OrgID: t.org, Name: "master", Kind: store.KeyMaster})
	m.must(err)
	owner := t.person(name+"@example.com", auth.RoleOwner)
	t.owner = []string{"Authorization: Bearer " + owner.token, "NanoBanana-Organization: " + t.org, "NanoBanana-Project: " + own.project.ID}
	kinds := map[string]bool{}
	for _, row := range operationRows {
		kinds[row.target] = true
	}
	for _, shared := range []string{"", "code", "model", "provider", "guest", "elsewhere"} {
		delete(kinds, shared)
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		for range 1 + random.IntN(2) {
			thing := t.makeTarget(kind)
			thing["kind"] = kind
			if thing["id"] == "" {
				thing["id"] = t.org
			}
			t.things = append(t.things, thing)
		}
	}
	t.things = append(t.things, map[string]string{"kind": "project", "id": own.project.ID, "org_id": t.org})
	return t
}

// credentials are the headers of those of the tenant who may call in an area.
func (t *tenant) credentials(area string) map[string][]string {
	bearer := func(key string) []string { return []string{"Authorization: Bearer " + key} }
	switch area {
	case "project":
		return map[string][]string{"live key": bearer(t.live), "test key": bearer(t.test), "owner": t.owner}
	case "organization":
		return map[string][]string{"master key": bearer(t.master), "owner": t.owner}
	case "project or organization":
		return map[string][]string{"live key": bearer(t.live), "test key": bearer(t.test), "master key": bearer(t.master), "owner": t.owner}
	case "account":
		return map[string][]string{"owner": t.owner}
	}
	return nil
}

// attempts are the paths by which one tenant may try to reach what is another's: every
// id on every place of the path, beside some ids of its own.
func attempts(random *rand.Rand, path string, mine, theirs *tenant) map[string]bool {
	paths := map[string]bool{}
	for _, thing := range theirs.things {
		paths[fill(path, thing)] = true
		for _, param := range parameter.FindAllString(path, -1) {
			param = strings.Trim(param, "{}")
			for range 2 {
				mixed := maps.Clone(mine.things[random.IntN(len(mine.things))])
				mixed[param] = thing["id"]
				if thing[param] != "" {
					mixed[param] = thing[param]
				}
				paths[fill(path, mixed)] = true
			}
		}
	}
	maps.DeleteFunc(paths, func(path string, _ bool) bool { return strings.Contains(path, "//") || strings.HasSuffix(path, "/") })
	return paths
}

// digests are one for each table of the database.
func (b *bundle) digests() map[string]string {
	b.Helper()
	tables := map[string]string{}
	rows, err := b.db.Pool().Query(b.Context(), `
		SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
		WHERE schemaname IN ('public', $1) AND tablename NOT IN ('rate_limit', 'request_log')`, store.RiverSchema)
	b.must(err)
	var names []string
	for rows.Next() {
		var name string
		b.must(rows.Scan(&name))
		names = append(names, name)
	}
	b.must(rows.Err())
	for _, name := range names {
		var digest string
		b.must(b.db.Pool().QueryRow(b.Context(), `
			SELECT count(*) || ' ' || coalesce(md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))), '') FROM `+name+` AS t`).Scan(&digest))
		tables[name] = digest
	}
	return tables
}

// Random tenants with random things: each credential of each tries every id of the
// others on every route, and is told that there is nothing. No row changes.
func TestLong_TenantsReachNothingOfOthers(t *testing.T) {
	t.Parallel()
	ops := operations(t)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, seed))
	m := newMatrix(t)
	m.exec(`UPDATE org SET rate_limit = 0`)
	tenants := []*tenant{newTenant(m, random, "one"), newTenant(m, random, "three"), newTenant(m, random, "seventh")}
	before, asked := m.digests(), 0
	for _, mine := range tenants {
		for _, theirs := range tenants {
			if mine == theirs {
				continue
			}
			for _, op := range ops {
				asked += tryAll(m, random, op, mine, theirs)
			}
		}
	}
	if diff := cmp.Diff(before, m.digests()); diff != "" {
		t.Errorf("rows have changed (-before +after):\n%s", diff)
	}
	t.Logf("seed %d: %d requests", seed, asked)
	if asked < 1000 {
		t.Error("that is not every id on every route")
	}
}

// tryAll asks for an operation with every id of another tenant, and with the other's
// ids in the body and the headers.
func tryAll(m *matrix, random *rand.Rand, op operation, mine, theirs *tenant) (asked int) {
	m.Helper()
	row := operationRows[op.id]
	words := strings.NewReplacer("PROJECT", theirs.project.ID, "ORG", theirs.org, "GUEST", "guest@example.com")
	body := words.Replace(row.body)
	if op.id == "createWebhookEndpoint" { // what names the project as an ornament
		body = words.Replace(`{"url":"https://example.com/hook","project_id":"PROJECT"}`)
	}
	for who, headers := range mine.credentials(op.access.Area) {
		try := func(path string, headers []string) {
			asked++
			a := m.do("", op.method, path, body, append(slices.Clone(headers), m.anotherAddress())...)
			if a.status != 404 {
				m.Errorf("%s %s %s by a stranger's %s: %d %s", op.method, path, body, who, a.status, a.body)
			}
		}
		// Of requests, a list shows which ids the tenant itself has asked for.
		if op.method == "GET" && strings.HasPrefix(op.id, "list") && op.id != "listRequests" {
			asked += lookBehind(m, op, headers, mine, theirs)
		}
		if strings.Contains(op.path, "{") {
			for path := range attempts(random, op.path, mine, theirs) {
				try(path, headers)
			}
		} else if body != row.body && !strings.Contains(row.body, "GUEST") {
			try(op.path, headers)
		}
		if who != "owner" || op.access.Area == "account" || strings.Contains(op.path, "{org_id}") {
			continue
		}
		crossed := append(slices.Clone(headers[:1]), theirs.owner[1:]...)
		for _, thing := range theirs.things {
			try(fill(op.path, thing), crossed)
		}
	}
	return asked
}

// lookBehind lists from the other tenant's ids on, both ways: nothing of theirs shows.
func lookBehind(m *matrix, op operation, headers []string, mine, theirs *tenant) (asked int) {
	m.Helper()
	path := fill(op.path, map[string]string{"org_id": mine.org, "id": ownEndpoint(mine)})
	for _, thing := range theirs.things {
		for _, query := range []string{"?limit=100&after=", "?limit=100&before="} {
			asked++
			a := m.do("", "GET", path+query+thing["id"], "", append(slices.Clone(headers), m.anotherAddress())...)
			if a.status >= 500 {
				m.Errorf("%s%s%s: %d %s", path, query, thing["id"], a.status, a.body)
			}
			for _, other := range theirs.things {
				if a.status == 200 && strings.Contains(a.body, other["id"]) {
					m.Errorf("%s%s%s shows %s of another tenant", path, query, thing["id"], other["id"])
				}
			}
		}
	}
	return asked
}

// ownEndpoint is the id of one of a tenant's webhook endpoints.
func ownEndpoint(t *tenant) string {
	i := slices.IndexFunc(t.things, func(thing map[string]string) bool { return thing["kind"] == "endpoint" })
	return t.things[i]["id"]
}
