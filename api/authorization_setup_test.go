package api_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/oauth2-proxy/mockoidc"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// matrix is an organization with a project, and everyone who may or may not reach it.
type matrix struct {
	*people
	headers map[string][]string          // what each caller sends
	targets map[string]map[string]string // path parameters, by what they name
	made    int                          // so that what is made differs
}

func newMatrix(t testing.TB) *matrix {
	t.Helper()
	m := &matrix{headers: map[string][]string{}, targets: map[string]map[string]string{}}
	provider, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = provider.Shutdown() })
	orgs := map[string]string{"acme": store.NewOrgID()}
	m.people = setupPeople(t, func(o *api.Options) {
		o.RequestLog = keepRequests(t, o.DB)
		o.Billing = newStripe(t)
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		o.Issuers, err = auth.NewIssuers(auth.IssuersOptions{DB: o.DB, DatabaseSecret: "database secret", Providers: []auth.Provider{{
			Name: "corp", Issuer: provider.Issuer(), ClientID: provider.ClientID, ClientSecret: provider.ClientSecret,
			Audience: "api", OrganizationClaim: "org", Organizations: orgs,
		}}})
	})
	m.must(err)
	orgs["acme"] = m.org
	token, err := provider.Keypair.SignJWT(jwt.MapClaims{
		"iss": provider.Issuer(), "aud": "api", "sub": "robot", "org": "acme", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	})
	m.must(err)
	m.headers["token"] = []string{"Authorization: Bearer " + token, "NanoBanana-Project: " + m.project.ID}
	m.keyCallers()
	m.peopleCallers()
	return m
}

// keepRequests is a request log that fails the test if a request is missing in it.
func keepRequests(t testing.TB, db *store.DB) *api.RequestLog {
	log := &logBuffer{}
	kept := api.NewRequestLog(api.RequestLogOptions{DB: db, Size: 1 << 20, FailedReads: 1 << 20, Idle: 1 << 20, Logger: slog.New(slog.NewJSONHandler(log, nil))})
	t.Cleanup(func() {
		kept.Close()
		if text := log.String(); text != "" {
			t.Errorf("the request log: %s", text)
		}
	})
	return kept
}

func (m *matrix) keyCallers() {
	m.Helper()
	key := func(caller string, org string, project *store.Project, n auth.NewKey) string {
		n.OrgID, n.Name = org, caller
		if project != nil {
			n.ProjectID = project.ID
		}
		if n.Kind == "" {
			n.Kind = store.KeyLive
		}
		secret, row, err := m.keys.Create(m.Context(), nil, n)
		m.must(err)
		m.headers[caller] = []string{"Authorization: Bearer " + secret}
		return row.ID
	}
	past := time.Now().Add(-time.Hour)
	sibling, err := m.db.CreateProject(m.Context(), m.org, "sibling")
	m.must(err)
	stranger, _ := m.newProject("stranger")
	suspended, _ := m.newProject("suspended")
	m.headers["garbage"] = []string{"Authorization: Bearer nb_live_garbage"}
	unknown, _, err := auth.NewKeys(auth.Options{DB: m.db, DatabaseSecret: "another"}).Create(m.Context(), nil, auth.NewKey{OrgID: m.org, ProjectID: m.project.ID, Name: "n", Kind: store.KeyLive})
	m.must(err)
	m.headers["unknown"] = []string{"Authorization: Bearer " + unknown}
	m.headers["key"] = []string{"Authorization: Bearer " + m.live}
	m.headers["test"] = []string{"Authorization: Bearer " + m.test}
	m.headers["master"] = []string{"Authorization: Bearer " + m.master}
	key("expired", m.org, m.project, auth.NewKey{ExpiresAt: &past})
	revoked := key("revoked", m.org, m.project, auth.NewKey{})
	m.exec(`UPDATE api_key SET revoked_at = now() WHERE id = $1`, revoked)
	key("suspended", suspended.OrgID, suspended, auth.NewKey{})
	m.exec(`UPDATE org SET suspended_at = now() WHERE id = $1`, suspended.OrgID)
	key("reader", m.org, m.project, auth.NewKey{Scopes: []string{"*:read"}})
	key("sibling", m.org, sibling, auth.NewKey{})
	key("stranger", stranger.OrgID, stranger, auth.NewKey{})
	key("strangeMaster", stranger.OrgID, nil, auth.NewKey{Kind: store.KeyMaster})
	key("operatorKey", stranger.OrgID, nil, auth.NewKey{Kind: store.KeyMaster, Operator: true})
}

func (m *matrix) peopleCallers() {
	m.Helper()
	sign := func(caller, token string) {
		m.headers[caller] = []string{"Authorization: Bearer " + token, "NanoBanana-Organization: " + m.org, "NanoBanana-Project: " + m.project.ID}
	}
	for _, role := range auth.Roles() {
		sign(role, m.person(role+"@example.com", role).token)
	}
	strange := m.person("strange@example.com", "")
	elsewhere, _ := m.newProject("elsewhere")
	m.must(m.db.InsertMembership(m.Context(), elsewhere.OrgID, strange.id, auth.RoleOwner))
	sign("strangeOwner", strange.token)
	sign("loose", m.person("loose@example.com", "").token)
	operator := m.person("operator@example.com", "")
	password, err := cheapPasswords().Hash(m.Context(), "what nobody sends")
	m.must(err)
	m.exec(`UPDATE account SET password = $1`, password) // so that nobody erases themself
	m.exec(`UPDATE account SET operator = true WHERE id = $1`, operator.id)
	sign("operator", operator.token)
	ended := m.person("ended@example.com", auth.RoleOwner)
	m.exec(`UPDATE session SET ended_at = now(), ended_reason = 'logout' WHERE account_id = $1`, ended.id)
	sign("ended", ended.token)
	stale := m.person("stale@example.com", auth.RoleOwner)
	past := auth.NewSessions(auth.SessionsOptions{
		DB: m.db, DatabaseSecret: "database secret", Now: func() time.Time { return time.Now().Add(-time.Hour) },
	})
	m.must(m.db.Transact(m.Context(), func(tx *store.DB) error {
		in, err := past.Issue(m.Context(), tx, store.Session{AccountID: stale.id, Method: store.MethodPassword, IP: "127.0.0.1"})
		if err == nil {
			sign("stale", in.AccessToken)
		}
		return err
	}))
}

var parameter = regexp.MustCompile(`\{(\w+)\}`)

// fill puts path parameters into a path.
func fill(path string, params map[string]string) string {
	return parameter.ReplaceAllStringFunc(path, func(p string) string { return params[strings.Trim(p, "{}")] })
}

// askAll asks for an operation as each caller: first as those who are refused, which
// must change nothing.
func (m *matrix) askAll(op operation, row operationRow, callers []string, want map[string]string) {
	m.Helper()
	m.target(row.target)
	before := m.digests()
	for _, caller := range callers {
		if want[caller] != "ok" && want[caller] != "own" {
			m.ask(op, row, caller, want[caller])
		}
	}
	if diff := cmp.Diff(before, m.digests()); diff != "" {
		m.Errorf("refusing %s changed rows (-before +after):\n%s", op.id, diff)
	}
	for _, caller := range callers {
		if want[caller] == "ok" || want[caller] == "own" {
			m.ask(op, row, caller, want[caller])
		}
	}
}

// ask checks one answer. What a call may have used up is made anew.
func (m *matrix) ask(op operation, row operationRow, caller, want string) {
	m.Helper()
	params := m.target(row.target)
	words := strings.NewReplacer("PROJECT", m.project.ID, "ORG", m.org, "GUEST", params["email"])
	path := fill(op.path, params) + words.Replace(row.query)
	got := m.do("", op.method, path, words.Replace(row.body), append(m.headers[caller], m.anotherAddress())...)
	ok := strconv.Itoa(got.status) == want
	if want == "ok" || want == "own" {
		if ok = slices.Contains(op.success, got.status); row.answer != "" {
			ok = fmt.Sprint(got.status, " ", got.code()) == row.answer
		}
		delete(m.targets, row.target)
	}
	if want == "own" && (strings.Contains(got.body, m.project.ID) || caller != "sibling" && strings.Contains(got.body, m.org)) {
		m.Errorf("%s by %s shows what is another's: %s", op.id, caller, got.body)
	}
	if !ok {
		m.Errorf("%s (%s %s) by %s: %d %s, want %s %s: %v", op.id, op.method, path, caller, got.status, got.code(), want, row.answer, got.json["detail"])
	}
}

// anotherAddress is a header that makes a request come from somewhere else, so that
// no limit by address is reached.
func (m *matrix) anotherAddress() string {
	m.made++
	return fmt.Sprintf("X-Forwarded-For: 198.51.%d.%d", m.made/250, m.made%250)
}

// target returns the path parameters of something of the project.
func (m *matrix) target(kind string) map[string]string {
	m.Helper()
	if kind != "" && m.targets[kind] == nil {
		m.targets[kind] = m.makeTarget(kind)
	}
	return m.targets[kind]
}

// create makes something over HTTP and returns its id.
func (m *matrix) create(key, path, body string) string {
	m.Helper()
	a := m.do(key, "POST", path, body)
	if a.status >= 300 {
		m.Fatalf("POST %s: %d %s", path, a.status, a.body)
	}
	return a.text("id")
}

func (m *matrix) makeTarget(kind string) map[string]string {
	m.Helper()
	m.made++
	email := fmt.Sprintf("guest%d@example.com", m.made)
	id := func(id string) map[string]string { return map[string]string{"id": id, "org_id": m.org, "email": email} }
	switch kind {
	case "code":
		return map[string]string{"code": "not_found"}
	case "provider":
		return map[string]string{"provider": "corp"}
	case "model":
		return map[string]string{"name": "banana"}
	case "generation":
		return id(m.submit(m.live, `{"prompt":"a banana"}`))
	case "ended":
		return id(m.done(m.live, `{"prompt":"a banana"}`, []byte("picture")))
	case "image":
		return id(store.ImageID(m.done(m.live, `{"prompt":"a banana"}`, []byte("picture")), 0))
	case "event":
		m.submit(m.live, `{"prompt":"a banana"}`)
		return id(m.do(m.live, "GET", "/v1/events?limit=1", "").text("first_id"))
	case "endpoint", "delivery":
		m.exec(`UPDATE webhook_endpoint SET deleted_at = now() WHERE deleted_at IS NULL`) // there may be only so many
		delete(m.targets, "endpoint")
		delete(m.targets, "delivery")
		endpoint := id(m.create(m.live, "/v1/webhook_endpoints", `{"url":"https://example.com/hook"}`))
		if kind == "delivery" {
			endpoint["event_id"] = m.create(m.live, "/v1/webhook_endpoints/"+endpoint["id"]+"/test", "")
		}
		return endpoint
	case "invoice":
		invoice := fmt.Sprintf("in_%s_%d", strings.TrimPrefix(m.org, "org_"), m.made)
		m.exec(`INSERT INTO invoice (id, org_id, status, currency, amount_due, amount_paid, fetched_at, created_at) VALUES ($1, $2, 'paid', 'usd', 900, 900, now(), now())`, invoice, m.org)
		return id(invoice)
	case "project":
		return id(m.create(m.master, "/v1/projects", `{"name":"Target"}`))
	case "key":
		return id(m.create(m.master, "/v1/keys", `{"name":"target","project_id":"`+m.project.ID+`"}`))
	case "request":
		row := store.LoggedRequest{
			ID: store.NewRequestID(), OrgID: m.org, ProjectID: &m.project.ID, Method: "POST", Path: "/v1/generations", Status: 402, IP: "192.0.2.1",
			CreatedAt: time.Now(),
		}
		m.must(m.db.RecordRequests(m.Context(), []store.LoggedRequest{row}))
		return id(row.ID)
	case "organization", "guest":
		return id("")
	case "elsewhere":
		project, _ := m.newProject("elsewhere")
		return map[string]string{"org_id": project.OrgID}
	case "invitation":
		m.exec(`DELETE FROM invitation`) // there may be only so many a day
		return id(m.create(m.master, "/v1/orgs/"+m.org+"/invitations", `{"email":"`+email+`","role":"member"}`))
	case "membership", "user", "session":
		guest := m.person(email, auth.RoleMember)
		params := id(guest.id)
		params["account_id"] = guest.id
		if kind == "session" {
			params["id"] = m.do(guest.token, "GET", "/v1/me/sessions", "").ids("id")[0]
		}
		return params
	}
	m.Fatalf("nothing is known of targets %q", kind)
	return nil
}
