package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// budgetOver is the ledger of an organization on the plan free with a budget of 40
// credits, of which 30 are reserved as it changes to a plan without limits.
func budgetOver(t *testing.T, alerts ...int) (l *ledger, old *store.NewGeneration) {
	t.Helper()
	b := setup(t)
	l = &ledger{bundle: b, org: b.org(t, "free"), at: time.Now().UTC().Truncate(time.Microsecond)}
	l.period(t, l.org)
	l.budget(t, l.org, 40, func(set *store.Budget) { set.HardStop, set.Alerts = true, alerts })
	old = l.reserve(t, 30)
	l.plan(t, "unlimited", nil)
	l.at = time.Now().UTC()
	l.warnings(t)
	return l, old
}

// wantSpendable compares what is left of the budget with what a submission gets.
func (l *ledger) wantSpendable(t *testing.T, want int64) {
	t.Helper()
	if got := l.present(t).Spendable(); got == nil {
		t.Error("there is no limit")
	} else if *got != want {
		t.Errorf("%d can be spent, want %d", *got, want)
	}
	l.wantOverBudget(t, int(want)+1)
}

// wantOverBudget submits what is to be refused.
func (l *ledger) wantOverBudget(t *testing.T, credits int) {
	t.Helper()
	g := l.priced(l.org, credits)
	if err := l.InsertGenerations(t.Context(), []*store.NewGeneration{g}); err != nil || g.Refusal == nil || g.Refusal.Why != store.RefusedBudget {
		t.Errorf("%d more: %+v, %v", credits, g.Refusal, err)
	}
}

// What was under way as the plan changed counts while it is, and then as far as it was
// delivered: the rest can be spent at once.
func TestBudget_OfWhatIsUnderWayAtAChangeOfPlan(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  func(*ledger, *testing.T, *store.NewGeneration)
		left int64
	}{"canceled": {(*ledger).cancel, 40}, "delivered": {(*ledger).deliver, 10}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, old := budgetOver(t)
			l.wantSpendable(t, 10)
			if a := l.present(t); a.SpentBefore != 0 || a.UnderWayBefore != 30 {
				t.Errorf("%d used and %d under way before the change, want 0 and 30", a.SpentBefore, a.UnderWayBefore)
			}
			c.end(l, t, old)
			l.wantSpendable(t, c.left)
			l.plan(t, "pro", nil) // and over the next one
			l.at = time.Now().UTC()
			l.wantSpendable(t, c.left)
			l.reserve(t, 10)
			l.wantSpendable(t, c.left-10)
			l.wantNoFaults(t)
		})
	}
}

// Who opens a period hears of what was spent before a change of plan.
func TestOpenPeriod_OverAChangeOfPlan(t *testing.T) {
	t.Parallel()
	l, _ := budgetOver(t)
	a, err := l.OpenPeriod(t.Context(), l.org, l.at)
	if err != nil {
		t.Fatal(err)
	}
	if left := a.Spendable(); a.UnderWayBefore != 30 || left == nil || *left != 10 {
		t.Errorf("%d under way before the change of a budget of %v, want 30 of 40", a.UnderWayBefore, *a.SpendLimit)
	}
}

// A subscription that begins begins the budget anew; one that ends does not, whatever its
// plan grants.
func TestBudget_OfASubscription(t *testing.T) {
	t.Parallel()
	for _, plan := range []string{"pay_as_you_go", "hobby"} {
		t.Run(plan, func(t *testing.T) {
			t.Parallel()
			p := newPayer(t)
			at := func(hours int) time.Time { return p.now.Add(time.Duration(hours) * time.Hour) }
			_, err := p.db.OpenPeriod(t.Context(), p.org, at(-2))
			p.must(err)
			_, err = p.db.SetBudget(t.Context(), store.Budget{OrgID: p.org, Credits: 100, HardStop: true}, at(-2))
			p.must(err)
			p.meter(40, at(-1))
			spendable := func(when string, hours int, want int64) {
				t.Helper()
				a, err := p.db.CreditAccount(t.Context(), p.org, at(hours))
				p.must(err)
				if left := *a.Spendable(); left != want {
					t.Errorf("%s: %d can be spent, want %d", when, left, want)
				}
			}
			p.apply(p.fetched(1, plan, "active"), at(0))
			spendable("begun", 0, 100)
			p.meter(70, at(1))
			p.apply(p.fetched(2, plan, "canceled"), at(2))
			spendable("ended", 3, 30)
			again := p.fetched(3, plan, "active")
			again.PeriodStart, again.PeriodEnd = at(4), at(4).AddDate(0, 1, 0)
			p.apply(again, at(4))
			spendable("begun again", 4, 100)
		})
	}
}

// Alerts are of what was delivered, by the plan before a change too, and as it is.
func TestTellSpending_OverAChangeOfPlan(t *testing.T) {
	t.Parallel()
	l, old := budgetOver(t, 50)
	ended := l.lines(t, `SELECT period::text FROM credit_account WHERE org_id = $1 ORDER BY period LIMIT 1`, l.org)[0]
	l.cancel(t, old)
	if got := l.tell(t, l.org) + l.warnings(t); got != "0" {
		t.Errorf("told of what was canceled: %q", got)
	}
	l.plan(t, "pro", nil)
	l.at = time.Now().UTC()
	a, b, c := l.reserve(t, 12), l.reserve(t, 13), l.reserve(t, 15)
	l.plan(t, "unlimited", nil)
	l.at = time.Now().UTC()
	l.warnings(t)
	period := l.lines(t, `SELECT period::text FROM credit_account WHERE org_id = $1 ORDER BY period DESC OFFSET 1 LIMIT 1`, l.org)[0]
	if period == ended {
		t.Fatal("the change has begun no period")
	}
	var told []string
	for _, g := range []*store.NewGeneration{a, b, c} {
		l.deliver(t, g)
		for _, due := range l.lines(t, `
			WITH gone AS (DELETE FROM river.river_job WHERE kind = $1 RETURNING args)
			SELECT ((args ->> 'period')::timestamptz)::text FROM gone`, store.WarnKind) {
			at, err := time.Parse("2006-01-02 15:04:05.999999999-07", due)
			if err != nil {
				t.Fatal(err)
			}
			alerts, err := l.TellSpending(t.Context(), l.org, at)
			if err != nil {
				t.Fatal(err)
			}
			for _, alert := range alerts {
				told = append(told, fmt.Sprintf("%s %s %d: %d of %d", due, alert.What, alert.Percent, alert.Used, alert.Whole))
			}
		}
	}
	if diff := cmp.Diff([]string{period + " budget 50: 25 of 40"}, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if got := l.tell(t, l.org); got != "" {
		t.Errorf("told again: %q", got)
	}
}

// A ticket that is lost as an ended account's use is delivered is made good.
func TestQueueLostWarnings_OverAChangeOfPlan(t *testing.T) {
	t.Parallel()
	l, old := budgetOver(t, 50)
	l.deliver(t, old)
	l.warnings(t)
	lost := func() int {
		t.Helper()
		n, err := l.QueueLostWarnings(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := lost(); n != 1 {
		t.Errorf("%d are queued, want 1", n)
	}
	ended := l.lines(t, `SELECT to_char(period AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM credit_account WHERE org_id = $1 ORDER BY period`, l.org)[0]
	period, err := time.Parse(time.RFC3339Nano, ended)
	if err != nil {
		t.Fatal(err)
	}
	if told, err := l.TellSpending(t.Context(), l.org, period); err != nil || len(told) != 1 {
		t.Errorf("told %+v, %v; want of 50 %%", told, err)
	}
	l.warnings(t)
	if n := lost(); n != 0 {
		t.Errorf("%d are queued once it is told", n)
	}
}

// However plans change while it is submitted, canceled and delivered, what is used and
// reserved never is more than the budget, and all of it can be had.
func TestBudget_IsExactOverChangesOfPlan(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const budget = 20
	l := &ledger{bundle: b, org: b.org(t, "unlimited"), at: time.Now().UTC()}
	l.period(t, l.org)
	l.budget(t, l.org, budget, hardStop)
	spent := func() (n int) {
		if err := l.Pool().QueryRow(t.Context(), `SELECT sum(used + reserved) FROM credit_account WHERE org_id = $1`, l.org).Scan(&n); err != nil {
			t.Error(err)
		}
		return n
	}
	ask := func(cancel bool) {
		g := l.priced(l.org, 3)
		if err := l.InsertGenerations(t.Context(), []*store.NewGeneration{g}); err != nil {
			t.Error(err)
		}
		if n := spent(); n > budget {
			t.Errorf("%d are used and reserved of %d", n, budget)
		}
		if g.Refusal == nil && cancel {
			if _, _, err := l.CancelGeneration(t.Context(), g.ProjectID, g.ID); err != nil {
				t.Error(err)
			}
		}
	}
	for round := range 12 {
		var all sync.WaitGroup
		for client := range 5 {
			all.Go(func() {
				ask((client+round)%5 > 0)
				ask(true)
			})
		}
		all.Go(func() {
			plan := []string{"pro", "unlimited"}[round%2]
			if _, err := l.ChangePlan(t.Context(), store.PlanChange{OrgID: l.org, Plan: plan}, time.Now()); err != nil {
				t.Error(err)
			}
		})
		all.Wait()
	}
	for n := spent(); n < budget; n++ {
		if refused := l.spend(t, l.org, 1); refused != nil {
			t.Fatalf("beyond %d of %d: %+v", n, budget, refused)
		}
	}
	l.wantOverBudget(t, 1)
	l.wantNoFaults(t)
}
