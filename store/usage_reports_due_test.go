package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// meter uses credits of the account that a time is in, beyond what is granted.
func (p *payer) meter(n int, at time.Time) {
	p.Helper()
	tag, err := p.db.Pool().Exec(p.Context(), `
		UPDATE credit_account SET used = used + $2
		WHERE org_id = $1 AND period <= $3 AND ends_at > $3`, p.org, n, at)
	p.must(err)
	if tag.RowsAffected() != 1 {
		p.Fatalf("%d accounts are of %v", tag.RowsAffected(), at)
	}
}

// report writes what is due, and returns how many credits that are.
func (p *payer) report(at time.Time) (credits int64) {
	p.Helper()
	due, err := p.db.DueUse(p.Context(), at, 10)
	p.must(err)
	for _, use := range due {
		r, err := p.db.ReportUse(p.Context(), *use, at)
		p.must(err)
		credits += r.Credits
	}
	return credits
}

// An account is reported every five minutes, and without waiting where something ends.
func TestDueUse(t *testing.T) {
	t.Parallel()
	const often = time.Minute
	for name, c := range map[string]struct {
		change string // of the organization and its subscription
		at     time.Duration
		want   int64
	}{
		"Waits":   {`SELECT`, often, 0},
		"Due":     {`SELECT`, 5 * time.Minute, 7},
		"Ends":    {`UPDATE subscription SET cancel_at_period_end = true, period_end = period_start + interval '4 minutes'`, often, 7},
		"GoesOn":  {`UPDATE subscription SET period_end = period_start + interval '4 minutes'`, often, 0},
		"Ended":   {`UPDATE subscription SET status = 'canceled'`, often, 7},
		"Deleted": {`UPDATE org SET deleted_at = now()`, often, 7},
		"Turn":    {`UPDATE credit_account SET ends_at = period + interval '4 minutes' WHERE metered`, often, 7},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPayer(t)
			p.apply(p.fetched(1, "pay_as_you_go", "active"), p.now)
			p.meter(3, p.now)
			if got := p.report(p.now); got != 3 {
				t.Fatalf("%d credits are reported of the first 3", got)
			}
			_, err := p.db.Pool().Exec(t.Context(), c.change)
			p.must(err)
			p.meter(7, p.now)
			if got := p.report(p.now.Add(c.at)); got != c.want {
				t.Errorf("%d credits are reported %v later, want %d", got, c.at, c.want)
			}
		})
	}
}

// Accounts that begin within one second have reports of their own.
func TestReportUse_WithinASecond(t *testing.T) {
	t.Parallel()
	p := newPayer(t)
	p.apply(p.fetched(1, "pay_as_you_go", "active"), p.now)
	p.meter(40, p.now)
	for n, plan := range []string{"hobby", "pay_as_you_go"} {
		_, err := p.db.ChangePlan(t.Context(), store.PlanChange{OrgID: p.org, Plan: plan}, p.now.Add(time.Duration(n+1)*100*time.Millisecond))
		p.must(err)
	}
	later := p.now.Add(time.Second)
	p.meter(40, later)
	if got := p.report(later); got != 80 {
		t.Errorf("%d credits are reported of 80", got)
	}
}

// What Stripe has refused, and was asked for last, is asked for last.
func TestUnsentReports_Order(t *testing.T) {
	t.Parallel()
	p := newPayer(t)
	p.apply(p.fetched(1, "pay_as_you_go", "active"), p.now)
	for n := range 3 {
		p.meter(1, p.now)
		p.report(p.now.Add(time.Duration(n) * time.Hour))
	}
	first := func() string {
		t.Helper()
		unsent, err := p.db.UnsentReports(t.Context(), 1)
		p.must(err)
		return unsent[0].Identifier
	}
	seen := map[string]int{}
	for range 6 {
		id := first()
		seen[id]++
		p.must(p.db.NoteUsageReport(t.Context(), id, "refused"))
	}
	for id, n := range seen {
		if n != 2 || len(seen) != 3 {
			t.Errorf("%s came %d times of %d reports", id, n, len(seen))
		}
	}
}

// A deleted organization's subscription ends once Stripe knows what was used, also where
// the reports of that are forgotten.
func TestSubscriptionsToCancel_ReportsForgotten(t *testing.T) {
	t.Parallel()
	p := newPayer(t)
	p.apply(p.fetched(1, "pay_as_you_go", "active"), p.now)
	p.meter(10, p.now)
	p.report(p.now)
	unsent, err := p.db.UnsentReports(t.Context(), 10)
	p.must(err)
	p.must(p.db.NoteUsageReport(t.Context(), unsent[0].Identifier, ""))
	_, err = p.db.Pool().Exec(t.Context(), `UPDATE usage_report SET sent_at = now() - interval '41 days'`)
	p.must(err)
	if n, err := p.db.ForgetUsageReports(t.Context(), time.Now().AddDate(0, 0, -40), 10); err != nil || n != 1 {
		t.Fatalf("%d are forgotten: %v", n, err)
	}
	_, err = p.db.Pool().Exec(t.Context(), `UPDATE org SET deleted_at = now() - interval '2 hours'`)
	p.must(err)
	due, err := p.db.SubscriptionsToCancel(t.Context(), time.Now(), 10)
	p.must(err)
	if len(due) != 1 {
		t.Errorf("%d are to be canceled", len(due))
	}
}

// Use is told of as of its period until the period's invoice may be closed, whenever the
// report was written; then as of now, for the next one. Repetitions keep that time.
func TestAimUsageReport(t *testing.T) {
	t.Parallel()
	p := newPayer(t)
	p.apply(p.fetched(1, "pay_as_you_go", "active"), p.now)
	account, err := p.db.OpenPeriod(t.Context(), p.org, p.now)
	p.must(err)
	for _, c := range []struct{ written, sent, again, want, wantAgain time.Duration }{
		{-time.Minute, -time.Second, 0, -time.Minute, -time.Minute},
		{-time.Hour, 29 * time.Minute, 30 * time.Minute, -time.Hour, -time.Hour},
		{-time.Hour, 29 * time.Minute, time.Hour, -time.Hour, time.Hour},
		{time.Minute, 2 * time.Minute, 3 * time.Minute, -time.Second, -time.Second},
		{-time.Hour, 2 * time.Hour, 3 * time.Hour, 2 * time.Hour, 2 * time.Hour},
		{time.Hour, 2 * time.Hour, 40 * 24 * time.Hour, 2 * time.Hour, 40 * 24 * time.Hour},
	} {
		_, err := p.db.Pool().Exec(t.Context(), `UPDATE credit_account SET used = used + 1 WHERE org_id = $1 AND period = $2`, p.org, account.Period)
		p.must(err)
		r, err := p.db.ReportUse(t.Context(), store.UnreportedUse{OrgID: p.org, Period: account.Period}, account.EndsAt.Add(c.written))
		p.must(err)
		for _, try := range [][2]time.Duration{{c.sent, c.want}, {c.again, c.wantAgain}} {
			at := account.EndsAt.Add(try[0])
			if at.After(account.EndsAt) {
				_, err := p.db.OpenPeriod(t.Context(), p.org, at)
				p.must(err)
			}
			r, err = p.db.AimUsageReport(t.Context(), r.Identifier, at)
			p.must(err)
			if got := r.ToldAt.Sub(account.EndsAt); got != try[1] || r.Credits != 1 || r.Customer != "cus_1" {
				t.Errorf("%+v: at %v as of %v, %+v", c, try[0], got, r)
			}
		}
		p.must(p.db.NoteUsageReport(t.Context(), r.Identifier, ""))
		if _, err := p.db.AimUsageReport(t.Context(), r.Identifier, p.now); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("once it is sent: %v", err)
		}
	}
	var kept []int
	for range 3 {
		n, err := p.db.ForgetUsageReports(t.Context(), time.Now().Add(time.Hour), 4)
		p.must(err)
		kept = append(kept, n)
	}
	if diff := cmp.Diff([]int{4, 2, 0}, kept); diff != "" {
		t.Errorf("forgotten (-want +got):\n%s", diff)
	}
	due, err := p.db.DueUse(t.Context(), p.now.Add(time.Hour), 10)
	if err != nil || len(due) > 0 {
		t.Errorf("what was reported and forgotten is due again: %+v, %v", due, err)
	}
}
