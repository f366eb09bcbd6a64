package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// commands runs the program on a database.
type commands struct {
	*testing.T
	db *store.DB
}

var (
	spaces  = regexp.MustCompile(` {2,}`)
	moments = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
)

// run runs a command and returns what it prints, without the width of columns and with
// "T" for times. One that fails must say so with a status.
func (c *commands) run(status int, args ...string) string {
	c.Helper()
	var out, errs bytes.Buffer
	if got := run(c.Context(), append(args, "--database-url="+storetest.URL(c.db)), &out, &errs); got != status {
		c.Errorf("%v ends with status %d, want %d: %s", args, got, status, errs.String())
	}
	return moments.ReplaceAllString(spaces.ReplaceAllString(out.String()+errs.String(), "  "), "T")
}

// audit are the entries of the audit log, without times.
func (c *commands) audit() (entries []string) {
	c.Helper()
	log, err := c.db.AuditEntries(c.Context(), store.AuditFilter{Page: store.Page{Ascending: true, Limit: 100}})
	if err != nil {
		c.Fatal(err)
	}
	for _, e := range log {
		entries = append(entries, strings.Join([]string{e.Action, e.TargetKind, e.TargetID, string(e.Before), string(e.After)}, " "))
	}
	return entries
}

func (c *commands) org(name, plan string) *store.Org {
	c.Helper()
	p, err := c.db.Plan(c.Context(), plan)
	if err != nil {
		c.Fatal(err)
	}
	org, err := c.db.CreateOrg(c.Context(), name, plan, p.RetentionDays)
	if err != nil {
		c.Fatal(err)
	}
	return org
}

// Credits are set, given and taken; both logs tell by whom and why.
func TestCredits(t *testing.T) {
	t.Parallel()
	c := &commands{t, storetest.New(t)}
	ann := c.org("Ann's \x1b[2J", "free")
	shown := ann.ID + " (Ann's \\x1b[2J)\n"
	const begin = "plan free: 50 of 50 credits available (0 used, 0 reserved, 0 bought) until T\n"
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"show", ann.ID, "--entries=0"}, shown + begin},
		{
			[]string{"set", ann.ID, "5", "--reason=Abuse"},
			shown + "before: " + begin + "now:  plan free: 5 of 5 credits available (0 used, 0 reserved, 0 bought) until T\n",
		},
		{
			[]string{"grant", ann.ID, "7", "--bought", "--reason=Invoice 12"},
			shown + "before: plan free: 5 of 5 credits available (0 used, 0 reserved, 0 bought) until T\n" +
				"now:  plan free: 12 of 12 credits available (0 used, 0 reserved, 7 bought) until T\n",
		},
		{
			[]string{"grant", ann.ID, "-2", "--reason=A mistake"},
			shown + "before: plan free: 12 of 12 credits available (0 used, 0 reserved, 7 bought) until T\n" +
				"now:  plan free: 10 of 10 credits available (0 used, 0 reserved, 7 bought) until T\n",
		},
	} {
		if diff := cmp.Diff(step.want, c.run(0, append([]string{"credits"}, step.args...)...)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", step.args, diff)
		}
	}
	lost := ann.ID + " has bought credits that would be lost; \"nanobanana credits grant --bought " + ann.ID + " -N\" takes N of them first: plan free: 10 of 10"
	for _, args := range [][]string{{"set", ann.ID, "6"}, {"grant", ann.ID, "-4"}} {
		if got := c.run(1, append([]string{"credits"}, append(args, "--reason=r")...)...); !strings.Contains(got, lost) {
			t.Errorf("%v says %q, want %q", args, got, lost)
		}
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	by := regexp.MustCompile(regexp.QuoteMeta(me.Username)+`@\S+`).ReplaceAllString(c.run(0, "credits", "show", ann.ID), "ME")
	_, entries, _ := strings.Cut(by, "T\n")
	want := "AT  KIND  CREDITS  CHARGED  FOR  BY  REASON\n" +
		"T  grant  -2  0  -  ME  A mistake\nT  grant  +7  0  -  ME  Invoice 12\nT  adjust  -45  0  -  ME  Abuse\nT  allowance  +50  0  -  -  plan free\n"
	if diff := cmp.Diff(want, entries); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	to := " organization " + ann.ID
	wantAudit := []string{
		`credits.set` + to + ` {"bought": 0, "granted": 50, "metered": false} {"amount": 5, "bought": 0, "reason": "Abuse", "granted": 5, "metered": false, "available": 5}`,
		`credits.grant` + to + ` {"bought": 0, "granted": 5, "metered": false} {"amount": 7, "bought": 7, "reason": "Invoice 12", "granted": 12, "metered": false, "available": 12}`,
		`credits.grant` + to + ` {"bought": 7, "granted": 12, "metered": false} {"amount": -2, "bought": 7, "reason": "A mistake", "granted": 10, "metered": false, "available": 10}`,
	}
	if diff := cmp.Diff(wantAudit, c.audit()); diff != "" {
		t.Errorf("audit log (-want +got):\n%s", diff)
	}
	if faults, err := c.db.CreditFaults(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("%v, %q", err, faults)
	}
}

// On a plan that lets everything in, what is set is all there is until another plan is.
func TestCredits_SetOnUnlimited(t *testing.T) {
	t.Parallel()
	c := &commands{t, storetest.New(t)}
	org := c.org("Mine", "unlimited")
	const before = "plan unlimited: 0 of 0 credits available (0 used, 0 reserved, 0 bought) until T; more is let in, and metered\n"
	const now = "plan unlimited: 5 of 5 credits available (0 used, 0 reserved, 0 bought) until T\n"
	want := org.ID + " (Mine)\nbefore: " + before + "now:  " + now +
		"nothing more is let in until then; \"nanobanana orgs set-plan " + org.ID + " unlimited\" ends that\n"
	if diff := cmp.Diff(want, c.run(0, "credits", "set", "mine", "5", "--reason=Trial")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	rows := make([]*store.NewGeneration, 7)
	for i := range rows {
		at := time.Now().UTC()
		rows[i] = &store.NewGeneration{
			ID: store.NewGenerationID(), OrgID: org.ID, ProjectID: "prj", APIKeyID: "key", Kind: store.KindGenerate, Model: "m", ModelUsed: "m",
			Prompt: "p", N: 1, CreatedAt: at, DeadlineAt: at.Add(time.Hour), Credits: 1,
		}
	}
	if err := c.db.InsertGenerations(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, r := range rows {
		if r.Refusal != nil {
			refused++
		}
	}
	if refused != 2 {
		t.Errorf("%d of 7 were refused, want 2", refused)
	}
	want = org.ID + " (Mine)\nbefore: plan unlimited: 0 of 5 credits available (0 used, 5 reserved, 0 bought) until T\nnow:  " + before
	if diff := cmp.Diff(want, c.run(0, "orgs", "set-plan", org.ID, "unlimited")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if faults, err := c.db.CreditFaults(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("%v, %q", err, faults)
	}
}

// What can not be is refused with what to do instead, and changes nothing.
func TestCredits_BadInput(t *testing.T) {
	t.Parallel()
	c := &commands{t, storetest.New(t)}
	org, one, two := c.org("Free", "free"), c.org("Twin", "free"), c.org("twin", "free")
	gone := c.org("Gone", "free")
	if _, err := c.db.Pool().Exec(t.Context(), `UPDATE org SET deleted_at = now() WHERE id = $1`, gone.ID); err != nil {
		t.Fatal(err)
	}
	unknown := store.NewOrgID()
	for _, bad := range []struct {
		status int
		args   string
		want   string
	}{
		{1, "credits show " + unknown, "there is no organization " + unknown + "; \"nanobanana orgs list\" shows those there are"},
		{1, "credits show Fre", "there is no organization \"Fre\"; \"nanobanana orgs list\" shows those there are"},
		{1, "credits show Gone", "there is no organization \"Gone\""},
		{1, "credits show " + gone.ID, "the organization " + gone.ID + " is deleted"},
		{1, "credits show a\xffb", "there is no organization \"a\ufffdb\""},
		{1, "credits set TWIN 5 --reason=r", "several organizations are named \"TWIN\"; say which by its id, such as " + one.ID + ", " + two.ID},
		{2, "credits set Free 5", "missing flags: --reason=TEXT"},
		{2, "credits set Free --reason=r", "expected \"<amount>\""},
		{2, "credits set Free five --reason=r", "expected a valid 64 bit int but got \"five\""},
		{2, "credits set Free -5 --reason=r", "-5 can not be available: set 0 to 1000000000 credits"},
		{2, "credits set Free 5 --reason=", "--reason must say why"},
		{2, "credits set Free 5 --reason=" + strings.Repeat("x", 501), "--reason must say why"},
		{2, "credits grant Free 0 --reason=r", "0 credits can not be granted"},
		{1, "credits grant Free -51 --reason=r", org.ID + " has fewer credits than that: plan free: 50 of 50 credits available"},
		{1, "credits grant Free -1 --bought --reason=r", org.ID + " has fewer credits than that"},
		{1, "orgs set-plan Free gold", "there is no plan \"gold\"; choose free, free_daily, hobby, pro, pay_as_you_go, unlimited"},
		{1, "orgs set-plan Fre pro", "there is no organization \"Fre\""},
		{1, "orgs list --plan gold", "there is no plan \"gold\""},
	} {
		if got := c.run(bad.status, strings.Split(bad.args, " ")...); !strings.Contains(got, bad.want) {
			t.Errorf("%s says %q, want %q", bad.args, got, bad.want)
		}
	}
	if entries := c.audit(); entries != nil {
		t.Errorf("the audit log has %q", entries)
	}
}

func TestOrgs(t *testing.T) {
	t.Parallel()
	c := &commands{t, storetest.New(t)}
	ann, bob := c.org("Ann", "free"), c.org("Bob", "hobby")
	for sql, id := range map[string]string{
		`UPDATE org SET suspended_at = now() WHERE id = $1`: bob.ID,
	} {
		if _, err := c.db.Pool().Exec(t.Context(), sql, id); err != nil {
			t.Fatal(err)
		}
	}
	mine := c.org("Mine", "unlimited")
	c.run(0, "credits", "show", "ANN")
	c.run(0, "credits", "show", "Mine")
	const header = "ID  NAME  PLAN  AVAILABLE  USED  RESERVED  RESETS AT  STATE\n"
	annLine := ann.ID + "  Ann  free  50  0  0  T  active\n"
	bobLine := bob.ID + "  Bob  hobby  -  -  -  -  suspended\n"
	mineLine := mine.ID + "  Mine  unlimited  any  0  0  T  active\n"
	for args, want := range map[string]string{
		"": header + annLine + bobLine + mineLine, "list": header + annLine + bobLine + mineLine, "list --plan=hobby": header + bobLine,
		"list --name=an": header + annLine, "list --name=x": header,
	} {
		if diff := cmp.Diff(want, c.run(0, strings.Fields("orgs "+args)...)); diff != "" {
			t.Errorf("orgs %s (-want +got):\n%s", args, diff)
		}
	}
	got := c.run(0, "orgs", "set-plan", "Ann", "free", "--reason=nothing")
	const free = "plan free: 50 of 50 credits available (0 used, 0 reserved, 0 bought) until T\n"
	if diff := cmp.Diff(ann.ID+" (Ann)\nbefore: "+free+"now:  "+free, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got = c.run(0, "orgs", "set-plan", "Ann", "pro", "--reason=A friend")
	begins, ends := store.PeriodOf(store.PeriodMonth, nil, time.Now())
	prorated := regexp.MustCompile(`now:  plan pro: (\d+) of`).FindStringSubmatch(got)
	if prorated == nil {
		t.Fatal(got)
	}
	var have int
	if err := json.Unmarshal([]byte(prorated[1]), &have); err != nil {
		t.Fatal(err)
	}
	due := 50 + int(1950*float64(time.Until(ends))/float64(ends.Sub(begins)))
	if have < due-1 || have > due+2 {
		t.Errorf("%d credits, want %d for the rest of the period", have, due)
	}
	want := []string{
		`org.override organization ` + ann.ID + ` {"plan": "free", "metered": false, "retention_days": 30}` +
			` {"plan": "pro", "reason": "A friend", "metered": false, "retention_days": null}`,
	}
	if diff := cmp.Diff(want, c.audit()); diff != "" {
		t.Errorf("audit log (-want +got):\n%s", diff)
	}
}

// Whoever moves a subscriber to another plan is told that the subscription goes on.
func TestOrgs_SetPlanOfSubscriber(t *testing.T) {
	t.Parallel()
	c := &commands{t, storetest.New(t)}
	org := c.org("Ann", "hobby")
	if _, err := c.db.Pool().Exec(t.Context(), `
		INSERT INTO subscription (org_id, customer, subscription, plan, status) VALUES ($1, 'cus_1', 'sub_1', 'hobby', 'active')`, org.ID); err != nil {
		t.Fatal(err)
	}
	const warning = "its subscription sub_1 goes on: Stripe charges for the plan hobby"
	if got := c.run(0, "orgs", "set-plan", "Ann", "pro"); !strings.Contains(got, warning) {
		t.Errorf("%s", got)
	}
	if got := c.run(0, "orgs", "set-plan", "Ann", "hobby"); strings.Contains(got, "subscription") {
		t.Errorf("back on what is paid for: %s", got)
	}
	if _, err := c.db.Pool().Exec(t.Context(), `UPDATE subscription SET status = 'canceled'`); err != nil {
		t.Fatal(err)
	}
	if got := c.run(0, "orgs", "set-plan", "Ann", "pro"); strings.Contains(got, "subscription") {
		t.Errorf("without one: %s", got)
	}
}

func TestPlans(t *testing.T) {
	t.Parallel()
	c := &commands{t, storetest.New(t)}
	want := "NAME  TITLE  OFFERED  PRICE A MONTH  CREDITS  ONE COSTS  METERED  AN HOUR  AT ONCE  KEPT  PRIORITY\n" +
		"free  Free  yes  $0.0000  50 a month  $0.0000  no  10  5  30 days  3\n" +
		"free_daily  Free, daily  no  $0.0000  3 a day  $0.0000  no  10  5  30 days  3\n" +
		"hobby  Hobby  yes  $9.0000  500 a month  $0.0180  no  100  10  for good  2\n" +
		"pro  Pro  yes  $29.0000  2000 a month  $0.0145  no  500  25  for good  1\n" +
		"pay_as_you_go  Pay as you go  yes  $0.0000  0 a month  $0.0200  yes  1000  50  for good  1\n" +
		"unlimited  Unlimited  no  $0.0000  0 a month  $0.0000  yes  any  any  30 days  1\n"
	for _, args := range [][]string{{"plans"}, {"plans", "list"}} {
		if diff := cmp.Diff(want, c.run(0, args...)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", args, diff)
		}
	}
}

// The program that ships finds the database of dev beside it.
func TestCredits_OfDev(t *testing.T) {
	t.Parallel()
	c := &commands{t, storetest.New(t)}
	org := c.org("Dev", "unlimited")
	dir := t.TempDir()
	state := devState{OrgID: org.ID, DatabaseURL: storetest.URL(c.db)}
	if err := state.write(dir); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), buildProgram(t), "credits", "set", "dev", "5", "--reason", "Trial", "--data", dir)
	cmd.Env = []string{"HOME=" + dir, "PATH=" + filepath.Dir(cmd.Path)}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "5 of 5 credits available") {
		t.Errorf("%v: %s", err, out)
	}
}
