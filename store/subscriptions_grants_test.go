package store_test

import (
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// What nothing is withheld of grants nothing when it is fetched again, as after an
// operator's choice of another plan for a while.
func TestApplySubscription_GrantsOnce(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	apply := l.applies(t)
	start := l.at
	apply("hobby", "active", start)
	l.at = l.at.Add(time.Minute)
	l.use(t, 500)
	for _, plan := range []string{"unlimited", "hobby"} {
		l.at = l.at.Add(time.Minute)
		l.plan(t, plan, nil)
	}
	apply("hobby", "active", start)
	l.want(t, "free 50/0/0 (0)", "hobby 500/0/500 (0)", "unlimited 0/0/0 (0)", "hobby 0/0/0 (0)")
}

// Nothing is owed of what was never granted: an operator's choice on an unpaid period is
// what the payment grants.
func TestApplySubscription_WithheldByThePlanOfThePeriod(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	apply := l.applies(t)
	apply("pro", "active", l.at)
	l.at = l.at.AddDate(0, 1, 0)
	start := l.at
	apply("pro", "past_due", start)
	if _, err := l.OpenPeriod(t.Context(), l.org, l.at); err != nil {
		t.Fatal(err)
	}
	l.at = l.at.Add(time.Hour)
	l.plan(t, "hobby", nil)
	l.want(t, "free 50/0/0 (0)", "pro 2000/0/0 (0)", "hobby 0/0/0 (0)")
	l.wantOwed(t, "0", "0", "0")
	l.at = l.at.Add(time.Hour)
	for range 2 {
		apply("pro", "active", start)
		l.want(t, "free 50/0/0 (0)", "pro 2000/0/0 (0)", "hobby 500/0/0 (0)")
	}
}

// One payment is one allowance and one budget, however often Stripe does not have the
// subscription for a while: it goes on with the rest.
func TestApplySubscription_LostAndFound(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"active", "past_due"} {
		t.Run("Found_"+status, func(t *testing.T) {
			t.Parallel()
			l := setup(t).ledgerOf(t, "free")
			if _, err := l.SetBudget(t.Context(), store.Budget{OrgID: l.org, Credits: 450, HardStop: true}, l.at); err != nil {
				t.Fatal(err)
			}
			apply := l.applies(t)
			start := l.at
			apply("hobby", "active", start)
			l.use(t, 400)
			for _, rest := range []string{"485", "470"} { // less the share of the days without
				l.at = l.at.Add(time.Hour)
				apply("", "canceled", start) // as it is when it is lost
				l.want(t, "free 50/0/0 (0)", "free 400/0/400 (0)")
				l.at = l.at.Add(24 * time.Hour)
				apply("hobby", status, start)
				apply("hobby", "active", start)
				l.want(t, "free 50/0/0 (0)", "hobby "+rest+"/0/400 (0)")
			}
			l.wantOwed(t, "0", "0")
			if got := l.present(t).Spendable(); got == nil || *got != 50 {
				t.Errorf("%v of the budget can be spent, want 50", got)
			}
		})
	}
}

// What is paid for a first time, though later than it began, or again for a next period,
// is granted whole.
func TestApplySubscription_PaidWhole(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	apply := l.applies(t)
	start := l.at
	apply("hobby", "incomplete", start)
	l.at = l.at.Add(time.Hour)
	apply("hobby", "active", start)
	l.want(t, "free 50/0/0 (0)", "hobby 500/0/0 (0)")
	l.use(t, 400)
	l.at = start.AddDate(0, 0, 29)
	apply("", "canceled", start)
	start = start.AddDate(0, 1, 0)
	l.at = start.Add(time.Hour)
	apply("hobby", "active", start)
	l.want(t, "free 50/0/0 (0)", "free 485/0/400 (0)", "free 50/0/0 (0)", "hobby 500/0/0 (0)")
}
