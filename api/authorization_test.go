package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// expected is what each kind of caller is answered, by the class of the operation.
// "ok" is the operation's own success; "own" is the same, with what is the caller's
// own; "-" is not asked.
//
//	nobody         sends nothing
//	garbage        sends what is no key
//	unknown        a well-formed key that nobody made
//	expired        a key of the project whose time is over
//	revoked        a key of the project that was revoked
//	suspended      a key whose organization is suspended
//	key, test      keys of the project, live and test
//	reader         a key of the project that may only read
//	sibling        a key of another project of the organization
//	stranger       a key of another organization
//	master         a master key of the organization
//	strangeMaster  one of another organization
//	owner ... read_only  people of the organization
//	strangeOwner   the owner of another organization, who names this one
//	loose          a person of no organization, who names this one
//	token          a bearer of a foreign token, as member of the organization
//	stale          an access token whose time is over
//	ended          an access token whose session has ended
//	operator       a person who runs the service
//	operatorKey    a master key, of another organization, that administers the service
const expected = `
class           nobody garbage unknown expired revoked suspended key test reader sibling stranger master strangeMaster owner admin member billing read_only strangeOwner loose token stale ended operator operatorKey
open            ok     ok      ok      ok      ok      ok        ok  ok   ok     ok      ok       ok     ok            ok    ok    ok     ok      ok        ok           ok    ok    ok    ok    ok       ok
work.list       401    401     401     401     401     403       ok  ok   ok     own     own      403    403           ok    ok    ok     403     ok        404          404   ok    401   401   404      403
work.make       401    401     401     401     401     403       ok  ok   403    own     own      403    403           ok    ok    ok     403     403       404          404   ok    401   401   404      403
work.read       401    401     401     401     401     403       ok  ok   ok     404     404      403    403           ok    ok    ok     403     ok        404          404   ok    401   401   404      403
work.change     401    401     401     401     401     403       ok  ok   403    404     404      403    403           ok    ok    ok     403     403       404          404   ok    401   401   404      403
live.read       401    401     401     401     401     403       ok  404  ok     404     404      403    403           ok    ok    ok     403     ok        404          404   ok    401   401   404      403
live.change     401    401     401     401     401     403       ok  404  403    404     404      403    403           ok    ok    ok     403     403       404          404   ok    401   401   404      403
`

// An operationRow says of an operation what the document does not: what it is for
// the matrix, and how to ask for it so that it succeeds.
type operationRow struct {
	class  string
	target string // what its path parameters name: a key of targets
	body   string
	query  string
}

// operationRows has a row for each operation of the document.
var operationRows = map[string]operationRow{
	"health": {class: "open"}, "livez": {class: "open"}, "readyz": {class: "open"}, "getWebhookKeys": {class: "open"},
	"explainError": {class: "open", target: "code"},

	"createGeneration":     {class: "work.make", body: `{"prompt":"a banana"}`},
	"generate":             {class: "work.make", body: `{"prompt":"a banana"}`},
	"listGenerations":      {class: "work.list"},
	"getGeneration":        {class: "work.read", target: "generation"},
	"followGeneration":     {class: "work.read", target: "ended"},
	"headGenerationEvents": {class: "work.read", target: "ended"},
	"cancelGeneration":     {class: "work.change", target: "generation"},
	"deleteGeneration":     {class: "work.change", target: "generation"},
	"getImageContent":      {class: "work.read", target: "image"},
	"headImageContent":     {class: "work.read", target: "image"},
	"listModels":           {class: "work.list"},
	"getModel":             {class: "work.list", target: "model"},
	"listEvents":           {class: "work.list"},
	"getEvent":             {class: "live.read", target: "event"},

	"createWebhookEndpoint":      {class: "work.make", body: `{"url":"https://example.com/hook"}`},
	"listWebhookEndpoints":       {class: "work.list"},
	"getWebhookEndpoint":         {class: "live.read", target: "endpoint"},
	"updateWebhookEndpoint":      {class: "live.change", target: "endpoint", body: `{"description":"d"}`},
	"deleteWebhookEndpoint":      {class: "live.change", target: "endpoint"},
	"enableWebhookEndpoint":      {class: "live.change", target: "endpoint"},
	"disableWebhookEndpoint":     {class: "live.change", target: "endpoint"},
	"rotateWebhookEndpoint":      {class: "live.change", target: "endpoint", body: `{"overlap_seconds":0}`},
	"testWebhookEndpoint":        {class: "live.change", target: "endpoint"},
	"replay":                     {class: "live.change", target: "endpoint", body: `{"since":"2026-01-01T00:00:00Z"}`},
	"listDeliveries":             {class: "live.read", target: "endpoint"},
	"getDelivery":                {class: "live.read", target: "delivery"},
	"redeliver":                  {class: "live.change", target: "delivery"},
	"getDefaultWebhookSecret":    {class: "work.make"},
	"rotateDefaultWebhookSecret": {class: "work.make", body: `{"overlap_seconds":0}`},
}

// An operation is one of the document.
type operation struct {
	id, method, path string
	success          []int
	access           struct{ Area, Scope string }
}

// operations reads the document, without what it says of webhooks.
func operations(t testing.TB) []operation {
	t.Helper()
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string                     `json:"operationId"`
			Responses   map[string]json.RawMessage `json:"responses"`
			Access      struct{ Area, Scope string } `json:"x-access"`
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var ops []operation
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(doc.Paths[path])) {
			said := doc.Paths[path][method]
			op := operation{id: said.OperationID, method: strings.ToUpper(method), path: path, access: said.Access}
			for status := range said.Responses {
				if n, err := strconv.Atoi(status); err == nil && n < 400 {
					op.success = append(op.success, n)
				}
			}
			ops = append(ops, op)
		}
	}
	return ops
}

// expectations reads the table.
func expectations() (callers []string, byClass map[string]map[string]string) {
	byClass = map[string]map[string]string{}
	for line := range strings.Lines(expected) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case callers == nil:
			callers = fields[1:]
		default:
			byClass[fields[0]] = map[string]string{}
			for i, caller := range callers {
				byClass[fields[0]][caller] = fields[i+1]
			}
		}
	}
	return callers, byClass
}

// Every operation is asked for by every kind of caller. One without a row fails, as
// does a row without an operation.
func TestAuthorization(t *testing.T) {
	t.Parallel()
	ops := operations(t)
	callers, byClass := expectations()
	var ids []string
	for _, op := range ops {
		ids = append(ids, op.id)
		if row, ok := operationRows[op.id]; !ok || byClass[row.class] == nil {
			t.Errorf("operation %s has no row in the matrix: say who may call it", op.id)
		}
	}
	for id := range operationRows {
		if !slices.Contains(ids, id) {
			t.Errorf("there is no operation %s", id)
		}
	}
	if t.Failed() {
		return
	}
	for class := range byClass {
		t.Run(class, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil)
			m := newMatrix(b)
			for _, op := range ops {
				if operationRows[op.id].class != class {
					continue
				}
				for _, caller := range callers {
					m.ask(op, caller, byClass[class][caller])
				}
			}
		})
	}
}

// matrix is an organization with a project, and everyone who may or may not reach it.
type matrix struct {
	*bundle
	headers map[string][]string          // what each caller sends
	targets map[string]map[string]string // path parameters, by what they name
}

var parameter = regexp.MustCompile(`\{(\w+)\}`)

// ask checks one answer. What a call may have used up is made anew.
func (m *matrix) ask(op operation, caller, want string) {
	m.Helper()
	if want == "-" {
		return
	}
	row := operationRows[op.id]
	params := m.target(row.target)
	path := parameter.ReplaceAllStringFunc(op.path, func(p string) string { return params[strings.Trim(p, "{}")] })
	got := m.do("", op.method, path+row.query, row.body, m.headers[caller]...)
	ok := strconv.Itoa(got.status) == want
	if want == "ok" || want == "own" {
		ok = slices.Contains(op.success, got.status)
		delete(m.targets, row.target)
	}
	if !ok {
		m.Errorf("%s (%s %s) by %s: %d %s, want %s: %s", op.id, op.method, path, caller, got.status, got.code(), want, got.json["detail"])
	}
}

// target returns the path parameters of something of the project.
func (m *matrix) target(kind string) map[string]string {
	m.Helper()
	if kind != "" && m.targets[kind] == nil {
		m.targets[kind] = m.makeTarget(kind)
	}
	return m.targets[kind]
}

func (m *matrix) makeTarget(kind string) map[string]string {
	m.Helper()
	made := func(path, body string) string {
		a := m.do(m.live, "POST", path, body)
		if a.status >= 300 {
			m.Fatalf("make %s: %d %s", kind, a.status, a.body)
		}
		return a.json["id"].(string)
	}
	switch kind {
	case "code":
		return map[string]string{"code": "not_found"}
	case "model":
		return map[string]string{"name": "banana"}
	case "generation":
		return map[string]string{"id": m.submit(m.live, `{"prompt":"a banana"}`)}
	case "ended":
		return map[string]string{"id": m.done(m.live, `{"prompt":"a banana"}`, []byte("picture"))}
	case "image":
		id := m.done(m.live, `{"prompt":"a banana"}`, []byte("picture"))
		g := m.do(m.live, "GET", "/v1/generations/"+id, "")
		return map[string]string{"id": g.json["images"].([]any)[0].(map[string]any)["id"].(string)}
	case "event":
		m.submit(m.live, `{"prompt":"a banana"}`)
		events := m.do(m.live, "GET", "/v1/events?limit=1", "")
		return map[string]string{"id": events.json["first_id"].(string)}
	case "endpoint":
		m.freeEndpoints()
		return map[string]string{"id": made("/v1/webhook_endpoints", `{"url":"https://example.com/hook"}`)}
	case "delivery":
		m.freeEndpoints()
		endpoint := made("/v1/webhook_endpoints", `{"url":"https://example.com/hook"}`)
		return map[string]string{"id": endpoint, "event_id": made("/v1/webhook_endpoints/"+endpoint+"/test", "")}
	}
	m.Fatalf("nothing is known of targets %q", kind)
	return nil
}

// freeEndpoints makes room for another endpoint.
func (m *matrix) freeEndpoints() {
	m.Helper()
	_, err := m.db.Pool().Exec(m.Context(), `UPDATE webhook_endpoint SET deleted_at = now() WHERE deleted_at IS NULL`)
	m.must(err)
}

func newMatrix(b *bundle) *matrix {
	b.Helper()
	m := &matrix{bundle: b, headers: map[string][]string{}, targets: map[string]map[string]string{}}
	bearer := func(credential string) []string { return []string{"Authorization: Bearer " + credential} }
	m.headers["nobody"] = nil
	m.headers["garbage"] = bearer("nb_live_garbage")
	m.headers["key"], m.headers["test"], m.headers["stranger"] = bearer(b.live), bearer(b.test), bearer(b.other)
	_ = fmt.Sprint
	_ = http.MethodGet
	return m
}
