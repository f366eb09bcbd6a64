package api_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/store"
)

const limitsPath = "/v1/billing/limits"

// setupBudget serves an organization on a plan, without limits of rate.
func setupBudget(t *testing.T, plan string, adjust ...func(*api.Options)) *people {
	t.Helper()
	p := setupPeople(t, adjust...)
	p.exec(`UPDATE org SET plan = $2, rate_limit = 0 WHERE id = $1`, p.org, plan)
	p.exec(`UPDATE plan SET concurrency = 0`)
	return p
}

// budget is what an answer says of a budget, without what no test can know.
func (a *answer) budget() map[string]any {
	shown := map[string]any{}
	for name, value := range a.json {
		switch name {
		case "organization_id", "object", "period_started_at", "updated_at":
		default:
			shown[name] = value
		}
	}
	return shown
}

func TestBudget(t *testing.T) {
	t.Parallel()
	p := setupBudget(t, "pay_as_you_go")
	owner := p.person("owner@example.com", "owner")
	before := p.does(owner.token, "GET", limitsPath, "", 200)
	_, ends := store.MonthOf(time.Now())
	resets := ends.Format(time.RFC3339)
	want := map[string]any{
		"credits": nil, "amount": nil, "alerts": []any{}, "hard_stop": false, "downgrade_at": nil, "downgrade_quality": nil,
		"used": 0., "reserved": 0., "percent": nil, "resets_at": resets,
	}
	if diff := cmp.Diff(want, before.budget()); diff != "" {
		t.Errorf("without one (-want +got):\n%s", diff)
	}
	p.submit(p.live, `{"prompt":"x","n":3}`)
	want["credits"], want["amount"], want["alerts"], want["reserved"], want["percent"] = 12., "0.2400", []any{80., 100.}, 3., 0.
	if diff := cmp.Diff(want, p.does(owner.token, "PUT", limitsPath, `{"credits":12}`, 200).budget()); diff != "" {
		t.Errorf("with defaults (-want +got):\n%s", diff)
	}
	p.does(owner.token, "PUT", limitsPath, `{"credits":12,"downgrade_at":null,"amount":null}`, 200) // nothing
	p.exec(`UPDATE credit_account SET used = 100 WHERE org_id = $1`, p.org)
	// $1.99 are 99.5 credits of $0.02.
	body := `{"amount":"1.99","alerts":[150,50,150],"hard_stop":true,"downgrade_at":90,"downgrade_quality":"low"}`
	want["credits"], want["amount"], want["alerts"], want["hard_stop"] = 99., "1.9800", []any{50., 150.}, true
	want["downgrade_at"], want["downgrade_quality"], want["used"], want["percent"] = 90., "low", 100., 101.
	for what, a := range map[string]*answer{"set": p.does(owner.token, "PUT", limitsPath, body, 200), "seen": p.does(p.master, "GET", limitsPath, "", 200)} {
		if diff := cmp.Diff(want, a.budget()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	if n := p.strings(`SELECT count(*)::text FROM river.river_job WHERE kind = $1`, store.WarnKind)[0]; n != "1" {
		t.Errorf("%s tickets for a budget that is used up", n)
	}
	if a := p.do(p.live, "POST", "/v1/generations", `{"prompt":"x"}`); a.status != 402 || a.code() != "spend_limit_reached" || a.header.Get("X-Should-Retry") != "false" {
		t.Errorf("beyond the budget: %d %s", a.status, a.body)
	}
	p.does(owner.token, "DELETE", limitsPath, "", 204)
	p.does(owner.token, "DELETE", limitsPath, "", 204) // nothing
	p.submit(p.live, `{"prompt":"x"}`)
	entries := []string{
		owner.id + " budget.update " + p.org, owner.id + " budget.update " + p.org, owner.id + " budget.delete " + p.org,
	}
	if diff := cmp.Diff(entries, p.audit(p.org)); diff != "" {
		t.Errorf("audit log (-want +got):\n%s", diff)
	}
}

func TestSetBudget_Refuses(t *testing.T) {
	t.Parallel()
	p := setupBudget(t, "unlimited")
	owner := p.person("owner@example.com", "owner")
	eleven := strings.TrimSuffix(strings.Repeat("1,", 11), ",")
	for body, want := range map[string][]string{
		`{}`:                             {"credits required"},
		`{"credits":1,"amount":"1"}`:     {"amount conflict"},
		`{"amount":"1.00"}`:              {"amount unsupported_value"}, // a credit has no price
		`{"amount":"-1"}`:                nil,
		`{"amount":"1e9"}`:               nil,
		`{"amount":5}`:                   nil,
		`{"credits":-1}`:                 nil,
		`{"credits":1000000001}`:         nil,
		`{"credits":1.5}`:                nil,
		`{"credits":1,"alerts":[0,50]}`:  {"alerts out_of_range"},
		`{"credits":1,"alerts":[1001]}`:  {"alerts out_of_range"},
		`{"credits":1,"downgrade_at":5}`: {"downgrade_quality required"},
		`{"downgrade_quality":"low"}`:    {"credits required", "downgrade_at required"},
		`{"credits":1,"downgrade_at":0,"downgrade_quality":"low"}`:   nil,
		`{"credits":1,"downgrade_at":5,"downgrade_quality":"worst"}`: nil,
		`{"credits":1,"alerts":[` + eleven + `]}`:                    nil,
		`{"credits":1,"more":1}`:                                     nil,
	} {
		a := p.do(owner.token, "PUT", limitsPath, body)
		if a.status != 422 && (a.status != 400 || want != nil) {
			t.Errorf("%s is answered %d %s", body, a.status, a.body)
		}
		if diff := cmp.Diff(want, a.faults()); want != nil && diff != "" {
			t.Errorf("%s (-want +got):\n%s", body, diff)
		}
	}
	p.exec(`UPDATE org SET plan = 'pay_as_you_go' WHERE id = $1`, p.org)
	p.exec(`DELETE FROM credit_entry`)
	p.exec(`DELETE FROM credit_account`)
	for body, want := range map[string][]string{
		`{"amount":"0.0199","hard_stop":true}`: {"amount out_of_range"}, // a credit costs 0.02
		`{"amount":"999999999"}`:               {"amount out_of_range"},
	} {
		if diff := cmp.Diff(want, p.do(owner.token, "PUT", limitsPath, body).faults()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", body, diff)
		}
	}
	if n := p.strings(`SELECT count(*)::text FROM budget`)[0]; n != "0" {
		t.Error("something was set")
	}
	p.does(owner.token, "PUT", limitsPath, `{"credits":0,"alerts":[]}`, 200)
}

// A hundred requests at the same time under a hard stop at thirty, on a plan that
// itself lets in what comes and on one that does not.
func TestBudget_HardStopIsExact(t *testing.T) {
	t.Parallel()
	for _, plan := range []string{"pay_as_you_go", "pro"} {
		t.Run(plan, func(t *testing.T) {
			t.Parallel()
			p := setupBudget(t, plan)
			p.does(p.master, "PUT", limitsPath, `{"credits":30,"hard_stop":true}`, 200)
			var mu sync.Mutex
			got := map[string]int{}
			var wait sync.WaitGroup
			for range 100 {
				wait.Go(func() {
					a, err := p.try(t.Context(), p.live, "POST", "/v1/generations", `{"prompt":"x"}`)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					got[fmt.Sprintf("%d %s", a.status, a.code())]++
				})
			}
			wait.Wait()
			if diff := cmp.Diff(map[string]int{"202 ": 30, "402 spend_limit_reached": 70}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if faults, err := p.db.CreditFaults(t.Context()); err != nil || len(faults) > 0 {
				t.Errorf("%v, %q", err, faults)
			}
		})
	}
}

// A key that is known already learns of the budget, and people's requests are held to
// it as well.
func TestBudget_Downgrades(t *testing.T) {
	t.Parallel()
	p := setupBudget(t, "pay_as_you_go")
	member := p.person("member@example.com", "member")
	const body = `{"prompt":"x","model":"gpt-image-2","quality":"high"}`
	downgraded := func(key string) any {
		t.Helper()
		a := p.do(key, "POST", "/v1/generations", body)
		if a.status != 202 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if got := p.do(key, "GET", a.header.Get("Location"), ""); !cmp.Equal(got.json["downgraded"], a.json["downgraded"]) {
			t.Errorf("submitted as %v, later %v", a.json["downgraded"], got.json["downgraded"])
		}
		return a.json["downgraded"]
	}
	if got := downgraded(p.live); got != nil {
		t.Errorf("without a budget: %v", got)
	}
	// Processes are told of a budget in a moment.
	until := func(want any) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !cmp.Equal(want, downgraded(p.live)); {
			if time.Now().After(deadline) {
				t.Fatalf("never %v", want)
			}
		}
	}
	lowered := map[string]any{"from": "high", "to": "low", "reason": "budget"}
	p.does(p.master, "PUT", limitsPath, `{"credits":14,"downgrade_at":100,"downgrade_quality":"low"}`, 200)
	if got := downgraded(p.live); got != nil {
		t.Errorf("with half of it reserved: %v", got)
	}
	until(lowered)
	if diff := cmp.Diff(any(lowered), downgraded(member.token)); diff != "" {
		t.Errorf("for a person (-want +got):\n%s", diff)
	}
	p.does(p.master, "DELETE", limitsPath, "", 204)
	until(nil)
}

// An estimate is of what would be made, and reading begins no period.
func TestBudget_DowngradesEstimates(t *testing.T) {
	t.Parallel()
	p := setupBudget(t, "pay_as_you_go")
	for _, path := range []string{limitsPath, "/v1/billing/credits", "/v1/usage/summary"} {
		p.does(p.master, "GET", path, "", 200)
	}
	if begun := p.strings(`SELECT plan FROM credit_account WHERE org_id = $1`, p.org); begun != nil {
		t.Errorf("reading has begun %v", begun)
	}
	p.does(p.master, "PUT", limitsPath, `{"credits":6,"hard_stop":true,"downgrade_at":1,"downgrade_quality":"low"}`, 200)
	p.submit(p.live, `{"prompt":"x"}`)
	const body = `{"prompt":"x","model":"gpt-image-2","quality":"high"`
	var estimated *answer
	p.eventually("the key learns of the budget", func() bool {
		estimated = p.does(p.live, "POST", "/v1/estimate", body+`}`, 200)
		return estimated.json["downgraded"] != nil
	})
	dry := p.does(p.live, "POST", "/v1/generations", body+`,"dry_run":true}`, 200)
	made := p.does(p.live, "POST", "/v1/generations", body+`}`, 202)
	receipt := p.does(p.live, "GET", made.header.Get("Location")+"/receipt", "", 200)
	want := []any{made.json["downgraded"], receipt.json["credits"].(map[string]any)["reserved"], true}
	for _, e := range []*answer{estimated, dry} {
		if diff := cmp.Diff(want, []any{e.json["downgraded"], e.json["credits"], e.json["would_be_accepted"]}); diff != "" {
			t.Errorf("(-made +estimated):\n%s", diff)
		}
	}
}

// What is told of an organization is listed in each of its projects.
func TestListEvents_OfSpending(t *testing.T) {
	t.Parallel()
	p := setupBudget(t, "free")
	p.does(p.master, "PUT", limitsPath, `{"credits":10,"alerts":[30]}`, 200)
	p.exec(`UPDATE credit_account SET used = 40 WHERE org_id = $1`, p.org)
	account, err := p.db.CreditAccount(t.Context(), p.org, time.Now())
	p.must(err)
	_, err = p.db.TellSpending(t.Context(), p.org, account.Period)
	p.must(err)
	begins, ends := account.Period.UTC().Format(time.RFC3339), account.EndsAt.UTC().Format(time.RFC3339)
	var got []any
	for _, e := range p.do(p.live, "GET", "/v1/events", "").data() {
		got = append(got, e["type"], e["data"])
	}
	share := func(what string, percent, limit float64) any {
		return map[string]any{
			"object": "spend_alert", "organization_id": p.org, "what": what, "percent": percent, "used": 40., "limit": limit, "period": begins, "resets_at": ends,
		}
	}
	want := []any{"budget.alert", share("budget", 30, 10), "quota.warning_80", share("quota", 80, 50)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if list := p.do(p.other, "GET", "/v1/events", "").data(); len(list) > 0 {
		t.Errorf("another organization is told: %v", list)
	}
	p.does(p.live, "POST", "/v1/webhook_endpoints", `{"url":"https://example.com/hook","events":["quota.*","budget.alert","quota.exceeded"]}`, 201)
}

// What is set is answered with what was used before a change of plan too.
func TestBudget_SetAfterAChangeOfPlan(t *testing.T) {
	t.Parallel()
	p := setupBudget(t, "free")
	p.submit(p.live, `{"prompt":"x","n":3}`)
	p.exec(`UPDATE credit_account SET used = 10 WHERE org_id = $1`, p.org)
	if _, err := p.db.ChangePlan(t.Context(), store.PlanChange{OrgID: p.org, Plan: "unlimited"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second changes nothing
		set := p.does(p.master, "PUT", limitsPath, `{"credits":100}`, 200)
		if diff := cmp.Diff(p.does(p.master, "GET", limitsPath, "", 200).json, set.json); diff != "" || set.json["used"] != 10. || set.json["reserved"] != 3. {
			t.Errorf("%s, and then (-want +got):\n%s", set.body, diff)
		}
	}
}
