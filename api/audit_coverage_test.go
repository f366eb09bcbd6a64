package api_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// audited says what each operation that changes something writes to the audit log.
var audited = map[string]string{
	"createWebhookEndpoint": "webhook_endpoint.create", "updateWebhookEndpoint": "webhook_endpoint.update",
	"deleteWebhookEndpoint": "webhook_endpoint.delete", "enableWebhookEndpoint": "webhook_endpoint.enable",
	"disableWebhookEndpoint": "webhook_endpoint.disable", "rotateWebhookEndpoint": "webhook_endpoint.rotate",
	"rotateDefaultWebhookSecret": "webhook_secret.rotate",

	"createProject": "project.create", "updateProject": "project.update", "archiveProject": "project.archive",
	"createKey": "key.create", "updateKey": "key.update", "revokeKey": "key.revoke", "rotateKey": "key.rotate",
	"createOrg": "org.create", "updateOrg": "org.update", "deleteOrg": "org.delete",
	"updateMember": "membership.update", "deleteMember": "membership.delete",
	"createInvitation": "invitation.create", "resendInvitation": "invitation.resend",
	"revokeInvitation": "invitation.revoke", "acceptInvitation": "invitation.accept",

	"setBudget": "budget.update", "deleteBudget": "budget.delete",

	"updateMe": "account.update", "deleteMe": "account.erase", "endSession": "session.revoke", "endOtherSessions": "session.revoke",

	"createCheckout": "billing.checkout", "buyCredits": "billing.checkout", "changeSubscription": "subscription.update",
	"adminRefund": "invoice.refund",

	"adminUpdateOrg": "org.override", "adminSuspendOrg": "org.suspend", "adminUnsuspendOrg": "org.unsuspend",
	"adminChangeCredits": "credits.grant",
	"adminSuspendUser":   "account.suspend", "adminUnsuspendUser": "account.unsuspend",
}

// notAudited says why the others write nothing.
var notAudited = map[string]string{
	"createGeneration":    "work: its events tell of it",
	"generate":            "work",
	"estimate":            "changes nothing",
	"cancelGeneration":    "work",
	"deleteGeneration":    "work",
	"testWebhookEndpoint": "sends something, sets nothing",
	"redeliver":           "sends something again",
	"replay":              "sends something again",
	"createPortal":        "opens a page; what is changed there is at Stripe",
	"resendVerification":  "mails someone their own link",
}

// Every operation that changes something within a project, an organization, an account
// or the service leaves an entry, or is one of those for which there is a reason not to.
func TestAuditLog_HasEveryChange(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	m := newMatrix(t)
	var ids []string
	for _, op := range operations(t) {
		if op.method == "GET" || op.method == "HEAD" || op.access.Area == "anyone" {
			continue
		}
		ids = append(ids, op.id)
		action, reason := audited[op.id], notAudited[op.id]
		if (action == "") == (reason == "") {
			t.Errorf("%s: say what it writes to the audit log, or why nothing", op.id)
			continue
		}
		if action != "" && !strings.Contains(string(doc), "| `"+action+"` |") {
			t.Errorf("docs/audit.md does not list %s", action)
		}
		if operationRows[op.id].answer != "" {
			continue // it is not to succeed here; its own test sees the entry
		}
		m.target(operationRows[op.id].target)
		switch op.id { // else there is nothing to change
		case "enableWebhookEndpoint":
			m.exec(`UPDATE webhook_endpoint SET disabled_at = now(), disabled_reason = 'asked'`)
		case "deleteBudget", "setBudget":
			m.exec(`INSERT INTO budget (org_id, credits, alerts, hard_stop) VALUES ($1, 7, '{}', false) ON CONFLICT (org_id) DO UPDATE SET credits = 7`, m.org)
		case "endOtherSessions":
			m.signIn(m.strings(`SELECT id FROM account WHERE email = 'owner@example.com'`)[0])
		}
		before := m.actions()
		m.ask(op, operationRows[op.id], map[bool]string{true: "operator", false: "owner"}[op.access.Area == "operator"], "ok")
		if made := m.actions()[len(before):]; slices.Contains(made, action) != (action != "") || action == "" && len(made) > 0 {
			t.Errorf("%s wrote %v to the audit log, not %q", op.id, made, action)
		}
	}
	for _, list := range []map[string]string{audited, notAudited} {
		for id := range list {
			if !slices.Contains(ids, id) {
				t.Errorf("there is no operation %s that changes something", id)
			}
		}
	}
}

// actions are those of all entries.
func (m *matrix) actions() []string {
	m.Helper()
	return m.strings(`SELECT action FROM audit_entry ORDER BY sequence`)
}

// What often holds a secret is not kept for good.
func TestAuditLog_WebhookURLs(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	owner := p.person("owner@example.com", "owner")
	made := p.does(p.live, "POST", "/v1/webhook_endpoints", `{"url":"https://example.com/hook?token=secret","description":"secret"}`, 201)
	path := made.header.Get("Location")
	p.does(p.live, "PATCH", path, `{"url":"https://example.com/hook?token=secret2","description":"secret2"}`, 200)
	p.does(p.live, "PATCH", path, `{"url":"https://example.com/hook?token=secret2"}`, 200) // nothing
	p.does(p.live, "POST", path+"/disable", "", 200)
	p.does(p.live, "POST", path+"/disable", "", 200) // nothing
	p.does(p.live, "POST", path+"/rotate", "", 200)
	p.does(owner.token, "POST", "/v1/webhooks/default/rotate", "", 200)
	p.does(p.live, "DELETE", path, "", 204)
	p.does(owner.token, "POST", "/v1/projects", `{"name":"x","webhook_url":"https://example.com/hook?token=secret"}`, 201)
	a := p.does(owner.token, "GET", p.auditPath()+"?order=asc", "", 200)
	want := []string{
		"key webhook_endpoint.create", "key webhook_endpoint.update", "key webhook_endpoint.disable", "key webhook_endpoint.rotate",
		"account webhook_secret.rotate", "key webhook_endpoint.delete", "account project.create",
	}
	if got := a.actions(); !slices.Equal(want, got) {
		t.Errorf("%v", got)
	}
	if strings.Contains(a.body, "secret=") || strings.Contains(a.body, "token") || strings.Contains(a.body, "whsec_") || strings.Contains(a.body, `"secret"`) {
		t.Errorf("a secret is in %s", a.body)
	}
	first := a.json["data"].([]any)[0].(map[string]any)
	if after := first["after"].(map[string]any); after["url"] != "https://example.com/hook" || first["project_id"] != p.project.ID {
		t.Errorf("%v", first)
	}
	if after := a.json["data"].([]any)[1].(map[string]any)["after"].(map[string]any); after["url_changed"] != true || after["description_changed"] != true {
		t.Errorf("%v", after)
	}
}
