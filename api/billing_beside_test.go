package api_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/billing"
	stripesim "github.com/nanobanana/nanobanana/billing/simulator"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// askStripe does something at Stripe that the service does not, and returns its id.
func (s *shop) askStripe(path string, form url.Values) string {
	s.Helper()
	r := httptest.NewRequestWithContext(s.Context(), http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Authorization", "Bearer "+stripesim.DefaultAPIKey)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Stripe-Version", s.sim.Journal()[0].Version)
	w := httptest.NewRecorder()
	s.sim.ServeHTTP(w, r)
	var made struct{ ID string }
	s.must(json.Unmarshal(w.Body.Bytes(), &made))
	if w.Code != 200 {
		s.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	return made.ID
}

// contract sells the customer something else than a plan, by the month.
func (s *shop) contract(customer string) {
	s.Helper()
	s.askStripe("/v1/products", url.Values{"id": {"support"}, "name": {"Support"}})
	price := s.askStripe("/v1/prices", url.Values{"currency": {"usd"}, "product": {"support"}, "unit_amount": {"50000"}, "recurring[interval]": {"month"}})
	s.must(s.sim.Pay(s.askStripe("/v1/checkout/sessions", url.Values{
		"mode": {"subscription"}, "customer": {customer}, "success_url": {"https://x.example/"}, "cancel_url": {"https://x.example/"},
		"line_items[0][price]": {price}, "line_items[0][quantity]": {"1"},
	})))
	s.settled()
}

// A subscription of the same customer that is for no plan is left alone, whichever of
// the two comes first.
func TestBilling_AnotherContract(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]bool{"Before": true, "After": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setupShop(t, stripesim.Disorder{Duplicate: true})
			want := "pro"
			if first {
				s.does(s.master, "POST", "/v1/billing/portal", `{}`, 201)
				s.contract(s.customer())
				if sub := s.does(s.master, "GET", "/v1/billing/subscription", "", 200); sub.text("plan") != "free" || sub.text("status") != "none" {
					t.Errorf("with nothing but the contract: %s", sub.body)
				}
				s.subscribe("pro")
			} else {
				s.subscribe("pro")
				s.contract(s.customer())
			}
			s.advance(25 * time.Hour)
			s.run(jobs.SyncBillingArgs{})
			s.settled()
			s.has("both", want, "active", 2000, 0, 0)
			if got := s.paid(); got != "52900" {
				t.Errorf("%s cents are paid", got)
			}
			ids, err := s.client.Subscriptions(t.Context(), s.customer())
			s.must(err)
			if len(ids) != 2 {
				t.Errorf("%v go on", ids)
			}
			s.sound()
		})
	}
}

// refusing is a Stripe that gives nothing back.
type refusing struct{ sim *stripesim.Simulator }

func (f refusing) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if r.Method == http.MethodPost && r.URL.Path == "/v1/refunds" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, err := io.WriteString(w, `{"error":{"type":"invalid_request_error","code":"balance_insufficient","message":"Insufficient funds in your Stripe balance to refund this amount."}}`)
		return w.Result(), err
	}
	f.sim.ServeHTTP(w, r)
	return w.Result(), nil
}

// A second subscription whose payment Stripe does not give back is canceled all the
// same: it charges no more, and the note says what is left to be done.
func TestBilling_TwoSubscriptionsNotGivenBack(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	s.subscribe("pro")
	s.sim.SetWebhooks(stripesim.Disorder{Hold: true})
	s.exec(`UPDATE subscription SET status = 'canceled'`) // as if it were not there yet
	page := s.checkout("/v1/billing/checkout", `{"plan":"pro"}`)
	s.exec(`UPDATE subscription SET status = 'active'`)
	s.must(s.sim.Pay(page))
	session, err := s.client.CheckoutSession(t.Context(), page)
	s.must(err)
	client := billing.New(billing.Options{APIKey: stripesim.DefaultAPIKey, URL: "http://stripe.test", HTTPClient: &http.Client{Transport: refusing{s.sim}}})
	note, err := jobs.SyncOnly(t.Context(), s.db, client, session.Subscription, time.Now())
	if err != nil || !strings.HasPrefix(note, jobs.NoteNotPaid) || !strings.Contains(note, "Insufficient funds") {
		t.Errorf("note %q, error %v", note, err)
	}
	sub, err := s.client.Subscription(t.Context(), session.Subscription)
	s.must(err)
	if !sub.Ended() {
		t.Errorf("the second subscription is %s", sub.Status)
	}
	if note, err := jobs.SyncOnly(t.Context(), s.db, client, session.Subscription, time.Now()); err != nil || !strings.HasPrefix(note, jobs.NoteNotPaid) {
		t.Errorf("again: note %q, error %v", note, err)
	}
	for range 2 {
		if note, err := jobs.SyncOnly(t.Context(), s.db, s.client, session.Subscription, time.Now()); err != nil || note != jobs.NoteDropped {
			t.Errorf("with funds: note %q, error %v", note, err)
		}
	}
	if left := s.kept(session.Subscription); left != 0 {
		t.Errorf("%d cents of it are kept", left)
	}
}

// kept is what was paid for a subscription and not given back, in cents.
func (s *shop) kept(subscription string) (left int64) {
	s.Helper()
	invoices, err := s.client.Invoices(s.Context(), s.customer(), 100)
	s.must(err)
	for _, i := range invoices {
		if i.Subscription == subscription && i.PaymentIntent != "" {
			p, err := s.client.Payment(s.Context(), i.PaymentIntent)
			s.must(err)
			left += p.Amount - p.Refunded
		}
	}
	return left
}

// awayOnceCanceled is a refusing Stripe that cannot be reached from the first
// cancellation on.
type awayOnceCanceled struct {
	refusing
	away *bool
}

func (f awayOnceCanceled) RoundTrip(r *http.Request) (*http.Response, error) {
	if *f.away {
		return nil, errors.New("away")
	}
	*f.away = r.Method == http.MethodDelete
	return f.refusing.RoundTrip(r)
}

// Interrupted once the second subscription is canceled, the next call gives it back.
func TestBilling_TwoSubscriptionsInterrupted(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	s.subscribe("pro")
	s.sim.SetWebhooks(stripesim.Disorder{Hold: true})
	s.exec(`UPDATE subscription SET status = 'canceled'`) // as if it were not there yet
	page := s.checkout("/v1/billing/checkout", `{"plan":"pro"}`)
	s.exec(`UPDATE subscription SET status = 'active'`)
	s.must(s.sim.Pay(page))
	session, err := s.client.CheckoutSession(t.Context(), page)
	s.must(err)
	away := billing.New(billing.Options{
		APIKey: stripesim.DefaultAPIKey, URL: "http://stripe.test", HTTPClient: &http.Client{Transport: awayOnceCanceled{refusing{s.sim}, new(bool)}},
	})
	if note, err := jobs.SyncOnly(t.Context(), s.db, away, session.Subscription, time.Now()); err == nil {
		t.Errorf("away: note %q", note)
	}
	if note, err := jobs.SyncOnly(t.Context(), s.db, s.client, session.Subscription, time.Now()); err != nil || note != jobs.NoteDropped {
		t.Errorf("again: note %q, error %v", note, err)
	}
	if left := s.kept(session.Subscription); left != 0 {
		t.Errorf("%d cents of it are kept", left)
	}
}

// What was paid for a subscription that was the organization's own, and has ended, stays
// paid when it is told of after another has begun.
func TestBilling_AnEarlierSubscriptionIsKept(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	s.subscribe("hobby")
	earlier := s.strings(`SELECT subscription FROM subscription`)[0]
	_, err := s.client.CancelSubscription(t.Context(), earlier, true)
	s.must(err)
	s.settled()
	s.subscribe("pro")
	if note, err := jobs.SyncOnly(t.Context(), s.db, s.client, earlier, time.Now()); err != nil || note != store.NoteAnother {
		t.Errorf("note %q, error %v", note, err)
	}
	if left := s.kept(earlier); left != 900 {
		t.Errorf("%d cents of it are kept", left)
	}
}

// A disputed payment is noted with whose it is, for operators.
func TestBilling_Disputed(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	invoice, _ := s.bought()
	i, err := s.db.Invoice(t.Context(), "", invoice)
	s.must(err)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/charges?payment_intent="+*i.Payment, nil)
	r.Header.Set("Authorization", "Bearer "+stripesim.DefaultAPIKey)
	w := httptest.NewRecorder()
	s.sim.ServeHTTP(w, r)
	var charges struct{ Data []struct{ ID string } }
	s.must(json.Unmarshal(w.Body.Bytes(), &charges))
	s.exec(`INSERT INTO stripe_event (id, type, object_id, created_at) VALUES ('evt_dispute', 'charge.dispute.created', $1, now())`, charges.Data[0].ID)
	s.run(jobs.HandleStripeEventArgs{EventID: "evt_dispute"})
	note := s.strings(`SELECT error FROM stripe_event WHERE id = 'evt_dispute' AND handled_at IS NOT NULL`)
	if len(note) != 1 || !strings.HasPrefix(note[0], "the payment is disputed") || !strings.HasSuffix(note[0], *i.Payment+" of "+s.org) {
		t.Errorf("noted: %v", note)
	}
	s.has("the credits stay", "free", "none", 150, 0, 100)
}
