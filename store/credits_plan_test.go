package store_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// A ledger is one organization's, with what tests do to it.
type ledger struct {
	*bundle

	org string
	at  time.Time
}

// ledgerOf is the ledger of a new organization on a plan, in the middle of a month of
// thirty days, with the period opened.
func (b *bundle) ledgerOf(t *testing.T, plan string) *ledger {
	t.Helper()
	l := &ledger{bundle: b, org: b.org(t, plan), at: time.Date(2023, 6, 16, 0, 0, 0, 0, time.UTC)}
	if _, err := b.OpenPeriod(t.Context(), l.org, l.at); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *ledger) plan(t *testing.T, name string, anchor *time.Time) {
	t.Helper()
	if _, err := l.ChangePlan(t.Context(), store.PlanChange{OrgID: l.org, Plan: name, Anchor: anchor}, l.at); err != nil {
		t.Fatal(err)
	}
}

func (l *ledger) change(t *testing.T, kind string, amount int) {
	t.Helper()
	c := store.CreditChange{OrgID: l.org, Kind: kind, Amount: amount, Bought: kind == store.CreditPurchase}
	if _, _, err := l.ChangeCredits(t.Context(), c, l.at); err != nil {
		t.Fatal(err)
	}
}

// use lets a generation of so many credits deliver.
func (l *ledger) use(t *testing.T, credits int) {
	t.Helper()
	l.deliver(t, l.reserve(t, credits))
}

func (l *ledger) deliver(t *testing.T, g *store.NewGeneration) {
	t.Helper()
	claims, err := l.ClaimGenerations(t.Context(), store.Claimer{Worker: "w"}, []store.Ticket{{GenerationID: g.ID, RiverJobID: *g.RiverJobID}})
	if err != nil || claims[0] == nil {
		t.Fatal(claims, err)
	}
	if !l.finish(t, succeeded(claims[0])) {
		t.Fatal("it did not finish")
	}
}

// ask submits a generation of so many credits.
func (l *ledger) ask(t *testing.T, credits int) *store.NewGeneration {
	t.Helper()
	g := l.priced(l.org, credits)
	g.CreatedAt, g.DeadlineAt = l.at, time.Now().Add(time.Hour)
	if err := l.InsertGenerations(t.Context(), []*store.NewGeneration{g}); err != nil {
		t.Fatal(err)
	}
	return g
}

// reserve submits a generation of so many credits, which must be let in.
func (l *ledger) reserve(t *testing.T, credits int) *store.NewGeneration {
	t.Helper()
	g := l.ask(t, credits)
	if g.Refusal != nil {
		t.Fatalf("refused: %+v", g.Refusal)
	}
	return g
}

// want compares the accounts, the earliest first, each as "plan granted/reserved/used
// (bought)", and looks for faults.
func (l *ledger) want(t *testing.T, want ...string) {
	t.Helper()
	got := l.lines(t, `
		SELECT format('%s %s/%s/%s (%s)', plan, granted, reserved, used, bought) FROM credit_account
		WHERE org_id = $1 ORDER BY period`, l.org)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("accounts (-want +got):\n%s", diff)
	}
	l.wantNoFaults(t)
}

func TestChangePlan_Prorates(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	l.use(t, 40)
	l.plan(t, "hobby", nil)
	l.want(t, "hobby 275/0/40 (0)") // and half of 450
	l.plan(t, "free", nil)
	l.want(t, "free 50/0/40 (0)")
	l.plan(t, "free", nil)
	l.want(t, "free 50/0/40 (0)")
}

// Whoever uses what a larger plan gives and goes back has that taken from what the next
// change gives: one can not go to and fro for credits.
func TestChangePlan_ToAndFroGrantsNothing(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "hobby")
	l.plan(t, "pro", nil)
	l.use(t, 1240)
	l.want(t, "pro 1250/0/1240 (0)")
	for range 3 {
		l.plan(t, "hobby", nil)
		l.want(t, "hobby 1240/0/1240 (0)")
		l.plan(t, "pro", nil)
		l.want(t, "pro 1250/0/1240 (0)")
	}
}

// Nor by way of a metered plan, whether with periods of its own or not.
func TestChangePlan_ByAMeteredPlanGrantsNothing(t *testing.T) {
	t.Parallel()
	for name, anchored := range map[string]bool{"calendar": false, "anchored": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := setup(t).ledgerOf(t, "free")
			l.use(t, 45)
			granted := 0
			for range 5 {
				l.at = l.at.Add(time.Minute)
				anchor := &l.at
				if !anchored {
					anchor = nil
				}
				l.plan(t, "pay_as_you_go", anchor)
				l.at = l.at.Add(time.Minute)
				l.plan(t, "free", nil)
				a, err := l.CreditAccount(t.Context(), l.org, l.at)
				if err != nil {
					t.Fatal(err)
				}
				granted += int(a.Granted)
				if a.Granted > 0 {
					l.use(t, int(a.Granted))
				}
			}
			if granted != 5 {
				t.Errorf("%d more credits were granted, want the 5 that were left", granted)
			}
			l.wantNoFaults(t)
		})
	}
}

// A smaller plan takes nothing that was bought.
func TestChangePlan_LeavesWhatWasBought(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "hobby")
	l.change(t, store.CreditPurchase, 100)
	l.use(t, 490)
	l.plan(t, "free", nil)
	l.want(t, "free 590/0/490 (100)")
	l.plan(t, "pay_as_you_go", nil)
	l.want(t, "free 490/0/490 (0)", "pay_as_you_go 100/0/0 (100)")
}

// Bought credits that are used up are not bought again by what is granted afterwards:
// that goes with the period.
func TestChangePlan_GrantsNothingThatWasBought(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "hobby")
	l.change(t, store.CreditPurchase, 1000)
	l.use(t, 1400)
	l.plan(t, "pro", nil)
	l.want(t, "pro 2250/0/1400 (100)")
	l.turn(t)
	l.want(t, "pro 2150/0/1400 (0)", "pro 2100/0/0 (100)")
	entries, err := l.CreditEntries(t.Context(), store.CreditEntryFilter{OrgID: l.org, Kind: store.CreditAdjust, Page: store.Page{Limit: 9}})
	if err != nil || len(entries) != 2 || entries[1].Granted != 0 || entries[1].Bought != -900 {
		t.Errorf("entries %+v, %v; want one of 900 bought ones that are used", entries, err)
	}
}

// What is under way keeps its period, and what of it is released follows if it was bought.
func TestChangePlan_NewPeriod(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	l.change(t, store.CreditPurchase, 30)
	g := l.reserve(t, 70)
	l.plan(t, "pro", &l.at)
	l.want(t, "free 70/70/0 (20)", "pro 2010/0/0 (10)")
	if _, _, err := l.CancelGeneration(t.Context(), l.project.ID, g.ID); err != nil {
		t.Fatal(err)
	}
	l.exec(t, `UPDATE credit_account SET ends_at = now() WHERE period < $1`, l.at)
	if n, err := l.CarryCredits(t.Context(), 10); err != nil || n != 1 {
		t.Errorf("carried for %d organizations, %v", n, err)
	}
	l.exec(t, `UPDATE credit_account SET ends_at = $1 WHERE period < $1`, l.at)
	l.want(t, "free 50/0/0 (0)", "pro 2030/0/0 (30)")
	if n, err := l.CarryCredits(t.Context(), 10); err != nil || n != 0 {
		t.Errorf("carried again for %d organizations, %v", n, err)
	}
	a, err := l.CreditAccount(t.Context(), l.org, l.at)
	if err != nil || !a.EndsAt.Equal(l.at.AddDate(0, 1, 0)) {
		t.Errorf("the period ends at %v, %v", a, err)
	}
}

// However clocks differ, and changes meet in one instant, periods follow each other and
// the last change holds.
func TestChangePlan_ClocksBehind(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	l.plan(t, "pay_as_you_go", nil)
	l.plan(t, "free", nil) // in the same instant
	l.at = l.at.Add(-2 * time.Second)
	l.plan(t, "pay_as_you_go", nil)
	l.plan(t, "pro", &l.at)
	l.want(t, "free 50/0/0 (0)", "pay_as_you_go 0/0/0 (0)", "free 25/0/0 (0)", "pay_as_you_go 0/0/0 (0)", "pro 2000/0/0 (0)")
	// A process that is ahead has opened the next month.
	other := l.ledgerOf(t, "free")
	other.at = time.Date(2023, 7, 1, 0, 0, 1, 0, time.UTC)
	other.use(t, 50)
	other.at = other.at.Add(-2 * time.Second)
	other.plan(t, "hobby", nil)
	other.want(t, "free 50/0/0 (0)", "hobby 500/0/50 (0)")
	other.plan(t, "pay_as_you_go", nil)
	other.want(t, "free 50/0/0 (0)", "hobby 500/0/50 (0)", "pay_as_you_go 0/0/0 (0)")
}

// A subscription that has begun by a clock that is ahead is granted once, however fine
// the clock.
func TestChangePlan_AnchorAhead(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{time.Nanosecond, time.Second} {
		l := setup(t).ledgerOf(t, "free")
		anchor := l.at.Add(ahead)
		l.plan(t, "pro", &anchor)
		l.at = l.at.Add(time.Minute)
		l.use(t, 1)
		l.want(t, "free 50/0/0 (0)", "pro 2000/0/1 (0)")
	}
}

// Back on a plan on the last of a month that is longer than the one before, it has what
// is left of it since the day that the month before has none of.
func TestChangePlan_BackAtTheEndOfAMonth(t *testing.T) {
	t.Parallel()
	b := setup(t)
	l := &ledger{bundle: b, org: b.org(t, "free"), at: time.Date(2023, 3, 1, 0, 0, 0, 0, time.UTC)}
	l.use(t, 50)
	l.at = time.Date(2023, 3, 2, 0, 0, 0, 0, time.UTC)
	l.plan(t, "hobby", &l.at)
	l.at = time.Date(2023, 3, 31, 12, 0, 0, 0, time.UTC)
	l.plan(t, "free", &l.at)
	l.wantAvailable(t, 0)
}

// A submission of a clock that is behind is held to what goes on with the account that
// a change of plan has ended, whichever that lets in more.
func TestSubmitGenerations_BehindAChangeOfPlan(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "unlimited")
	changed := l.at.Add(time.Minute)
	behind := changed.Add(-time.Millisecond)
	l.at = changed
	l.plan(t, "free", nil)
	l.at = behind
	if g := l.ask(t, 26); g.Refusal == nil || g.Refusal.Why != store.RefusedCredits || g.Refusal.Plan != "free" {
		t.Errorf("more than the plan has: %+v", g.Refusal)
	}
	g := l.reserve(t, 25)
	if !g.CreditPeriod.Equal(changed) {
		t.Errorf("it is of the period from %s, want %s", g.CreditPeriod, changed)
	}
	l.change(t, store.CreditGrant, 7)
	l.want(t, "unlimited 0/0/0 (0)", "free 32/25/0 (0)")
	l.at = changed
	l.plan(t, "unlimited", nil)
	l.at = behind
	l.reserve(t, 1000)
	l.want(t, "unlimited 0/0/0 (0)", "free 25/25/0 (0)", "unlimited 7/1000/0 (0)")
}

func TestChangePlan_Days(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	l.at = l.at.Add(8 * time.Hour)
	l.plan(t, "free_daily", nil)
	l.want(t, "free 50/0/0 (0)", "free_daily 2/0/0 (0)")
	l.at = l.at.Add(16 * time.Hour)
	l.use(t, 3)
	l.want(t, "free 50/0/0 (0)", "free_daily 2/0/0 (0)", "free_daily 3/0/3 (0)")
}

func TestChangeCredits(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	change := func(kind string, amount int, subject string) (bool, error) {
		c := store.CreditChange{OrgID: l.org, Kind: kind, Amount: amount, Subject: subject, Bought: kind != store.CreditGrant}
		_, changed, err := l.ChangeCredits(t.Context(), c, l.at)
		return changed, err
	}
	for range 2 {
		if _, err := change(store.CreditPurchase, 100, "in_1"); err != nil {
			t.Fatal(err)
		}
	}
	if changed, err := change(store.CreditRefund, -101, "re_1"); changed || !errors.Is(err, store.ErrTooFewCredits) {
		t.Errorf("a refund of more than was bought: %t, %v", changed, err)
	}
	if changed, err := change(store.CreditRefund, -100, "re_1"); !changed || err != nil {
		t.Errorf("a refund: %t, %v", changed, err)
	}
	for _, amount := range []int{math.MaxInt, math.MinInt, math.MaxInt32 + 1} {
		if _, err := change(store.CreditGrant, amount, ""); err == nil {
			t.Errorf("%d credits were granted", amount)
		}
	}
	if _, err := change(store.CreditGrant, -51, ""); !errors.Is(err, store.ErrTooFewCredits) {
		t.Errorf("more was taken than there is: %v", err)
	}
	l.want(t, "free 50/0/0 (0)")
	for range 3 {
		if _, err := change(store.CreditGrant, math.MaxInt32, ""); err != nil {
			t.Fatal(err)
		}
	}
	l.want(t, fmt.Sprintf("free %d/0/0 (0)", 50+3*math.MaxInt32))
	for _, available := range []int{7, math.MaxInt32, 0} {
		if a, err := l.SetCredits(t.Context(), l.org, available, "test", "", l.at); err != nil || a.Available() != int64(available) {
			t.Errorf("set %d: %+v, %v", available, a, err)
		}
	}
	if _, err := l.SetCredits(t.Context(), l.org, math.MaxInt, "", "", l.at); err == nil {
		t.Error("any number can be set")
	}
	for range 2 {
		if _, err := change(store.CreditPurchase, 500, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.SetCredits(t.Context(), l.org, 999, "", "", l.at); !errors.Is(err, store.ErrBoughtCredits) {
		t.Errorf("bought credits were set away: %v", err)
	}
	if _, err := change(store.CreditGrant, -1, ""); !errors.Is(err, store.ErrBoughtCredits) {
		t.Errorf("bought credits were taken as a gift: %v", err)
	}
	if _, err := l.SetCredits(t.Context(), l.org, 1010, "", "", l.at); err != nil {
		t.Error(err)
	}
	if _, err := change(store.CreditGrant, -10, ""); err != nil {
		t.Errorf("of a gift: %v", err)
	}
	if a, _, err := l.ChangeCredits(t.Context(), store.CreditChange{OrgID: l.org, Kind: store.CreditGrant, Amount: -990, Bought: true}, l.at); err != nil || a.Bought != 10 || a.Available() != 10 {
		t.Errorf("by name: %+v, %v", a, err)
	}
	if a, err := l.OpenPeriod(t.Context(), l.org, l.at.AddDate(0, 1, 0)); err != nil || a.Bought != 10 {
		t.Errorf("the next period: %+v, %v", a, err)
	}
	l.wantNoFaults(t)
	if _, err := l.SetCredits(t.Context(), l.org, -1, "", "", l.at); !errors.Is(err, store.ErrTooFewCredits) {
		t.Errorf("fewer than none: %v", err)
	}
}
