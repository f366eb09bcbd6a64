package api_test

import (
	"testing"
	"time"

	stripesim "github.com/nanobanana/nanobanana/billing/simulator"
	"github.com/nanobanana/nanobanana/jobs"
)

// disorders are how Stripe's events may come.
var disorders = map[string]stripesim.Disorder{
	"InOrder": {}, "Twice": {Duplicate: true}, "Reversed": {Reverse: true}, "TwiceReversed": {Duplicate: true, Reverse: true},
}

// However events come, the plan and the credits are the same: subscribed, upgraded,
// renewed, ended.
func TestBilling_Subscription(t *testing.T) {
	t.Parallel()
	for name, disorder := range disorders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setupShop(t, disorder)
			s.has("at first", "free", "none", 50, 0, 0)
			s.use()
			s.subscribe("hobby")
			s.has("subscribed", "hobby", "active", 500, 0, 0)
			s.use()
			s.does(s.master, "POST", "/v1/billing/subscription", `{"plan":"pro"}`, 200)
			s.settled()
			s.has("upgraded at once", "pro", "active", 2000, 1, 0)

			s.advance(15 * 24 * time.Hour)
			s.does(s.master, "POST", "/v1/billing/subscription", `{"plan":"hobby"}`, 200)
			s.settled()
			s.has("downgraded in the middle of a period", "pro", "active", 2000, 1, 0)
			s.nextPeriod(time.Minute)
			s.has("a period later, before its invoice is paid", "hobby", "active", 500, 0, 0)
			s.advance(2 * time.Hour)
			s.settled()
			s.has("once it is", "hobby", "active", 500, 0, 0)

			s.does(s.master, "POST", "/v1/billing/subscription", `{"cancel_at_period_end":true}`, 200)
			s.settled()
			s.has("while it still runs", "hobby", "active", 500, 0, 0)
			s.nextPeriod(time.Minute)
			s.settled()
			s.has("ended", "free", "canceled", 50, 0, 0)
			s.refuses("nothing to change", s.master, "POST", "/v1/billing/subscription", `{"plan":"pro"}`, 409, "no_subscription")
			s.subscribe("pro")
			s.has("subscribed anew", "pro", "active", 2000, 0, 0)
			if paid := s.does(s.master, "GET", "/v1/billing/invoices", "", 200); len(paid.ids("id")) < 3 {
				t.Errorf("invoices %s", paid.body)
			}
			s.sound()
		})
	}
}

// What was granted before a payment failed stays, and is not granted again when it is
// paid.
func TestBilling_PaymentFails(t *testing.T) {
	t.Parallel()
	for name, disorder := range disorders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setupShop(t, disorder)
			s.subscribe("hobby")
			s.sim.SetCard(s.customer(), false)
			s.nextPeriod(time.Minute)
			s.use()
			s.advance(2 * time.Hour)
			s.settled()
			s.has("failed", "hobby", "past_due", 500, 1, 0)
			s.use()
			s.sim.SetCard(s.customer(), true)
			s.must(s.sim.PayInvoice(s.openInvoice()))
			s.settled()
			s.has("paid", "hobby", "active", 500, 2, 0)
			s.sound()
		})
	}
}

// openInvoice is the id of one that is not paid.
func (s *shop) openInvoice() string {
	s.Helper()
	open := s.strings(`SELECT id FROM invoice WHERE status = 'open'`)
	if len(open) != 1 {
		s.Fatalf("open invoices %v", open)
	}
	return open[0]
}

// A period that begins unpaid has nothing, until it is paid: of a metered plan, too.
func TestBilling_Withheld(t *testing.T) {
	t.Parallel()
	for plan, granted := range map[string]int64{"hobby": 500, "pay_as_you_go": 0} {
		t.Run(plan, func(t *testing.T) {
			t.Parallel()
			s := setupShop(t, stripesim.Disorder{Duplicate: true, Reverse: true})
			s.subscribe(plan)
			s.use()
			s.report()
			s.sim.SetCard(s.customer(), false)
			s.nextPeriod(2 * time.Hour)
			s.settled()
			s.has("unpaid", plan, "past_due", 0, 0, 0)
			s.refuses("nothing is there", s.live, "POST", "/v1/generations", `{"prompt":"a banana"}`, 402, "payment_required")
			s.sim.SetCard(s.customer(), true)
			s.must(s.sim.PayInvoice(s.openInvoice()))
			s.settled()
			s.has("paid", plan, "active", granted, 0, 0)
			s.use()
			s.has("and used", plan, "active", granted, 1, 0)
			s.sound()
		})
	}
}

// One whose payments all fail ends on the first plan.
func TestBilling_NeverPaid(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	s.subscribe("pro")
	s.sim.SetCard(s.customer(), false)
	s.nextPeriod(28 * 24 * time.Hour)
	s.settled()
	sub := s.does(s.master, "GET", "/v1/billing/subscription", "", 200)
	if sub.text("plan") != "free" || sub.text("status") != "canceled" {
		t.Errorf("%s", sub.body)
	}
	s.sound()
}

// Credits are bought once and given back once, as far as they are unused.
func TestBilling_Credits(t *testing.T) {
	t.Parallel()
	for name, disorder := range disorders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setupShop(t, disorder)
			operator := s.person("operator@example.com", "")
			s.exec(`UPDATE account SET operator = true WHERE id = $1`, operator.id)
			page := s.checkout("/v1/billing/credits", `{"credits":100}`)
			s.must(s.sim.Decline(page))
			s.settled()
			s.has("declined", "free", "none", 50, 0, 0)
			s.must(s.sim.Pay(page))
			s.settled()
			s.has("bought", "free", "none", 150, 0, 100)
			s.exec(`UPDATE credit_account SET used = used + 120 WHERE org_id = $1`, s.org) // instead of 120 pictures
			invoice := s.does(s.master, "GET", "/v1/billing/invoices", "", 200).text("first_id")
			half := s.does(operator.token, "POST", "/v1/admin/refunds", `{"invoice_id":"`+invoice+`","amount":50,"reason":"not needed"}`, 201, "Idempotency-Key: half")
			if half.json["credits_taken"] != 25.0 || half.json["credits_kept"] != 0.0 {
				t.Errorf("a quarter given back: %s", half.body)
			}
			rest := s.does(operator.token, "POST", "/v1/admin/refunds", `{"invoice_id":"`+invoice+`","reason":"not needed"}`, 201, "Idempotency-Key: rest")
			if rest.json["amount"] != 150.0 || rest.json["credits_taken"] != 5.0 || rest.json["credits_kept"] != 70.0 {
				t.Errorf("the rest given back: %s", rest.body)
			}
			s.settled()
			s.has("given back", "free", "none", 120, 120, 70)
			s.refuses("nothing is left", operator.token, "POST", "/v1/admin/refunds", `{"invoice_id":"`+invoice+`","reason":"again"}`, 409, "billing_refused", "Idempotency-Key: again")
			if i := s.does(s.master, "GET", "/v1/billing/invoices/"+invoice, "", 200); i.json["refunded"] != 200.0 || i.json["amount_paid"] != 200.0 {
				t.Errorf("%s", i.body)
			}
			s.exec(`UPDATE credit_account SET used = used - 120 WHERE org_id = $1`, s.org)
			s.sound()
		})
	}
}

// Use is reported once, wherever the process that reports it ends, and Stripe bills it.
func TestBilling_Metered(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{Duplicate: true})
	s.subscribe("pay_as_you_go")
	s.has("subscribed", "pay_as_you_go", "active", 0, 0, 0)
	for range 3 {
		s.use()
	}
	s.sim.SetDown(true)
	s.report()
	s.use() // goes on
	s.sim.SetDown(false)
	s.advance(6 * time.Minute) // until the next report is due
	s.sim.LoseAnswers(1)       // it is taken, and nobody knows
	s.report()
	s.report()
	s.report()
	if sent := s.strings(`SELECT sum(credits)::text FROM usage_report WHERE sent_at IS NOT NULL`); sent[0] != "4" {
		t.Errorf("%v credits are reported", sent)
	}
	s.refuses("what is used would not be billed", s.master, "POST", "/v1/billing/subscription", `{"plan":"pro"}`, 409, "billing_refused")
	s.nextPeriod(2 * time.Hour)
	s.settled()
	if due := s.strings(`SELECT amount_due::text FROM invoice ORDER BY created_at DESC LIMIT 1`); due[0] != "8" {
		t.Errorf("%v cents are billed for 4 credits", due)
	}
	s.sound()
}

// While Stripe is down work goes on, and nothing is lost of what it tells afterwards.
func TestBilling_StripeDown(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	s.subscribe("hobby")
	s.nextPeriod(2 * time.Hour)
	s.settled()
	s.sim.SetDown(true)
	s.use()
	next := s.untilNext() + time.Minute
	s.later.Add(int64(next))
	s.has("a period begins", "hobby", "active", 500, 0, 0)
	s.use()
	s.refuses("nothing can be bought", s.master, "POST", "/v1/billing/credits", `{"credits":100}`, 503, "billing_unavailable")
	s.sim.SetDown(false)
	s.sim.Advance(next + 2*time.Hour)
	s.settled()
	s.has("afterwards", "hobby", "active", 500, 1, 0)
	s.sound()
}

// Events that never come are made good.
func TestBilling_EventsLost(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	s.subscribe("hobby")
	s.sim.SetWebhooks(stripesim.Disorder{Hold: true})
	s.does(s.master, "POST", "/v1/billing/subscription", `{"cancel_at_period_end":true}`, 200)
	s.nextPeriod(2 * time.Hour)
	s.has("it was to end", "hobby", "active", 0, 0, 0)
	s.run(jobs.SyncBillingArgs{})
	s.has("it has", "free", "canceled", 50, 0, 0)
	s.sim.SetWebhooks(stripesim.Disorder{})
	s.sim.Release()
	s.settled()
	s.has("told late", "free", "canceled", 50, 0, 0)
	s.sound()
}

// What was paid for on a page is there though Stripe tells of it in vain, and pages are
// asked for until a day after they have expired.
func TestBilling_CheckoutsLost(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{Hold: true})
	later := func(d time.Duration) {
		s.advance(d)
		s.exec(`UPDATE checkout SET asked_at = asked_at - $1 * interval '1 second'`, d.Seconds())
		s.run(jobs.SyncBillingArgs{})
	}
	s.must(s.sim.Pay(s.checkout("/v1/billing/checkout", `{"plan":"pro"}`)))
	s.must(s.sim.Pay(s.checkout("/v1/billing/credits", `{"credits":100}`)))
	s.checkout("/v1/billing/credits", `{"credits":200}`)
	later(11 * time.Minute)
	s.has("paid, and told of in vain", "pro", "active", 2100, 0, 100)
	if i := s.does(s.master, "GET", "/v1/billing/invoices", "", 200); len(i.ids("id")) != 2 {
		t.Errorf("invoices %s", i.body)
	}
	for after, want := range []int{1, 1, 0} {
		later(20 * time.Hour)
		if left := s.strings(`SELECT id FROM checkout`); len(left) != want {
			t.Errorf("%d: pages %v, want %d", after, left, want)
		}
	}
	s.sim.SetWebhooks(stripesim.Disorder{})
	s.sim.Release()
	s.settled()
	s.has("told late", "pro", "active", 2100, 0, 100)
	s.sound()
}

// Ten at once are one customer.
func TestBilling_OneCustomer(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	done := make(chan int, 10)
	for range cap(done) {
		go func() {
			a, err := s.try(t.Context(), s.master, "POST", "/v1/billing/portal", `{}`)
			if err != nil {
				t.Error(err)
				done <- 0
				return
			}
			done <- a.status
		}()
	}
	for range cap(done) {
		if status := <-done; status != 201 {
			t.Errorf("status %d", status)
		}
	}
	made := map[string]bool{}
	for _, r := range s.sim.Journal() {
		if r.Method == "POST" && r.Path == "/v1/customers" && r.Status == 200 {
			made[r.IdempotencyKey] = true // another request with it has made none
		}
	}
	if n := len(s.strings(`SELECT customer FROM subscription`)); n != 1 || len(made) != 1 {
		t.Errorf("%d customers are known, %d are made", n, len(made))
	}
}
