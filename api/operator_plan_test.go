package api_test

import (
	"strings"
	"testing"

	stripesim "github.com/nanobanana/nanobanana/billing/simulator"
)

// PATCH of a plan does what "orgs set-plan" does: the ledger names who did it, the plan
// that lets everything in does so again after credits were set, and a subscription that
// goes on is warned of.
func TestAdminUpdateOrg_Plan(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	p := s.person("operator@example.com", "")
	s.exec(`UPDATE account SET operator = true WHERE id = $1`, p.id)
	path := "/v1/admin/orgs/" + s.org
	if a := s.does(p.token, "PATCH", path, `{"plan":"hobby","reason":"contract"}`, 200); a.json["warning"] != nil {
		t.Errorf("without a subscription: %s", a.body)
	}
	if by := s.strings(`SELECT coalesce(actor, '-') FROM credit_entry WHERE org_id = $1 AND kind = 'adjust'`, s.org); len(by) != 1 || by[0] != p.id {
		t.Errorf("the ledger names %v, want %s", by, p.id)
	}
	s.does(p.token, "PATCH", path, `{"plan":"unlimited","reason":"contract"}`, 200)
	s.does(p.token, "POST", path+"/credits", `{"action":"set","amount":0,"reason":"stop"}`, 200)
	s.refuses("nothing is let in", s.live, "POST", "/v1/generations", `{"prompt":"x"}`, 402, "quota_exceeded")
	s.does(p.token, "PATCH", path, `{"plan":"unlimited","reason":"go on"}`, 200)
	s.use()
	if after := s.strings(`SELECT after->>'metered' FROM audit_entry WHERE action = 'org.override' AND after->>'reason' = 'go on'`); len(after) != 1 || after[0] != "true" {
		t.Errorf("the audit log says metered: %v", after)
	}
	s.subscribe("pro")
	if a := s.does(p.token, "PATCH", path, `{"plan":"hobby","reason":"less"}`, 200); !strings.Contains(a.text("warning"), "Stripe charges for the plan pro") {
		t.Errorf("beside a subscription: %s", a.body)
	}
	if a := s.does(p.token, "PATCH", path, `{"plan":"pro","reason":"as paid"}`, 200); a.json["warning"] != nil {
		t.Errorf("as is paid for: %s", a.body)
	}
}
