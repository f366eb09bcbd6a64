package store_test

import (
	"testing"
	"time"
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
