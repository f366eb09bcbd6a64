package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// wantOwed compares what is owed of the accounts, the earliest first.
func (l *ledger) wantOwed(t *testing.T, want ...string) {
	t.Helper()
	got := l.lines(t, `SELECT owed::text FROM credit_account WHERE org_id = $1 ORDER BY period`, l.org)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("owed (-want +got):\n%s", diff)
	}
}

// wantAvailable compares what the present account says and what a submission gets.
func (l *ledger) wantAvailable(t *testing.T, want int64) {
	t.Helper()
	a, err := l.CreditAccount(t.Context(), l.org, l.at)
	if err != nil {
		t.Fatal(err)
	}
	g := l.ask(t, int(want)+1)
	if a.Available() != want || g.Refusal == nil || g.Refusal.Available != want {
		t.Errorf("available %d, and %d more are refused with %+v; want %d", a.Available(), want+1, g.Refusal, want)
	}
}

func (l *ledger) cancel(t *testing.T, g *store.NewGeneration) {
	t.Helper()
	if _, ended, err := l.CancelGeneration(t.Context(), g.ProjectID, g.ID); err != nil || !ended {
		t.Fatal(ended, err)
	}
}

// turn begins July.
func (l *ledger) turn(t *testing.T) {
	t.Helper()
	l.at = time.Date(2023, 7, 1, 0, 0, 1, 0, time.UTC)
	if _, err := l.OpenPeriod(t.Context(), l.org, l.at); err != nil {
		t.Fatal(err)
	}
}

func (l *ledger) carry(t *testing.T, want int) {
	t.Helper()
	if n, err := l.CarryCredits(t.Context(), 10); err != nil || n != want {
		t.Errorf("carried for %d organizations, %v; want %d", n, err, want)
	}
}

// What a smaller plan could not take is taken from what later periods grant.
func TestOwed_GoesOnIntoLaterPeriods(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "hobby")
	l.plan(t, "pro", nil)
	l.use(t, 1250)
	l.plan(t, "hobby", nil)
	l.wantOwed(t, "750")
	l.turn(t)
	l.want(t, "hobby 1250/0/1250 (0)", "hobby 0/0/0 (0)")
	l.wantOwed(t, "0", "250")
	l.wantAvailable(t, 0)
	l.change(t, store.CreditPurchase, 10) // which nothing is taken from
	l.wantAvailable(t, 10)
	l.change(t, store.CreditGrant, 7)
	l.wantAvailable(t, 17)
	l.at = l.at.AddDate(0, 1, 0)
	if _, err := l.OpenPeriod(t.Context(), l.org, l.at); err != nil {
		t.Fatal(err)
	}
	l.want(t, "hobby 1250/0/1250 (0)", "hobby 7/0/0 (0)", "hobby 260/0/0 (10)")
	l.wantOwed(t, "0", "0", "0")
}

// What was reserved while a plan became smaller is not there when it comes back, in the
// same instant as later, when it is taken.
func TestOwed_TakesWhatIsReleased(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "pro")
	g := l.reserve(t, 2000)
	l.plan(t, "hobby", nil)
	l.carry(t, 0)
	l.cancel(t, g)
	l.wantAvailable(t, 1250)
	l.carry(t, 1)
	l.want(t, "hobby 1250/0/0 (0)")
	l.wantOwed(t, "0")
	l.wantAvailable(t, 1250)
	l.carry(t, 0)
}

// What is under way at the turn is owed until it has ended: what comes back then is
// owed no more, and what is used is owed by the next period.
func TestOwed_OfWhatIsUnderWayAtTheTurn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		canceled bool
		july     string
	}{"released": {true, "hobby 500/0/0 (0)"}, "used": {false, "hobby 0/0/0 (0)"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := setup(t).ledgerOf(t, "pro")
			g := l.reserve(t, 2000)
			l.plan(t, "hobby", nil)
			l.turn(t)
			l.wantOwed(t, "750", "0")
			if c.canceled {
				l.cancel(t, g)
			} else {
				l.deliver(t, g)
			}
			l.carry(t, 1)
			if got := l.lines(t, `SELECT format('%s %s/%s/%s (%s)', plan, granted, reserved, used, bought) FROM credit_account WHERE org_id = $1 AND period >= '2023-07-01'`, l.org)[0]; got != c.july {
				t.Errorf("the next period is %s, want %s", got, c.july)
			}
			l.wantNoFaults(t)
			l.carry(t, 0)
		})
	}
}

// What comes back of an ended period, while others are under way in it, is taken once,
// however often it is looked for.
func TestCarryCredits_TakesWhatIsOwedOnce(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "pro")
	canceled, delivered := l.reserve(t, 100), l.reserve(t, 1900)
	l.plan(t, "hobby", nil)
	l.turn(t)
	l.cancel(t, canceled)
	l.carry(t, 1)
	l.wantOwed(t, "650", "0")
	for range 8 {
		l.carry(t, 0)
		l.refund(t, 10, 0) // which looks for it too
	}
	l.wantOwed(t, "650", "0")
	l.deliver(t, delivered)
	l.carry(t, 1)
	l.wantOwed(t, "0", "150")
	l.want(t, "hobby 1900/0/1900 (0)", "hobby 0/0/0 (0)")
}

// Where something bought is there beside what is owed, submissions one by one get as
// much as one that asks for all of it.
func TestOwed_BesideWhatWasBought(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		plan      string
		each      int
		available int64
	}{{"hobby", 1750, 1750}, {"hobby", 100, 1750}, {"hobby", 7, 1750}, {"free", 1525, 1525}, {"free", 100, 1525}} {
		t.Run(fmt.Sprint(c.plan, c.each), func(t *testing.T) {
			t.Parallel()
			l := setup(t).ledgerOf(t, "pro")
			l.change(t, store.CreditPurchase, 500)
			g := l.reserve(t, 2000)
			l.plan(t, c.plan, nil)
			l.cancel(t, g)
			var last *store.Refusal
			total := 0
			for last == nil {
				if last = l.ask(t, c.each).Refusal; last == nil {
					total += c.each
				}
			}
			left := c.available % int64(c.each)
			if total != int(c.available-left) || last.Why != store.RefusedCredits || last.Available != left {
				t.Errorf("let in %d, then %+v; want %d, with %d left", total, last, c.available-left, left)
			}
			l.wantOwed(t, "0")
			l.wantAvailable(t, left)
		})
	}
}

// A batch and others that share a commit with it are not let in for more either.
func TestOwed_BesideWhatWasBoughtAtOnce(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "pro")
	l.change(t, store.CreditPurchase, 500)
	g := l.reserve(t, 2000)
	l.plan(t, "hobby", nil)
	l.cancel(t, g)
	var rows []*store.NewGeneration
	for range 25 {
		row := l.priced(l.org, 100)
		row.CreatedAt = l.at
		rows = append(rows, row)
	}
	if err := l.InsertGenerations(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, row := range rows {
		if row.Refusal == nil {
			n++
		} else if row.Refusal.Why != store.RefusedCredits {
			t.Errorf("%+v", row.Refusal)
		}
	}
	if n != 17 {
		t.Errorf("%d of 100 credits were let in, want 17", n)
	}
	l.wantAvailable(t, 50)
}

// A plan that is paid whole is had whole, whichever period owes something.
func TestOwed_EndsWithAPlanThatIsPaidWhole(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "hobby")
	g := l.reserve(t, 400)
	l.plan(t, "free", nil)
	l.turn(t)
	l.wantOwed(t, "125", "0")
	l.at = l.at.AddDate(0, 0, 1)
	anchor := l.at
	l.plan(t, "hobby", &anchor)
	l.wantOwed(t, "0", "0", "0")
	l.deliver(t, g)
	l.carry(t, 0)
	l.want(t, "free 400/0/400 (0)", "free 50/0/0 (0)", "hobby 500/0/0 (0)")
	l.wantAvailable(t, 500)
}

// An operator's word ends what is owed.
func TestSetCredits_EndsWhatIsOwed(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "pro")
	l.use(t, 2000)
	l.plan(t, "hobby", nil)
	l.wantOwed(t, "750")
	if _, err := l.SetCredits(t.Context(), l.org, 30, "", "", l.at); err != nil {
		t.Fatal(err)
	}
	l.wantAvailable(t, 30)
	l.turn(t)
	l.want(t, "hobby 2030/0/2000 (0)", "hobby 500/0/0 (0)")
}

// What an earlier period owes goes with it.
func TestSetCredits_EndsWhatAnEarlierPeriodOwes(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "pro")
	g := l.reserve(t, 2000)
	l.plan(t, "hobby", nil)
	l.turn(t)
	l.wantOwed(t, "750", "0")
	if _, err := l.SetCredits(t.Context(), l.org, 30, "", "", l.at); err != nil {
		t.Fatal(err)
	}
	l.deliver(t, g)
	l.carry(t, 0)
	l.wantOwed(t, "0", "0")
	l.wantAvailable(t, 30)
}

// What an operator has given is gone when they say that nothing is left.
func TestSetCredits_TakesWhatWasGiven(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	l.change(t, store.CreditGrant, 1000)
	for _, n := range []int{300, 0} {
		if _, err := l.SetCredits(t.Context(), l.org, n, "", "", l.at); err != nil {
			t.Fatal(err)
		}
		if given := l.lines(t, `SELECT given::text FROM credit_account WHERE org_id = $1`, l.org)[0]; given != fmt.Sprint(n) {
			t.Errorf("%s are given of %d that are left", given, n)
		}
	}
	l.plan(t, "hobby", nil)
	l.plan(t, "free", nil)
	l.wantAvailable(t, 0)
}

// What an operator has given pays for no smaller plan, and stays over a change of plan.
func TestChangePlan_LeavesWhatWasGiven(t *testing.T) {
	t.Parallel()
	b := setup(t)
	l := b.ledgerOf(t, "free")
	l.change(t, store.CreditGrant, 1000)
	l.change(t, store.CreditPurchase, 20)
	l.use(t, 60) // of which 10 are of the given
	l.at = l.at.Add(time.Minute)
	l.plan(t, "hobby", &l.at)
	l.want(t, "free 60/0/60 (0)", "hobby 1510/0/0 (20)")
	l.plan(t, "free", nil)
	l.wantOwed(t, "0", "0")
	m := b.ledgerOf(t, "hobby")
	m.use(t, 500)
	m.change(t, store.CreditGrant, 300)
	m.plan(t, "free", nil)
	m.want(t, "free 800/0/500 (0)")
	m.wantOwed(t, "225")
	m.wantAvailable(t, 300)
	m.turn(t) // they are not beyond the period
	m.want(t, "free 800/0/500 (0)", "free 0/0/0 (0)")
}

// A hard stop counts on over changes of plan.
func TestBudget_GoesOnOverChangesOfPlan(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	if _, err := l.SetBudget(t.Context(), store.Budget{OrgID: l.org, Credits: 20, HardStop: true}, l.at); err != nil {
		t.Fatal(err)
	}
	l.use(t, 15)
	for _, plan := range []string{"unlimited", "free", "unlimited"} {
		l.at = l.at.Add(time.Minute)
		l.plan(t, plan, nil)
		g := l.priced(l.org, 6)
		g.CreatedAt, g.DeadlineAt = l.at, time.Now().Add(time.Hour)
		if err := l.InsertGenerations(t.Context(), []*store.NewGeneration{g}); err != nil {
			t.Fatal(err)
		}
		if g.Refusal == nil || g.Refusal.Why != store.RefusedBudget {
			t.Errorf("on %s beyond the budget: %+v", plan, g.Refusal)
		}
		l.use(t, 1)
	}
	l.turn(t)
	l.use(t, 20)
	l.wantNoFaults(t)
}
