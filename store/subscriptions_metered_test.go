package store_test

import (
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

func (p *payer) put(plan string, at time.Time) {
	p.Helper()
	_, err := p.db.ChangePlan(p.Context(), store.PlanChange{OrgID: p.org, Plan: plan}, at)
	p.must(err)
}

// A subscription pays for what is used of its plan while it lasts: not for what an
// operator let an organization use before it, or of another plan beside it.
func TestReportUse_OfTheSubscription(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		use  func(p *payer, at func(hours int) time.Time)
		want int64
	}{
		"Before": {func(p *payer, at func(int) time.Time) {
			p.put("pay_as_you_go", at(-24))
			p.meter(100, at(-1))
			p.report(at(-1))
			p.apply(p.fetched(1, "pay_as_you_go", "active"), at(0))
			p.meter(7, at(1))
		}, 7},
		"BesideAnother": {func(p *payer, at func(int) time.Time) {
			p.apply(p.fetched(1, "hobby", "active"), at(0))
			p.put("pay_as_you_go", at(1))
			p.meter(100, at(2))
		}, 0},
		"FreeMeanwhile": {func(p *payer, at func(int) time.Time) {
			p.apply(p.fetched(1, "pay_as_you_go", "active"), at(0))
			p.meter(3, at(1))
			p.put("unlimited", at(2))
			p.meter(100, at(3))
			p.put("pay_as_you_go", at(4))
			p.meter(4, at(5))
		}, 7},
		"NextPeriods": {func(p *payer, at func(int) time.Time) {
			p.apply(p.fetched(1, "pay_as_you_go", "active"), at(0))
			for n := range 3 {
				_, err := p.db.OpenPeriod(p.Context(), p.org, at(32*24*n))
				p.must(err)
				p.meter(5, at(32*24*n))
				p.report(at(32 * 24 * n))
			}
		}, 15},
		"NextPlan": {func(p *payer, at func(int) time.Time) {
			p.apply(p.fetched(1, "hobby", "active"), at(0))
			p.apply(p.fetched(2, "pay_as_you_go", "active"), at(1))
			_, err := p.db.OpenPeriod(p.Context(), p.org, at(32*24))
			p.must(err)
			p.meter(5, at(32*24))
			p.report(at(32 * 24))
		}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPayer(t)
			at := func(hours int) time.Time { return p.now.Add(time.Duration(hours) * time.Hour) }
			c.use(p, at)
			p.report(at(6))
			unsent, err := p.db.UnsentReports(t.Context(), 100)
			p.must(err)
			var got int64
			for _, r := range unsent {
				got += r.Credits
			}
			if got != c.want {
				t.Errorf("%d credits are billed, want %d", got, c.want)
			}
		})
	}
}

// While a subscription is not paid, its plan lets nothing in, whichever plans an operator
// has put the organization on between.
func TestChangePlan_StaysHeld(t *testing.T) {
	t.Parallel()
	p := newPayer(t)
	p.apply(p.fetched(1, "pay_as_you_go", "active"), p.now)
	p.apply(p.fetched(2, "pay_as_you_go", "past_due"), p.now.Add(time.Minute))
	held := func(why string, want bool, minutes int) {
		t.Helper()
		a, err := p.db.OpenPeriod(t.Context(), p.org, p.now.Add(time.Duration(minutes)*time.Minute))
		p.must(err)
		if a.Held != want || a.Unbounded() == want {
			t.Errorf("%s: held %v, want %v", why, a.Held, want)
		}
	}
	held("past due", true, 2)
	for n, plan := range []string{"unlimited", "pay_as_you_go", "hobby", "pay_as_you_go"} {
		p.put(plan, p.now.Add(time.Duration(3+n)*time.Minute))
		if plan == "hobby" {
			continue
		}
		held("on "+plan, plan == "pay_as_you_go", 3+n)
	}
	p.apply(p.fetched(3, "pay_as_you_go", "active"), p.now.Add(9*time.Minute))
	held("paid", false, 10)
}
