package api_test

import (
	"net/url"
	"testing"
	"time"

	stripesim "github.com/nanobanana/nanobanana/billing/simulator"
	"github.com/nanobanana/nanobanana/jobs"
)

// paid is the sum of what invoices were paid and not given back, in cents.
func (s *shop) paid() string {
	s.Helper()
	return s.strings(`SELECT coalesce(sum(amount_paid - refunded), 0)::text FROM invoice`)[0]
}

// Of pages for subscriptions the latest is open; of credits any number.
func TestBilling_OnePage(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	first, credits := s.checkout("/v1/billing/checkout", `{"plan":"pro"}`), s.checkout("/v1/billing/credits", `{"credits":100}`)
	second := s.checkout("/v1/billing/checkout", `{"plan":"hobby"}`)
	if err := s.sim.Pay(first); err == nil {
		t.Error("an older page can be paid")
	}
	s.must(s.sim.Pay(second))
	s.must(s.sim.Pay(credits))
	s.settled()
	s.has("paid", "hobby", "active", 600, 0, 100)
	s.sound()
}

// A second subscription, which two requests at the same time may lead to, is canceled,
// and what was paid for it is given back.
func TestBilling_TwoSubscriptions(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"Told": false, "ToldInVain": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setupShop(t, stripesim.Disorder{Duplicate: !lost})
			s.subscribe("pro")
			s.sim.SetWebhooks(stripesim.Disorder{Hold: lost, Duplicate: !lost})
			s.exec(`UPDATE subscription SET status = 'canceled'`) // as if it were not there yet
			page := s.checkout("/v1/billing/checkout", `{"plan":"pro"}`)
			s.exec(`UPDATE subscription SET status = 'active'`)
			s.must(s.sim.Pay(page))
			if lost {
				s.advance(25 * time.Hour)
				s.run(jobs.SyncBillingArgs{})
				s.sim.SetWebhooks(stripesim.Disorder{})
				s.sim.Release()
			}
			s.settled()
			s.has("one is left", "pro", "active", 2000, 0, 0)
			if got := s.paid(); got != "2900" {
				t.Errorf("%s cents are paid", got)
			}
			s.nextPeriod(2 * time.Hour)
			s.settled()
			if got := s.paid(); got != "5800" {
				t.Errorf("a period later %s cents are paid", got)
			}
			s.exec(`UPDATE org SET deleted_at = now() WHERE id = $1`, s.org)
			for range 2 { // the first may find it being changed, or just tried
				s.advance(10 * time.Minute)
				s.run(jobs.SyncBillingArgs{})
				s.settled()
			}
			s.advance(62 * 24 * time.Hour)
			s.settled()
			if got := s.paid(); got != "5800" {
				t.Errorf("after the organization was deleted %s cents are paid", got)
			}
			s.sound()
		})
	}
}

// What an organization has used is billed when it is deleted.
func TestBilling_DeletedMetered(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	s.subscribe("pay_as_you_go")
	for range 3 {
		s.use()
	}
	s.exec(`UPDATE org SET deleted_at = now() WHERE id = $1`, s.org)
	state := func(want string) {
		t.Helper()
		s.advance(10 * time.Minute)
		s.run(jobs.SyncBillingArgs{})
		if got := s.strings(`SELECT status FROM subscription`); got[0] != want {
			t.Errorf("it is %s, want %s", got[0], want)
		}
	}
	state("active") // until the last is reported
	s.report()
	state("active") // and Stripe has had the time to count it
	s.exec(`UPDATE usage_report SET sent_at = sent_at - interval '16 minutes'`)
	state("canceled")
	s.settled()
	if got := s.billed(); got != 6 {
		t.Errorf("%d cents are billed for 3 credits", got)
	}
}

// A subscription that Stripe does not have, though it has the customer, has ended, until
// it is found again; and the organization can subscribe anew, as another customer where
// that is gone.
func TestBilling_Gone(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	s.subscribe("hobby")
	other := s.askStripe("/v1/customers", url.Values{"name": {"Acme"}}) // who has no subscription
	own := s.customer()
	s.exec(`UPDATE subscription SET subscription = 'sub_hidden' || subscription, customer = $1`, other)
	fetch := func() {
		t.Helper()
		s.advance(25 * time.Hour)
		s.run(jobs.SyncBillingArgs{})
		s.settled()
	}
	fetch()
	if sub := s.does(s.master, "GET", "/v1/billing/subscription", "", 200); sub.text("plan") != "free" || sub.text("status") != "canceled" {
		t.Errorf("gone: %s", sub.body)
	}
	s.exec(`UPDATE subscription SET subscription = replace(subscription, 'sub_hidden', ''), customer = $1`, own)
	fetch()
	// The rest of what was paid: less the share of the day without, by the month's length.
	if sub := s.does(s.master, "GET", "/v1/billing/subscription", "", 200); sub.text("plan") != "hobby" || sub.text("status") != "active" {
		t.Errorf("found again: %s", sub.body)
	}
	if got := s.strings(`SELECT granted::text FROM credit_account WHERE plan = 'hobby' AND granted BETWEEN 480 AND 490`); len(got) != 1 {
		t.Errorf("found again: %v", s.strings(`SELECT plan || ' ' || granted FROM credit_account`))
	}
	s.exec(`UPDATE subscription SET customer = 'cus_gone', status = 'canceled'`)
	s.does(s.master, "POST", "/v1/billing/portal", `{}`, 201)
	s.subscribe("pro")
	s.has("subscribed anew", "pro", "active", 2000, 0, 0)
	s.sound()
}

// With the key of another account, or of the other mode, Stripe knows neither
// subscriptions nor customers: nothing changes, and what it tells waits for the right
// key.
func TestBilling_WrongKey(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	s.subscribe("pro")
	page := s.checkout("/v1/billing/credits", `{"credits":100}`)
	s.exec(`UPDATE checkout SET id = id || 'hidden', asked_at = now() - interval '1 hour'`)
	s.exec(`UPDATE subscription SET subscription = 'sub_hidden' || subscription, customer = 'cus_hidden' || customer`)
	s.advance(25 * time.Hour)
	s.run(jobs.SyncBillingArgs{})
	s.has("with the wrong key", "pro", "active", 2000, 0, 0)
	s.refuses("nor is there a page", s.master, "POST", "/v1/billing/portal", `{}`, 503, "billing_unavailable")
	s.exec(`INSERT INTO stripe_event (id, type, object_id, customer, created_at)
		SELECT 'evt_a', 'customer.subscription.updated', subscription, customer, now() FROM subscription
		UNION ALL SELECT 'evt_b', 'refund.created', 'ch_hidden', NULL, now()
		UNION ALL SELECT 'evt_c', 'invoice.paid', 'in_hidden', customer, now() FROM subscription`)
	for _, id := range []string{"evt_a", "evt_b", "evt_c"} {
		_, err := s.queue.Insert(t.Context(), jobs.HandleStripeEventArgs{EventID: id}, nil)
		s.must(err)
	}
	s.eventually("what Stripe tells waits", func() bool {
		return len(s.strings(`SELECT id FROM stripe_event WHERE handled_at IS NULL AND error LIKE '%another account%'`)) == 3
	})
	s.exec(`UPDATE stripe_event SET object_id = replace(object_id, 'sub_hidden', ''), customer = replace(customer, 'cus_hidden', '')`)
	s.exec(`UPDATE stripe_event SET handled_at = now() WHERE id <> 'evt_a'`)
	s.exec(`UPDATE subscription SET subscription = replace(subscription, 'sub_hidden', ''), customer = replace(customer, 'cus_hidden', '')`)
	if pages := s.strings(`SELECT id FROM checkout`); len(pages) != 1 || pages[0] != page+"hidden" {
		t.Errorf("pages %v are left", pages)
	}
	s.advance(25 * time.Hour)
	s.run(jobs.SyncBillingArgs{})
	s.settled()
	s.has("with the right key", "pro", "active", 2000, 0, 0)
	s.sound()
}

// Subscriptions that can not be fetched keep no other from it.
func TestBilling_NoneStarves(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	s.subscribe("hobby")
	s.exec(`INSERT INTO subscription (org_id, customer, subscription, plan, status, period_end, fetched_at)
		SELECT 'org_gone' || i, 'cus_gone' || i, 'sub_gone' || i, 'pro', 'active', now() - interval '3 days', now() - interval '3 days'
		FROM generate_series(1, 100) AS i`)
	s.advance(26 * time.Hour)
	before := s.strings(`SELECT fetched_at::text FROM subscription WHERE org_id = $1`, s.org)
	for range 2 {
		s.run(jobs.SyncBillingArgs{})
	}
	if after := s.strings(`SELECT fetched_at::text FROM subscription WHERE org_id = $1`, s.org); after[0] == before[0] {
		t.Errorf("it was fetched at %s, and not since", before[0])
	}
}

// What is metered and not paid goes no further; nor does whoever leaves it unpaid get
// another subscription.
func TestBilling_MeteredUnpaid(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{Duplicate: true})
	s.subscribe("pay_as_you_go")
	s.use()
	s.report()
	s.nextPeriod(time.Minute)
	s.use()
	s.sim.SetCard(s.customer(), false)
	s.advance(2 * time.Hour)
	s.settled()
	s.has("past due", "pay_as_you_go", "past_due", 0, 1, 0)
	s.refuses("while it is", s.live, "POST", "/v1/generations", `{"prompt":"a banana"}`, 402, "payment_required")
	s.sim.SetCard(s.customer(), true)
	s.must(s.sim.PayInvoice(s.openInvoice()))
	s.settled()
	s.use()
	s.has("paid", "pay_as_you_go", "active", 0, 2, 0)
	s.report()
	s.change(`{"cancel_at_period_end":true}`)
	s.sim.SetCard(s.customer(), false)
	s.nextPeriod(2 * time.Hour)
	s.settled()
	s.sim.SetCard(s.customer(), true)
	s.refuses("it left an invoice", s.master, "POST", "/v1/billing/checkout", `{"plan":"pay_as_you_go"}`, 409, "billing_refused")
	s.must(s.sim.PayInvoice(s.openInvoice()))
	s.subscribe("pay_as_you_go")
	if got := s.billed(); got != 6 {
		t.Errorf("%d cents are billed for 3 credits", got)
	}
	s.sound()
}
