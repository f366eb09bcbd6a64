package store_test

import (
	"testing"
	"time"
)

// An operator's choice of a plan without limits for a while grants nothing of a period
// that is not paid: the payment does, once.
func TestChangePlan_StaysWithheld(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	apply := l.applies(t)
	apply("hobby", "active", l.at)
	l.at = l.at.AddDate(0, 1, 0)
	start := l.at
	apply("hobby", "past_due", start)
	before := []string{"free 50/0/0 (0)", "hobby 500/0/0 (0)", "hobby 0/0/0 (0)", "unlimited 0/0/0 (0)"}
	for _, plan := range []string{"unlimited", "hobby"} {
		l.at = l.at.Add(time.Hour)
		l.plan(t, plan, nil)
	}
	l.want(t, append(before, "hobby 0/0/0 (0)")...)
	for range 2 {
		l.at = l.at.Add(time.Hour)
		apply("hobby", "active", start)
		l.want(t, append(before, "hobby 500/0/0 (0)")...)
	}
}

// A period that is paid is not withheld as a later payment fails: what is left of the plan
// is there again.
func TestChangePlan_LeavesWhatIsPaid(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	apply := l.applies(t)
	start := l.at
	apply("hobby", "active", start)
	l.use(t, 400)
	apply("hobby", "past_due", start)
	for _, plan := range []string{"unlimited", "hobby"} {
		l.at = l.at.Add(time.Minute)
		l.plan(t, plan, nil)
	}
	l.want(t, "free 50/0/0 (0)", "hobby 500/0/400 (0)", "unlimited 0/0/0 (0)", "hobby 100/0/0 (0)")
}
