package store_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store"
)

// period is when an organization's present period begins.
func (b *bundle) period(t *testing.T, orgID string) time.Time {
	t.Helper()
	a, err := b.OpenPeriod(t.Context(), orgID, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a.Period
}

// tell tells an organization of its use, and returns what of.
func (b *bundle) tell(t *testing.T, orgID string) string {
	t.Helper()
	told, err := b.TellSpending(t.Context(), orgID, b.period(t, orgID))
	if err != nil {
		t.Fatal(err)
	}
	var shares []string
	for _, a := range told {
		shares = append(shares, fmt.Sprintf("%s %d: %d of %d", a.What, a.Percent, a.Used, a.Whole))
	}
	return strings.Join(shares, ", ")
}

// list is what a query returns.
func (b *bundle) list(t *testing.T, sql string, args ...any) []string {
	t.Helper()
	rows, err := b.Pool().Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// warnings is how many tickets to tell someone have been queued, and how many were
// since the last call.
func (b *bundle) warnings(t *testing.T) string {
	t.Helper()
	return b.list(t, `
		WITH gone AS (DELETE FROM river.river_job WHERE kind = $1 RETURNING 1)
		SELECT count(*)::text FROM gone`, store.WarnKind)[0]
}

// An event's period is the one by which the ledger is asked, to the microsecond.
func TestTellSpending_ExactPeriod(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "free")
	if _, err := b.CreateProject(t.Context(), org, "shop"); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE org SET period_anchor = '2026-01-05T06:07:08.12345Z' WHERE id = $1`, org)
	b.spend(t, org, 41)
	b.tell(t, org)
	var period time.Time
	var told string
	if err := b.Pool().QueryRow(t.Context(), `
		SELECT a.period, e.data ->> 'period' FROM credit_account AS a JOIN event AS e USING (org_id)
		WHERE a.org_id = $1 AND e.type = 'quota.warning_80'`, org).Scan(&period, &told); err != nil {
		t.Fatal(err)
	}
	if want := period.UTC().Format(time.RFC3339Nano); told != want || !strings.HasSuffix(told, "08.12345Z") {
		t.Errorf("the event is of %s, want %s", told, want)
	}
}

func TestTellSpending(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "free")
	shop, err := b.CreateProject(t.Context(), org, "shop")
	if err != nil {
		t.Fatal(err)
	}
	blog, err := b.CreateProject(t.Context(), org, "blog")
	if err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE project SET archived_at = now() WHERE id = $1`, blog.ID)
	for role, verified := range map[string]string{"owner": "now()", "admin": "now()", "member": "now()", "billing": "now()", "read_only": "now()", "silent": "NULL"} {
		b.exec(t, `INSERT INTO account (id, email, email_key, name, verified_at) VALUES ('usr_' || $1, $1 || '@example.com', $1, '', `+verified+`)`, role)
		b.exec(t, `INSERT INTO membership (org_id, account_id, role) VALUES ($1, 'usr_' || $2, replace($2, 'silent', 'owner'))`, org, role)
	}
	b.spend(t, org, 39)
	if got := b.tell(t, org) + "; " + b.warnings(t); got != "; 0" {
		t.Errorf("at 39 of 50: %s", got)
	}
	b.spend(t, org, 2)
	if got := b.warnings(t); got != "1" {
		t.Errorf("%s tickets at 41 of 50", got)
	}
	if got := b.tell(t, org); got != "quota 80: 41 of 50" {
		t.Errorf("at 41 of 50: %q", got)
	}
	if got := b.tell(t, org) + b.limits(t, org); got != "limit none, warn at 50" {
		t.Errorf("again: %q", got)
	}
	b.budget(t, org, 40, func(set *store.Budget) { set.Alerts = []int{50, 100, 150} })
	if got := b.warnings(t); got != "1" {
		t.Errorf("%s tickets for a budget that is reached", got)
	}
	if got := b.tell(t, org); got != "budget 50: 41 of 40, budget 100: 41 of 40" {
		t.Errorf("with a budget: %q", got)
	}
	want := []string{
		"billing@example.com budget_alert 100 41 40", "billing@example.com quota_warning 80 41 50",
		"admin@example.com budget_alert 100 41 40", "admin@example.com quota_warning 80 41 50",
		"owner@example.com budget_alert 100 41 40", "owner@example.com quota_warning 80 41 50",
	}
	slices.Sort(want)
	mails := b.list(t, `SELECT format('%s %s %s %s %s', recipient, kind, data ->> 'percent', data ->> 'used', data ->> 'limit') FROM mail`)
	slices.Sort(mails)
	if diff := cmp.Diff(want, mails); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
	}
	if n := b.list(t, `SELECT count(*)::text FROM river.river_job WHERE kind = 'send_mail'`)[0]; n != "6" {
		t.Errorf("%s mails have a ticket", n)
	}
	events := b.list(t, `
		SELECT format('%s %s %s %s %s', project_id, type, data ->> 'percent', data ->> 'what', data ->> 'organization_id') FROM event
		WHERE org_id = $1 AND type NOT LIKE 'generation.%' ORDER BY sequence`, org)
	wantEvents := []string{
		shop.ID + " quota.warning_80 80 quota " + org, shop.ID + " budget.alert 50 budget " + org, shop.ID + " budget.alert 100 budget " + org,
	}
	if diff := cmp.Diff(wantEvents, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// Whoever gets more is told of the shares of that.
func TestTellSpending_AgainOfMore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "free")
	b.spend(t, org, 50)
	if got := b.tell(t, org); got != "quota 80: 50 of 50, quota 100: 50 of 50" {
		t.Errorf("at 50 of 50: %q", got)
	}
	b.warnings(t)
	// 50 are 83 % of 60.
	if _, _, err := b.ChangeCredits(t.Context(), store.CreditChange{OrgID: org, Kind: store.CreditGrant, Amount: 10}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := b.tell(t, org) + b.limits(t, org) + ", " + b.warnings(t); got != "limit none, warn at 60, 0" {
		t.Errorf("at 50 of 60: %q", got)
	}
	if _, _, err := b.ChangeCredits(t.Context(), store.CreditChange{OrgID: org, Kind: store.CreditGrant, Amount: 40}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := b.tell(t, org) + b.limits(t, org); got != "limit none, warn at 80" {
		t.Errorf("at 50 of 100: %q", got)
	}
	if _, _, err := b.ChangeCredits(t.Context(), store.CreditChange{OrgID: org, Kind: store.CreditAdjust, Amount: -40}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := b.warnings(t) + " " + b.tell(t, org); got != "1 quota 80: 50 of 60" {
		t.Errorf("at 50 of 60 again: %q", got)
	}
	if _, err := b.SetCredits(t.Context(), org, 0, "", "", time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := b.warnings(t) + " " + b.tell(t, org); got != "1 quota 100: 50 of 50" {
		t.Errorf("at 50 of 50 again: %q", got)
	}
}

// A budget in place of one that was deleted tells anew, and one of nothing with the
// first credit that is used.
func TestTellSpending_Budgets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "pay_as_you_go")
	b.budget(t, org, 100, nil)
	b.spend(t, org, 85)
	if got := b.tell(t, org); got != "budget 80: 85 of 100" {
		t.Errorf("at first: %q", got)
	}
	if err := b.DeleteBudget(t.Context(), org, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := b.tell(t, org); got != "" {
		t.Errorf("without one: %q", got)
	}
	b.budget(t, org, 50, nil)
	if got := b.tell(t, org) + b.tell(t, org); got != "budget 80: 85 of 50, budget 100: 85 of 50" {
		t.Errorf("a smaller one: %q", got)
	}
	none := b.org(t, "pay_as_you_go")
	b.period(t, none)
	b.budget(t, none, 0, nil)
	if got := b.tell(t, none); got != "" {
		t.Errorf("nothing of nothing: %q", got)
	}
	b.warnings(t)
	b.spend(t, none, 1)
	if got := b.warnings(t) + " " + b.tell(t, none); got != "1 budget 80: 1 of 0, budget 100: 1 of 0" {
		t.Errorf("one of nothing: %q", got)
	}
}

// Twenty at once, half of whom are broken off anywhere: each share is told once.
func TestTellSpending_Once(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "free")
	project, err := b.CreateProject(t.Context(), org, "shop")
	if err != nil {
		t.Fatal(err)
	}
	b.exec(t, `INSERT INTO account (id, email, email_key, name, verified_at) VALUES ('usr_1', 'a@example.com', 'a', '', now())`)
	b.exec(t, `INSERT INTO membership (org_id, account_id, role) VALUES ($1, 'usr_1', 'owner')`, org)
	b.budget(t, org, 20, func(set *store.Budget) { set.Alerts = []int{50, 80, 100} })
	b.spend(t, org, 41)
	period := b.period(t, org)
	var told atomic.Int64
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() {
			// What is broken off counts for nothing.
			_ = b.Transact(t.Context(), func(tx *store.DB) error {
				list, err := tx.TellSpending(t.Context(), org, period)
				if err != nil {
					t.Error(err)
				}
				if i%2 == 0 {
					return fmt.Errorf("killed")
				}
				told.Add(int64(len(list)))
				return nil
			})
		})
	}
	wait.Wait()
	got := fmt.Sprint(told.Load(), b.list(t, `SELECT what || percent FROM spend_alert ORDER BY 1`),
		b.list(t, `SELECT type FROM event WHERE project_id = $1 ORDER BY sequence`, project.ID), b.list(t, `SELECT kind FROM mail ORDER BY 1`))
	want := "4 [budget100 budget50 budget80 quota80] [budget.alert budget.alert budget.alert quota.warning_80] [budget_alert quota_warning]"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A ticket that nobody has is made anew; a period that is over is nobody's concern.
func TestQueueLostWarnings(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org, over, told := b.org(t, "free"), b.org(t, "hobby"), b.org(t, "pro")
	b.spend(t, org, 40)
	b.spend(t, over, 500)
	b.spend(t, told, 2000)
	queue := func() int {
		t.Helper()
		n, err := b.QueueLostWarnings(t.Context(), 100)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := queue(); n != 0 {
		t.Errorf("%d with tickets were queued", n)
	}
	b.warnings(t)
	period := b.period(t, over)
	b.tell(t, told)
	b.exec(t, `UPDATE credit_account SET ends_at = now() WHERE org_id = $1`, over)
	if n := queue(); n != 1 {
		t.Errorf("%d were queued, want 1", n)
	}
	if list, err := b.TellSpending(t.Context(), over, period); err != nil || len(list) > 0 {
		t.Errorf("of a period that is over: %v, %v", list, err)
	}
	if list, err := b.TellSpending(t.Context(), "org_none", period); err != nil || len(list) > 0 {
		t.Errorf("of no organization: %v, %v", list, err)
	}
	if got := b.tell(t, org); got != "quota 80: 40 of 50" {
		t.Error(got)
	}
	tx, err := b.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	// Three rows are read faster one after the other.
	if _, err := tx.Exec(t.Context(), `SET LOCAL enable_seqscan = off`); err != nil {
		t.Fatal(err)
	}
	rows, err := tx.Query(t.Context(), `EXPLAIN SELECT * FROM credit_account WHERE ends_at > now() AND used >= warn_at`)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	plan := strings.Join(lines, "\n")
	if !strings.Contains(plan, "credit_account_ends") {
		t.Errorf("it reads all there is:\n%s", plan)
	}
}

// Nobody is told of a deleted organization, and nothing asks again and again for it.
func TestTellSpending_Deleted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "free")
	period := b.period(t, org)
	b.exec(t, `UPDATE org SET deleted_at = now() WHERE id = $1`, org)
	b.exec(t, `UPDATE credit_account SET used = granted WHERE org_id = $1`, org)
	b.warnings(t)
	told, err := b.TellSpending(t.Context(), org, period)
	if err != nil {
		t.Fatal(err)
	}
	lost, err := b.QueueLostWarnings(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	if queued := b.warnings(t); len(told) != 0 || lost != 0 || queued != "0" {
		t.Errorf("%d told, %d lost, %s queued; want none", len(told), lost, queued)
	}
}

func TestTellCost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `INSERT INTO account (id, email, email_key, name, verified_at, operator) VALUES
		('usr_1', 'op@example.com', 'op', '', now(), true), ('usr_2', 'no@example.com', 'no', '', now(), false), ('usr_3', 'un@example.com', 'un', '', NULL, true)`)
	cost := func(org string, micros int64, before string) {
		b.exec(t, `INSERT INTO usage_day (org_id, day, project_id, api_key_id, model, size, kind, provider_micros, latency)
			VALUES ($1, date_trunc('day', now(), 'UTC') - $3::text::interval, 'p', 'k', 'm', '1K', 'generate', $2, '{}')
			ON CONFLICT (org_id, day, project_id, api_key_id, model, size, kind) DO UPDATE
			SET provider_micros = usage_day.provider_micros + $2`, org, micros, before)
	}
	const limit = 10_000_000
	tell := func() (told []string) {
		t.Helper()
		list, err := b.TellCost(t.Context(), limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range list {
			told = append(told, fmt.Sprintf("%d %d", a.Percent, a.Micros))
		}
		return told
	}
	cost("org_1", 999*limit, "25 hours") // too long ago
	cost("org_1", limit/2, "0")
	cost("org_2", limit/2-1, "0")
	for _, step := range []struct {
		more int64
		want []string
	}{
		{0, nil},
		{1, []string{"100 10000000"}},
		{0, nil},
		{limit - 1, nil},
		{1, []string{"200 20000000"}},
		{5 * limit, []string{"400 70000000"}},
		{100_000_000 * limit, []string{"104857600 1000000070000000"}},
		{100_000_000 * limit, nil},
	} {
		cost("org_2", step.more, "0")
		if diff := cmp.Diff(step.want, tell()); diff != "" {
			t.Errorf("after %d more (-want +got):\n%s", step.more, diff)
		}
	}
	cost("org_1", limit, "1 hour") // yesterday's last
	if diff := cmp.Diff([]string{"100 10000000"}, tell()); diff != "" {
		t.Errorf("yesterday (-want +got):\n%s", diff)
	}
	want := []string{"op@example.com 100 10.00", "op@example.com 100 10.00", "op@example.com 104857600 1000000070.00", "op@example.com 200 20.00", "op@example.com 400 70.00"}
	got := b.list(t, `SELECT format('%s %s %s', recipient, data ->> 'percent', data ->> 'cost') FROM mail WHERE kind = 'cost_alert' ORDER BY 1`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
	}
}
