package api_test

import (
	"strconv"
	"testing"
	"time"

	stripesim "github.com/nanobanana/nanobanana/billing/simulator"
	"github.com/nanobanana/nanobanana/jobs"
)

// due is what the latest invoices ask for in cents, the newest first.
func (s *shop) due() []string {
	s.Helper()
	return s.strings(`SELECT amount_due::text FROM invoice ORDER BY created_at DESC LIMIT 2`)
}

// What was used while Stripe was away over the end of its period is on the next invoice.
func TestBilling_MeteredOverTurn(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(*shop){
		"Down": func(s *shop) { s.sim.SetDown(true) },
		// Taken for the first period, and told again in the next.
		"Lost": func(s *shop) { s.nextPeriod(-10 * time.Minute); s.sim.LoseAnswers(100) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setupShop(t, stripesim.Disorder{})
			s.subscribe("pay_as_you_go")
			s.use()
			s.use()
			away(s)
			s.use()
			s.advance(6 * time.Minute) // the worker may have reported by itself
			s.report()
			if unsent := s.strings(`SELECT identifier FROM usage_report WHERE sent_at IS NULL`); len(unsent) == 0 {
				t.Fatal("no report waits")
			}
			s.sim.SetDown(false)
			s.sim.LoseAnswers(0)
			s.nextPeriod(2 * time.Hour)
			s.report()
			s.report()
			s.settled()
			first := s.due()[0]
			s.nextPeriod(2 * time.Hour)
			s.settled()
			// The worker reports by itself, too: some may have been told of before.
			var cents int
			for _, due := range []string{first, s.due()[0]} {
				n, err := strconv.Atoi(due)
				s.must(err)
				cents += n
			}
			if cents != 6 {
				t.Errorf("billed %d cents in all, want 6", cents)
			}
			if sent := s.strings(`SELECT sum(credits)::text FROM usage_report WHERE sent_at IS NOT NULL`); sent[0] != "3" {
				t.Errorf("%v credits are reported", sent)
			}
			s.sound()
		})
	}
}

// Whatever the number of reports, and whatever is the matter with some, the others are
// sent at once.
func TestBilling_ReportsOfMany(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	s.subscribe("pay_as_you_go")
	s.exec(`INSERT INTO org (id, name, plan) SELECT 'org_m' || i, 'm', 'pay_as_you_go' FROM generate_series(1, 300) AS i`)
	// Stripe has no such customers.
	s.exec(`INSERT INTO subscription (org_id, customer, subscription, plan, status, period_end, fetched_at)
		SELECT 'org_m' || i, 'cus_m' || i, 'sub_m' || i, 'pay_as_you_go', 'active', now() + interval '9 days', now()
		FROM generate_series(1, 300) AS i`)
	s.exec(`INSERT INTO credit_account (org_id, period, ends_at, plan, metered, credit_micros, used, subscription)
		SELECT 'org_m' || i, now() - interval '1 day', now() + interval '9 days', 'pay_as_you_go', true, 20000, 1, 'sub_m' || i FROM generate_series(1, 300) AS i`)
	// One report can not be written.
	s.exec(`INSERT INTO usage_report (identifier, org_id, period, customer, credits, at, sent_at)
		SELECT format('%s:%s:0-1', org_id, (extract(epoch FROM period) * 1000000)::bigint), org_id, period, 'cus_m1', 1, now(), now()
		FROM credit_account WHERE org_id = 'org_m1'`)
	s.use()
	s.advance(6 * time.Minute)
	s.run(jobs.ReportUsageArgs{})
	s.eventually("every report was tried", func() bool {
		got := s.strings(`SELECT format('%s sent, %s refused, %s not tried', count(sent_at) FILTER (WHERE org_id NOT LIKE 'org_m%'),
			count(*) FILTER (WHERE error IS NOT NULL), count(*) FILTER (WHERE sent_at IS NULL AND error IS NULL)) FROM usage_report`)
		return got[0] == "1 sent, 299 refused, 0 not tried"
	})
}

// What was billed is paid with the invoice alone: what is bought after it is there whole,
// and goes on whole.
func TestBilling_MeteredThenBought(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	s.subscribe("pay_as_you_go")
	s.use()
	s.use()
	s.report()
	s.must(s.sim.Pay(s.checkout("/v1/billing/credits", `{"credits":100}`)))
	s.settled()
	left := func(used, billed, available float64) {
		t.Helper()
		got := s.does(s.master, "GET", "/v1/billing/credits", "", 200).json
		if got["used"] != used || got["billed"] != billed || got["available"] != available {
			t.Errorf("%v, want %v used, %v billed, %v available", got, used, billed, available)
		}
	}
	left(2, 2, 100)
	s.use()
	left(3, 2, 99)
	s.nextPeriod(2 * time.Hour)
	s.report()
	s.settled()
	left(0, 0, 99)
	if due := s.due()[0]; due != "4" {
		t.Errorf("the period is billed with %s cents, want 4", due)
	}
	s.sound()
}
