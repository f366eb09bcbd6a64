package api_test

import (
	"encoding/csv"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// onPlan puts the bundle's organization on a plan, as if it had always been.
func (p *people) onPlan(name string) {
	p.Helper()
	p.exec(`UPDATE org SET plan = $1 WHERE id = $2`, name, p.org)
}

// A balance is what the plan grants, less what is used and reserved; the ledger says
// what for.
func TestCredits(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	p.onPlan("free")
	begins, ends := store.PeriodOf(store.PeriodMonth, nil, time.Now())
	balance := func(granted, used, reserved float64) map[string]any {
		return map[string]any{
			"object": "credit_balance", "organization_id": p.org, "plan": "free", "metered": false,
			"period":    map[string]any{"start": begins.Format(time.RFC3339), "end": ends.Format(time.RFC3339)},
			"resets_at": ends.Format(time.RFC3339), "granted": granted, "used": used, "reserved": reserved,
			"billed": 0.0, "available": granted - used - reserved, "bought": 0.0, "owed": 0.0,
		}
	}
	check := func(want map[string]any) {
		t.Helper()
		if diff := cmp.Diff(want, p.does(p.master, "GET", "/v1/billing/credits", "", 200).json); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	check(balance(50, 0, 0))
	done, under, gone := p.done(p.live, `{"prompt":"x"}`, []byte("picture")), p.submit(p.live, `{"prompt":"y"}`), p.submit(p.live, `{"prompt":"z"}`)
	p.submit(p.test, `{"prompt":"free"}`)
	p.does(p.live, "POST", "/v1/generations/"+gone+"/cancel", "", 200)
	check(balance(50, 1, 1))

	_, _, err := p.db.ChangeCredits(t.Context(), store.CreditChange{OrgID: p.org, Kind: store.CreditGrant, Amount: 2, Reason: "A gift", Actor: "root@host"}, time.Now())
	p.must(err)
	var got [][]any
	list := func(query string) *answer {
		t.Helper()
		a := p.does(p.master, "GET", "/v1/billing/ledger"+query, "", 200)
		got = [][]any{}
		for _, entry := range a.json["data"].([]any) {
			e := entry.(map[string]any)
			got = append(got, []any{e["kind"], e["credits"], e["charged"], e["generation_id"], e["reason"]})
			if e["period"] != begins.Format(time.RFC3339) || e["object"] != "credit_entry" {
				t.Errorf("%v", e)
			}
		}
		return a
	}
	gift := []any{"grant", 2.0, 0.0, nil, "A gift"}
	release := []any{"release", 1.0, 0.0, gone, "canceled"}
	settle := []any{"settle", 0.0, 1.0, done, nil}
	reserve := func(id string) []any { return []any{"reserve", -1.0, 0.0, id, nil} }
	allowance := []any{"allowance", 50.0, 0.0, nil, "plan free"}
	all := [][]any{gift, release, reserve(gone), reserve(under), settle, reserve(done), allowance}
	for query, want := range map[string][][]any{
		"": all, "?order=asc&limit=2": {allowance, reserve(done)}, "?kind=settle": {settle}, "?kind=refund": {}, "?generation_id=" + done: {settle, reserve(done)},
		"?generation_id=gen_x": {}, "?period=" + begins.Format(time.RFC3339): all, "?period=2020-01-01T00:00:00Z": {},
	} {
		list(query)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	first := list("?limit=3")
	list("?limit=2&after=" + first.text("next_cursor"))
	if diff := cmp.Diff(all[3:5], got); diff != "" {
		t.Errorf("the next page (-want +got):\n%s", diff)
	}
	if a := list(""); strings.Contains(a.body, "root@host") {
		t.Errorf("it says who: %s", a.body)
	}
	p.refuses("no entry", p.master, "GET", "/v1/billing/ledger?after=gen_x", "", 400, "invalid_cursor")
	p.refuses("no kind", p.master, "GET", "/v1/billing/ledger?kind=x", "", 422, "validation_failed")
}

// Ids of entries lead to their places in the list of whose they are, and tell nothing
// of how many there are.
func TestLedger_IDs(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	foreign := setupPeople(t) // of a service with the same secret
	ids := func(p *people, query string) (list []string) {
		for _, e := range p.does(p.master, "GET", "/v1/billing/ledger"+query, "", 200).json["data"].([]any) {
			list = append(list, e.(map[string]any)["id"].(string))
		}
		return list
	}
	for _, of := range []*people{p, foreign} {
		of.exec(`INSERT INTO credit_entry (org_id, period, kind) SELECT $1, now(), 'adjust' FROM generate_series(1, 5)`, of.org)
	}
	all, others := ids(p, ""), ids(foreign, "")
	for _, id := range all {
		if !strings.HasPrefix(id, "cre_") || len(id) != len("cre_")+26 || slices.Contains(others, id) {
			t.Errorf("id %q", id)
		}
	}
	if slices.Sort(others); len(slices.Compact(others)) != 5 {
		t.Errorf("%q", others)
	}
	for query, want := range map[string][]string{
		"?after=" + all[1]: all[2:], "?before=" + all[1]: all[:1], "?limit=2&before=" + all[3]: all[1:3], "?order=asc&limit=1&after=" + all[3]: all[2:3],
	} {
		if diff := cmp.Diff(want, ids(p, query)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	for _, id := range []string{"cre_1", "cre_", others[0], strings.ToUpper(all[0]), all[0][4:]} {
		p.refuses(id, p.master, "GET", "/v1/billing/ledger?after="+id, "", 400, "invalid_cursor")
	}
}

// The table's periods are those that the list takes, to the microsecond.
func TestLedger_PeriodOfExport(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	p.exec(`INSERT INTO credit_entry (org_id, period, kind) VALUES ($1, '2026-11-05T06:07:08.123456Z', 'adjust')`, p.org)
	rows, err := csv.NewReader(strings.NewReader(p.does(p.master, "GET", "/v1/billing/ledger.csv", "", 200).body)).ReadAll()
	p.must(err)
	if a := p.does(p.master, "GET", "/v1/billing/ledger?period="+rows[1][2], "", 200); len(a.json["data"].([]any)) != 1 {
		t.Errorf("of period %s: %s", rows[1][2], a.body)
	}
}

// The export has every entry, also of several pages, and nothing that a spreadsheet
// would run.
func TestLedger_Export(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	p.onPlan("free")
	for _, reason := range []string{`=cmd|"x", y`, "plain"} {
		_, _, err := p.db.ChangeCredits(t.Context(), store.CreditChange{OrgID: p.org, Kind: store.CreditGrant, Amount: -1, Reason: reason}, time.Now())
		p.must(err)
	}
	p.exec(`INSERT INTO credit_entry (org_id, period, kind) SELECT $1, now(), 'adjust' FROM generate_series(1, 1100)`, p.org)
	p.exec(`INSERT INTO credit_entry (org_id, period, kind, reason) VALUES ('org_of_another', now(), 'adjust', 'foreign')`)
	a := p.does(p.master, "GET", "/v1/billing/ledger.csv", "", 200)
	if got := a.header.Get("Content-Type") + " " + a.header.Get("Content-Disposition"); got != `text/csv; charset=utf-8 attachment; filename="ledger_`+p.org+`.csv"` {
		t.Error(got)
	}
	rows, err := csv.NewReader(strings.NewReader(a.body)).ReadAll()
	p.must(err)
	if len(rows) != 1+3+1100 || strings.Contains(a.body, "foreign") {
		t.Fatalf("%d rows", len(rows))
	}
	var got [][]string
	for _, row := range rows[:4] {
		got = append(got, row[3:])
	}
	want := [][]string{
		{"kind", "credits", "charged", "cost_usd", "generation_id", "batch_id", "reason"},
		{"allowance", "50", "0", "0.0000", "", "", "plan free"}, {"grant", "-1", "0", "0.0000", "", "", `'=cmd|"x", y`},
		{"grant", "-1", "0", "0.0000", "", "", "plain"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if a := p.does(p.master, "GET", "/v1/billing/ledger.csv?kind=grant", "", 200); strings.Count(a.body, "\n") != 3 {
		t.Errorf("filtered: %s", a.body)
	}
	if a := p.does(p.master, "HEAD", "/v1/billing/ledger.csv", "", 200); a.body != "" {
		t.Error(a.body)
	}
}

// An operator sets, gives and takes credits. The organization reads why in its ledger
// and its audit log, but not who.
func TestAdminCredits(t *testing.T) {
	t.Parallel()
	o := setupOperators(t)
	owner := o.person("owner@example.com", auth.RoleOwner)
	o.onPlan("free")
	path := "/v1/admin/orgs/" + o.org + "/credits"
	for _, c := range []struct {
		body string
		want []any // granted, available, bought
	}{
		{`{"action":"set","amount":5,"reason":" Trial "}`, []any{5.0, 5.0, 0.0}},
		{`{"action":"grant","amount":7,"bought":true,"reason":"Invoice"}`, []any{12.0, 12.0, 7.0}},
		{`{"action":"grant","amount":-2,"reason":"A mistake"}`, []any{10.0, 10.0, 7.0}},
	} {
		a := o.does(o.op.token, "POST", path, c.body, 200)
		if diff := cmp.Diff(c.want, []any{a.json["granted"], a.json["available"], a.json["bought"]}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.body, diff)
		}
	}
	var entries [][]any
	for _, entry := range o.does(o.key, "GET", path, "", 200).json["entries"].([]any) {
		e := entry.(map[string]any)
		entries = append(entries, []any{e["kind"], e["credits"], e["reason"], e["actor"]})
	}
	want := [][]any{
		{"grant", -2.0, "A mistake", o.op.id}, {"grant", 7.0, "Invoice", o.op.id}, {"adjust", -45.0, "Trial", o.op.id}, {"allowance", 50.0, "plan free", nil},
	}
	if diff := cmp.Diff(want, entries); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	for _, log := range []string{"/v1/orgs/" + o.org + "/audit_log", "/v1/billing/ledger"} {
		a := o.does(owner.token, "GET", log, "", 200)
		if !strings.Contains(a.body, "A mistake") || strings.Contains(a.body, o.op.id) {
			t.Errorf("%s: %s", log, a.body)
		}
	}
	audit := o.does(owner.token, "GET", "/v1/orgs/"+o.org+"/audit_log?limit=1", "", 200).json["data"].([]any)[0].(map[string]any)
	wantAudit := map[string]any{
		"action": "credits.grant", "before": map[string]any{"granted": 12.0, "bought": 7.0, "metered": false},
		"after": map[string]any{"granted": 10.0, "bought": 7.0, "metered": false, "available": 10.0, "amount": -2.0, "reason": "A mistake"},
	}
	if diff := cmp.Diff(wantAudit, map[string]any{"action": audit["action"], "before": audit["before"], "after": audit["after"]}); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
	if faults, err := o.db.CreditFaults(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("%v, %q", err, faults)
	}
}

// A repeated request changes nothing twice.
func TestAdminCredits_Idempotency(t *testing.T) {
	t.Parallel()
	o := setupOperators(t)
	o.onPlan("free")
	path := "/v1/admin/orgs/" + o.org + "/credits"
	const body, key = `{"action":"grant","amount":7,"reason":"Invoice"}`, "Idempotency-Key: k1"
	replayed := []string{}
	for range 2 {
		a := o.does(o.op.token, "POST", path, body, 200, key)
		if a.json["available"] != 57.0 {
			t.Errorf("%s", a.body)
		}
		replayed = append(replayed, a.header.Get("Idempotent-Replayed"))
	}
	if diff := cmp.Diff([]string{"", "true"}, replayed); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if a := o.do(o.op.token, "POST", path, `{"action":"grant","amount":8,"reason":"Invoice"}`, key); a.status != 422 || a.code() != "idempotency_key_reused" {
		t.Errorf("another amount: %d %s", a.status, a.body)
	}
	if a := o.does(o.key, "POST", path, body, 200, key); a.json["available"] != 64.0 {
		t.Errorf("another operator's key: %s", a.body)
	}
	if n := len(o.audit(o.org)); n != 2 {
		t.Errorf("%d entries in the audit log, want 2", n)
	}
}

func TestAdminCredits_BadInput(t *testing.T) {
	t.Parallel()
	o := setupOperators(t)
	o.onPlan("free")
	path := "/v1/admin/orgs/" + o.org + "/credits"
	for body, want := range map[string]string{
		`{"action":"set","amount":-1,"reason":"r"}`:                 "amount out_of_range",
		`{"action":"grant","amount":0,"reason":"r"}`:                "amount out_of_range",
		`{"action":"grant","amount":-51,"reason":"r"}`:              "amount out_of_range",
		`{"action":"grant","amount":-1,"bought":true,"reason":""}`:  "reason required",
		`{"action":"grant","amount":-1,"bought":true,"reason":"r"}`: "amount out_of_range",
		`{"action":"set","amount":1,"bought":true,"reason":"r"}`:    "bought conflict",
		`{"action":"grant","amount":1000000001,"reason":"r"}`:       "amount out_of_range",
		`{"action":"take","amount":1,"reason":"r"}`:                 "action unsupported_value",
		`{"action":"grant","amount":1.5,"reason":"r"}`:              "amount invalid_type",
		`{"action":"grant","amount":1,"reason":" "}`:                "reason required",
		`{"action":"grant","reason":"r"}`:                           "amount required",
	} {
		a := o.do(o.op.token, "POST", path, body)
		if a.status != 422 || strings.Join(a.faults(), ", ") != want {
			t.Errorf("%s: %d %v, want %s: %s", body, a.status, a.faults(), want, a.body)
		}
	}
	o.does(o.op.token, "POST", path, `{"action":"grant","amount":7,"bought":true,"reason":"r"}`, 200)
	for _, body := range []string{`{"action":"set","amount":6,"reason":"r"}`, `{"action":"grant","amount":-51,"reason":"r"}`} {
		if a := o.do(o.op.token, "POST", path, body); a.status != 422 || strings.Join(a.faults(), ", ") != "amount out_of_range" || !strings.Contains(a.body, "was bought and is left") {
			t.Errorf("of what was bought, %s: %d %s", body, a.status, a.body)
		}
	}
	o.does(o.op.token, "POST", path, `{"action":"grant","amount":-7,"bought":true,"reason":"r"}`, 200)
	for range 3 {
		o.does(o.op.token, "POST", path, `{"action":"grant","amount":1000000000,"reason":"r"}`, 200)
	}
	o.does(o.op.token, "POST", path, `{"action":"set","amount":0,"reason":"more than one entry holds"}`, 200)
	for _, id := range []string{store.NewOrgID(), "org_x", "%00"} {
		o.refuses("none", o.op.token, "GET", "/v1/admin/orgs/"+id+"/credits", "", 404, "not_found")
		o.refuses("none", o.op.token, "POST", "/v1/admin/orgs/"+id+"/credits", `{"action":"grant","amount":1,"reason":"r"}`, 404, "not_found")
	}
	o.exec(`UPDATE org SET deleted_at = now() WHERE id = $1`, o.org)
	o.refuses("deleted", o.op.token, "POST", path, `{"action":"grant","amount":1,"reason":"r"}`, 404, "not_found")
}

// Another plan grants its credits for what is left of the period, and takes what was
// granted for it before; what was used stays used.
func TestAdminUpdateOrg_Prorates(t *testing.T) {
	t.Parallel()
	o := setupOperators(t)
	o.onPlan("free")
	o.done(o.live, `{"prompt":"x"}`, []byte("picture"))
	begins, ends := store.PeriodOf(store.PeriodMonth, nil, time.Now())
	share := func(credits int) int {
		return int(float64(credits)*float64(time.Until(ends))/float64(ends.Sub(begins)) + 0.5)
	}
	for _, c := range []struct {
		plan string
		want int
	}{{"pro", 50 + share(1950)}, {"hobby", 50 + share(450)}, {"free", 50}} {
		o.does(o.op.token, "PATCH", "/v1/admin/orgs/"+o.org, `{"plan":"`+c.plan+`","reason":"Asked"}`, 200)
		a := o.does(o.op.token, "GET", "/v1/admin/orgs/"+o.org+"/credits", "", 200)
		// A round of each change, and the time that passes between them, are within a few.
		if got := int(a.json["granted"].(float64)); got < c.want-3 || got > c.want+3 || a.json["used"] != 1.0 || a.text("plan") != c.plan {
			t.Errorf("on %s: %s, want %d granted and 1 used", c.plan, a.body, c.want)
		}
	}
	if faults, err := o.db.CreditFaults(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("%v, %q", err, faults)
	}
}
