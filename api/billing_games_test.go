package api_test

import (
	"strconv"
	"testing"
	"time"

	stripesim "github.com/nanobanana/nanobanana/billing/simulator"
)

// change asks for another subscription, and waits until all is told of it.
func (s *shop) change(body string) {
	s.Helper()
	s.does(s.master, "POST", "/v1/billing/subscription", body, 200)
	s.settled()
}

// burn uses what is granted, instead of as many pictures; rest takes it back, for the
// sake of the books.
func (s *shop) burn() (rest func()) {
	s.Helper()
	a := s.credits()
	s.exec(`UPDATE credit_account SET used = granted WHERE org_id = $1 AND period = $2`, s.org, a.Period)
	return func() {
		s.exec(`UPDATE credit_account SET used = $3 WHERE org_id = $1 AND period = $2`, s.org, a.Period, a.Used)
	}
}

// billed is the sum of what invoices ask for, in cents.
func (s *shop) billed() (cents int) {
	s.Helper()
	for _, due := range s.strings(`SELECT amount_due::text FROM invoice`) {
		n, err := strconv.Atoi(due)
		s.must(err)
		cents += n
	}
	return cents
}

// Whoever goes up, uses all, and goes down again has paid for what was used.
func TestBilling_UpAndDown(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{Duplicate: true, Reverse: true})
	s.subscribe("hobby")
	for i := range 3 {
		s.change(`{"plan":"pro"}`)
		up, billed := s.credits(), s.billed()
		if up.Granted < 1990 || up.Granted > 2000 || billed < 2880*(i+1) || billed > 2900*(i+1) {
			t.Errorf("period %d: %d are granted, and %d cents are billed", i, up.Granted, billed)
		}
		rest := s.burn()
		s.change(`{"plan":"hobby"}`)
		s.has("it is paid for until the period ends", "pro", "active", up.Granted, up.Granted, 0)
		if sub := s.does(s.master, "GET", "/v1/billing/subscription", "", 200); sub.text("next_plan") != "hobby" {
			t.Errorf("%s", sub.body)
		}
		s.change(`{"plan":"pro"}`)
		s.change(`{"plan":"hobby"}`)
		s.has("to and fro", "pro", "active", up.Granted, up.Granted, 0)
		if got := s.billed(); got != billed {
			t.Errorf("period %d: %d cents are billed, want %d", i, got, billed)
		}
		rest()
		s.nextPeriod(time.Minute)
		s.has("the next period, before Stripe tells of it", "hobby", "active", 500, 0, 0)
		s.advance(2 * time.Hour)
		s.settled()
		s.has("and afterwards", "hobby", "active", 500, 0, 0)
	}
	s.sound()
}

// What a dearer plan was paid for does not pay for later use.
func TestBilling_DownToMetered(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	s.subscribe("pro")
	rest := s.burn()
	s.change(`{"plan":"pay_as_you_go"}`)
	s.has("until the period ends", "pro", "active", 2000, 2000, 0)
	s.refuses("nothing is metered yet", s.live, "POST", "/v1/generations", `{"prompt":"a banana"}`, 402, "quota_exceeded")
	rest()
	s.nextPeriod(2 * time.Hour)
	s.settled()
	s.has("metered", "pay_as_you_go", "active", 0, 0, 0)
	for range 3 {
		s.use()
	}
	s.report()
	s.refuses("what is metered is left at its end", s.master, "POST", "/v1/billing/subscription", `{"plan":"pro"}`, 409, "billing_refused")
	s.nextPeriod(2 * time.Hour)
	s.settled()
	if got := s.billed(); got != 2906 {
		t.Errorf("%d cents are billed for a month of Pro and 3 credits", got)
	}
	s.sound()
}

// A larger plan that is not paid for is not there; nor can the plan be changed while an
// invoice is open, or at the turn of the period.
func TestBilling_UpUnpaid(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	s.subscribe("hobby")
	s.sim.SetCard(s.customer(), false)
	s.refuses("declined", s.master, "POST", "/v1/billing/subscription", `{"plan":"pro"}`, 402, "payment_declined")
	s.settled()
	s.has("nothing comes of it", "hobby", "active", 500, 0, 0)
	s.advance(s.untilNext() - 4*time.Minute)
	s.refuses("at the turn", s.master, "POST", "/v1/billing/subscription", `{"plan":"pro"}`, 409, "billing_refused")
	s.advance(3 * time.Hour)
	s.settled()
	s.has("not paid", "hobby", "past_due", 0, 0, 0)
	s.refuses("not paid", s.master, "POST", "/v1/billing/subscription", `{"plan":"pro"}`, 409, "billing_refused")
	s.sound()
}

// A key changes something once, whatever has come between; and the answer to it is what
// is so now.
func TestBilling_ChangeReplayed(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	s.subscribe("hobby")
	post := func(key, body string) {
		t.Helper()
		s.does(s.master, "POST", "/v1/billing/subscription", body, 200, "Idempotency-Key: "+key)
		s.settled()
	}
	post("K", `{"plan":"pro"}`)
	post("K", `{"plan":"pro"}`)
	post("L", `{"plan":"hobby"}`)
	post("K", `{"plan":"pro"}`)
	s.exec(`DELETE FROM idempotency_key WHERE key = 'L'`) // the process was killed after Stripe's answer
	post("L", `{"plan":"hobby"}`)
	sub, err := s.db.Subscription(t.Context(), s.org)
	s.must(err)
	is, err := s.client.Subscription(t.Context(), *sub.Subscription)
	s.must(err)
	if *sub.Plan != "pro" || *sub.NextPlan != "hobby" || is.Plan != "hobby" {
		t.Errorf("%s, then %s; at Stripe %s", *sub.Plan, *sub.NextPlan, is.Plan)
	}
	if a := s.do(s.master, "POST", "/v1/billing/subscription", `{"plan":"hobby"}`, "Idempotency-Key: K"); a.code() != "idempotency_key_reused" {
		t.Errorf("the key for something else: %s", a.body)
	}
	if got := s.billed(); got != 2900 {
		t.Errorf("%d cents are billed", got)
	}
	s.sound()
}
