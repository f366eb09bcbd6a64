package api_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
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
//	token          a bearer of a token of another issuer, as a member of the organization
//	stale          an access token whose time is over
//	ended          an access token whose session has ended
//	operator       a person who runs the service
//	operatorKey    a master key, of another organization, that administers the service
const expected = `
class           nobody garbage unknown expired revoked suspended key test reader sibling stranger master strangeMaster owner admin member billing read_only strangeOwner loose token stale ended operator operatorKey
open            ok     ok      ok      ok      ok      ok        ok  ok   ok     ok      ok       ok     ok            ok    ok    ok     ok      ok        ok           ok    ok    ok    ok    ok       ok
work.list       401    401     401     401     401     403       ok  ok   ok     own     own      403    403           ok    ok    ok     403     ok        404          404   ok    401   401   404      403
work.make       401    401     401     401     401     403       ok  ok   403    own     own      403    403           ok    ok    ok     403     403       404          404   ok    401   401   404      403
work.read       401    401     401     401     401     403       ok  404  ok     404     404      403    403           ok    ok    ok     403     ok        404          404   ok    401   401   404      403
work.change     401    401     401     401     401     403       ok  404  403    404     404      403    403           ok    ok    ok     403     403       404          404   ok    401   401   404      403
usage.read      401    401     401     401     401     403       ok  ok   ok     own     own      ok     own           ok    ok    ok     ok      ok        404          404   ok    401   401   404      own
projects.list   401    401     401     401     401     403       403 403  403    403     403      ok     own           ok    ok    ok     ok      ok        404          404   ok    401   401   404      own
projects.make   401    401     401     401     401     403       403 403  403    403     403      ok     own           ok    ok    403    403     403       404          404   403   401   401   404      own
projects.read   401    401     401     401     401     403       403 403  403    403     403      ok     404           ok    ok    ok     ok      ok        404          404   ok    401   401   404      404
projects.change 401    401     401     401     401     403       403 403  403    403     403      ok     404           ok    ok    403    403     403       404          404   403   401   401   404      404
keys.list       401    401     401     401     401     403       403 403  403    403     403      ok     own           ok    ok    ok     403     ok        404          404   ok    401   401   404      own
keys.make       401    401     401     401     401     403       403 403  403    403     403      ok     404           ok    ok    403    403     403       404          404   403   401   401   404      404
keys.read       401    401     401     401     401     403       403 403  403    403     403      ok     404           ok    ok    ok     403     ok        404          404   ok    401   401   404      404
keys.change     401    401     401     401     401     403       403 403  403    403     403      ok     404           ok    ok    403    403     403       404          404   403   401   401   404      404
org.read        401    401     401     401     401     403       403 403  403    403     403      ok     404           ok    ok    ok     ok      ok        404          404   ok    401   401   404      404
org.change      401    401     401     401     401     403       403 403  403    403     403      ok     404           ok    ok    403    403     403       404          404   403   401   401   404      404
org.owners      401    401     401     401     401     403       403 403  403    403     403      403    404           ok    403   403    403     403       404          404   403   401   401   404      404
masterkeys.make 401    401     401     401     401     403       403 403  403    403     403      403    403           ok    403   403    403     403       404          404   403   401   401   404      403
billing.read    401    401     401     401     401     403       403 403  403    403     403      ok     own           ok    ok    403    ok      403       404          404   403   401   401   404      own
billing.write   401    401     401     401     401     403       403 403  403    403     403      ok     own           ok    403   403    ok      403       404          404   403   401   401   404      own
org.audit       401    401     401     401     401     403       403 403  403    403     403      ok     404           ok    403   403    403     403       404          404   403   401   401   404      404
org.money       401    401     401     401     401     403       403 403  403    403     403      ok     own           ok    ok    403    ok      403       404          404   403   401   401   404      own
reports.list    401    401     401     401     401     403       ok  ok   ok     own     own      ok     own           ok    ok    ok     403     ok        404          404   ok    401   401   404      own
reports.read    401    401     401     401     401     403       ok  404  ok     404     404      ok     404           ok    ok    ok     403     ok        404          404   ok    401   401   404      404
billing.invoice 401    401     401     401     401     403       403 403  403    403     403      ok     404           ok    ok    403    ok      403       404          404   403   401   401   404      404
me              401    401     401     401     401     403       403 403  403    403     403      403    403           ok    ok    ok     ok      ok        ok           ok    403   401   401   ok       403
operate         401    401     401     401     401     403       403 403  403    403     403      403    403           403   403   403    403     403       403          403   403   401   401   ok       ok
`

// An operationRow says of an operation what the document does not: what it is for
// the matrix, and how to ask for it so that it succeeds.
type operationRow struct {
	class  string
	target string // what its path parameters name
	body   string
	query  string
	answer string // status and code for whoever may call, if it is not the success
}

// operationRows has a row for each operation of the document, and more for those whose
// body says how much is asked for.
var operationRows = map[string]operationRow{
	"health": {class: "open"}, "livez": {class: "open"}, "readyz": {class: "open"}, "getWebhookKeys": {class: "open"},
	"explainError": {class: "open", target: "code"},

	"createGeneration":     {class: "work.make", body: `{"prompt":"a banana"}`},
	"generate":             {class: "work.make", body: `{"prompt":"a banana"}`},
	"estimate":             {class: "work.make", body: `{"prompt":"a banana"}`},
	"listPlans":            {class: "open"},
	"getReceipt":           {class: "work.read", target: "ended"},
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
	"getEvent":             {class: "work.read", target: "event"},

	"createWebhookEndpoint":      {class: "work.make", body: `{"url":"https://example.com/hook"}`},
	"listWebhookEndpoints":       {class: "work.list"},
	"getWebhookEndpoint":         {class: "work.read", target: "endpoint"},
	"updateWebhookEndpoint":      {class: "work.change", target: "endpoint", body: `{"description":"d"}`},
	"deleteWebhookEndpoint":      {class: "work.change", target: "endpoint"},
	"enableWebhookEndpoint":      {class: "work.change", target: "endpoint"},
	"disableWebhookEndpoint":     {class: "work.change", target: "endpoint"},
	"rotateWebhookEndpoint":      {class: "work.change", target: "endpoint", body: `{"overlap_seconds":0}`},
	"testWebhookEndpoint":        {class: "work.change", target: "endpoint"},
	"replay":                     {class: "work.change", target: "endpoint", body: `{"since":"2026-01-01T00:00:00Z"}`},
	"listDeliveries":             {class: "work.read", target: "endpoint"},
	"getDelivery":                {class: "work.read", target: "delivery"},
	"redeliver":                  {class: "work.change", target: "delivery"},
	"getDefaultWebhookSecret":    {class: "work.make"},
	"rotateDefaultWebhookSecret": {class: "work.make", body: `{"overlap_seconds":0}`},

	"getOwnProject": {class: "work.list"},

	"listProjects":   {class: "projects.list"},
	"createProject":  {class: "projects.make", body: `{"name":"Shop"}`},
	"getProject":     {class: "projects.read", target: "project"},
	"updateProject":  {class: "projects.change", target: "project", body: `{"name":"Another"}`},
	"archiveProject": {class: "projects.change", target: "project"},

	"listKeys":                {class: "keys.list"},
	"createKey master":        {class: "masterkeys.make", body: `{"name":"k","kind":"master"}`},
	"createInvitation owner":  {class: "org.owners", target: "guest", body: `{"email":"GUEST","role":"owner"}`},
	"updateMember into owner": {class: "org.owners", target: "membership", body: `{"role":"owner"}`},

	"createKey": {class: "keys.make", body: `{"name":"k","project_id":"PROJECT"}`},
	"getKey":    {class: "keys.read", target: "key"},
	"updateKey": {class: "keys.change", target: "key", body: `{"name":"another"}`},
	"revokeKey": {class: "keys.change", target: "key"},
	"rotateKey": {class: "keys.change", target: "key", body: `{"grace_seconds":0}`},

	"getOrg":           {class: "org.read", target: "organization"},
	"updateOrg":        {class: "org.change", target: "organization", body: `{"name":"Renamed"}`},
	"deleteOrg":        {class: "org.owners", target: "organization", body: `{"name":"not its name"}`, answer: "422 validation_failed"},
	"listMembers":      {class: "org.read", target: "organization"},
	"updateMember":     {class: "org.change", target: "membership", body: `{"role":"billing"}`},
	"deleteMember":     {class: "org.change", target: "membership"},
	"listInvitations":  {class: "org.read", target: "organization"},
	"createInvitation": {class: "org.change", target: "guest", body: `{"email":"GUEST","role":"member"}`},
	"revokeInvitation": {class: "org.change", target: "invitation"},
	"resendInvitation": {class: "org.change", target: "invitation", answer: "429 rate_limited"}, // it was just sent,
	"listAuditLog":     {class: "org.audit", target: "organization"},
	"exportAuditLog":   {class: "org.audit", target: "organization"},

	"getCredits":         {class: "org.money"},
	"listLedger":         {class: "org.money"},
	"exportLedger":       {class: "org.money"},
	"listRequests":       {class: "reports.list"},
	"getRequest":         {class: "reports.read", target: "request"},
	"getBudget":          {class: "billing.read"},
	"setBudget":          {class: "billing.write", body: `{"credits":100}`},
	"deleteBudget":       {class: "billing.write"},
	"getSubscription":    {class: "billing.read"},
	"changeSubscription": {class: "billing.write", body: `{"plan":"pro"}`, answer: "409 no_subscription"},
	"createCheckout":     {class: "billing.write", body: `{"plan":"pro"}`},
	"buyCredits":         {class: "billing.write", body: `{"credits":100}`},
	"createPortal":       {class: "billing.write", body: `{}`},
	"listInvoices":       {class: "billing.read"},
	"getInvoice":         {class: "billing.invoice", target: "invoice"},
	"takeStripeEvent":    {class: "open", answer: "400 invalid_signature"},
	"adminRefund":        {class: "operate", body: `{"invoice_id":"in_1","reason":"r"}`, answer: "404 not_found"},

	"register":           {class: "open", target: "guest", body: `{"email":"GUEST","password":"three plain words here"}`},
	"login":              {class: "open", target: "guest", body: `{"email":"GUEST","password":"three plain words here"}`, answer: "401 invalid_credentials"},
	"refresh":            {class: "open", answer: "401 session_ended"},
	"logout":             {class: "open", answer: "401 session_ended"},
	"verifyEmail":        {class: "open", body: `{"token":"unknown"}`, answer: "410 link_invalid"},
	"forgotPassword":     {class: "open", target: "guest", body: `{"email":"GUEST"}`},
	"resetPassword":      {class: "open", body: `{"token":"unknown","password":"three plain words here"}`, answer: "410 link_invalid"},
	"getAccessTokenKeys": {class: "open"},

	"listSignOnProviders": {class: "open"},
	"beginSignOn":         {class: "open", target: "provider", answer: "400 sign_on_failed"}, // who sends it on to finishSignOn, without its cookie
	"finishSignOn":        {class: "open", target: "provider", answer: "400 sign_on_failed"},

	"resendVerification": {class: "me"},
	"acceptInvitation":   {class: "me", body: `{"token":"unknown"}`, answer: "410 link_invalid"},
	"listOrgs":           {class: "me"},
	"createOrg":          {class: "me", body: `{"name":"Mine"}`},
	"getMe":              {class: "me"},
	"updateMe":           {class: "me", body: `{"name":"Ada"}`},
	"deleteMe":           {class: "me", body: `{"password":"not theirs at all"}`, answer: "403 permission_denied"},
	"exportMe":           {class: "me"},
	"listSessions":       {class: "me"},
	"endOtherSessions":   {class: "me"},
	"endSession":         {class: "me", target: "session", answer: "404 not_found"}, // of another

	"getUsage":                  {class: "usage.read"},
	"getUsageSummary":           {class: "usage.read"},
	"exportUsage":               {class: "usage.read"},
	"getOrganizationImageUsage": {class: "usage.read", query: "?start_time=1760000000"},
	"getOrganizationCosts":      {class: "usage.read", query: "?start_time=1760000000"},

	"adminListUsage":     {class: "operate"},
	"adminListAuditLog":  {class: "operate"},
	"adminListKeys":      {class: "operate", query: "?org_id=ORG"},
	"adminListOrgs":      {class: "operate"},
	"adminGetOrg":        {class: "operate", target: "organization"},
	"adminUpdateOrg":     {class: "operate", target: "organization", body: `{"rate_limit":7}`},
	"adminSuspendOrg":    {class: "operate", target: "elsewhere", body: `{"reason":"spam"}`},
	"adminUnsuspendOrg":  {class: "operate", target: "elsewhere", body: `{"reason":"paid"}`},
	"adminGetCredits":    {class: "operate", target: "organization"},
	"adminChangeCredits": {class: "operate", target: "organization", body: `{"action":"grant","amount":1,"reason":"a gift"}`},
	"adminListUsers":     {class: "operate"},
	"adminGetUser":       {class: "operate", target: "user"},
	"adminSuspendUser":   {class: "operate", target: "user", body: `{"reason":"spam"}`},
	"adminUnsuspendUser": {class: "operate", target: "user", body: `{"reason":"paid"}`},
}

// An operation is one of the document.
type operation struct {
	id, method, path string
	success          []int
	access           operationAccess
}

type operationAccess struct {
	Area, Scope string
	KeyScope    string `json:"key_scope"`
}

// keyScope is what the key of a project needs; empty: it may not call.
func (a operationAccess) keyScope() string {
	if a.Area == "project" {
		return a.Scope
	}
	return a.KeyScope
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
			Access      operationAccess            `json:"x-access"`
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

// rowsOf are the rows of an operation, by their names.
func rowsOf(op operation) (rows []operationRow) {
	for _, name := range slices.Sorted(maps.Keys(operationRows)) {
		if id, _, _ := strings.Cut(name, " "); id == op.id {
			rows = append(rows, operationRows[name])
		}
	}
	return rows
}

// Every operation is asked for by every kind of caller. One without a row fails, as
// does a row without an operation. What is refused changes no row.
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
		if op.access.Area == "" {
			t.Errorf("the document does not say who may call %s", op.id)
		}
	}
	for name := range operationRows {
		if id, _, _ := strings.Cut(name, " "); !slices.Contains(ids, id) {
			t.Errorf("there is no operation %s", id)
		}
	}
	if t.Failed() {
		return
	}
	for class := range byClass {
		t.Run(class, func(t *testing.T) {
			t.Parallel()
			m := newMatrix(t)
			for _, op := range ops {
				for _, row := range rowsOf(op) {
					if row.class == class {
						m.askAll(op, row, callers, byClass[class])
					}
				}
			}
		})
	}
}

// A key of exactly the scope that the document names may call an operation; a key of
// all the others may not.
func TestAuthorization_Scopes(t *testing.T) {
	t.Parallel()
	m := newMatrix(t)
	for _, scope := range auth.ProjectScopes() {
		others := slices.DeleteFunc(auth.ProjectScopes(), func(s string) bool { return s == scope })
		for caller, scopes := range map[string][]string{"only " + scope: {scope}, "all but " + scope: others} {
			key, _, err := m.keys.Create(t.Context(), nil, auth.NewKey{OrgID: m.org, ProjectID: m.project.ID, Name: "k", Kind: store.KeyLive, Scopes: scopes})
			m.must(err)
			m.headers[caller] = []string{"Authorization: Bearer " + key}
		}
	}
	for _, op := range operations(t) {
		scope := op.access.keyScope()
		if scope == "" && op.access.Area != "project" {
			continue
		}
		if !slices.Contains(auth.ProjectScopes(), scope) {
			t.Errorf("%s needs the scope %q, which no key can have", op.id, scope)
			continue
		}
		m.ask(op, operationRows[op.id], "all but "+scope, "403")
		m.ask(op, operationRows[op.id], "only "+scope, "ok")
	}
}
