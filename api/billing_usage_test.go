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
		"Lost": func(s *shop) { s.nextPeriod(-time.Minute); s.sim.LoseAnswers(100) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setupShop(t, stripesim.Disorder{})
			s.subscribe("pay_as_you_go")
			s.use()
			s.use()
			away(s)
			s.use()
			s.run(jobs.ReportUsageArgs{})
			if unsent := s.strings(`SELECT identifier FROM usage_report WHERE sent_at IS NULL`); len(unsent) == 0 {
				t.Fatal("no report waits")
			}
			s.sim.SetDown(false)
			s.sim.LoseAnswers(0)
			s.nextPeriod(2 * time.Hour)
			s.run(jobs.ReportUsageArgs{})
			s.run(jobs.ReportUsageArgs{})
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

// What was billed is paid with the invoice alone: what is bought after it is there whole,
// and goes on whole.
func TestBilling_MeteredThenBought(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	s.subscribe("pay_as_you_go")
	s.use()
	s.use()
	s.run(jobs.ReportUsageArgs{})
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
	s.run(jobs.ReportUsageArgs{})
	s.settled()
	left(0, 0, 99)
	if due := s.due()[0]; due != "4" {
		t.Errorf("the period is billed with %s cents, want 4", due)
	}
	s.sound()
}
