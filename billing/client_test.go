package billing_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v85/webhook"

	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/billing/simulator"
)

const secret = "whsec_test"

// bench is a client and the Stripe that it asks.
type bench struct {
	*billing.Client
	sim *simulator.Simulator
	url string
}

func setup(t *testing.T) *bench {
	t.Helper()
	sim, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(func() { server.Close(); sim.Close() })
	client := billing.New(billing.Options{APIKey: simulator.DefaultAPIKey, WebhookSecret: secret, URL: server.URL})
	return &bench{Client: client, sim: sim, url: server.URL}
}

// shop is what is sold in these tests.
var shop = billing.Catalogue{CreditMicros: 20_000, Plans: []billing.Sale{
	{Plan: "hobby", Title: "Hobby", PriceMicros: 9_000_000},
	{Plan: "pro", Title: "Pro", PriceMicros: 29_000_000},
	{Plan: "pay_as_you_go", Title: "Pay as you go", Metered: true, CreditMicros: 14_500},
}}

// ask does something that must not fail.
func ask[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestEnsureCatalogue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	want := []string{
		"meter nanobanana_credits", "price nanobanana_hobby", "price nanobanana_pro",
		"price nanobanana_pay_as_you_go", "price nanobanana_credits",
	}
	if diff := cmp.Diff(want, ask[[]string](t)(b.EnsureCatalogue(t.Context(), shop))); diff != "" {
		t.Errorf("made at first (-want +got):\n%s", diff)
	}
	if again := ask[[]string](t)(b.EnsureCatalogue(t.Context(), shop)); again != nil {
		t.Errorf("made again: %v", again)
	}
	dearer := shop
	dearer.Plans = []billing.Sale{{Plan: "hobby", Title: "Hobby", PriceMicros: 10_000_000}}
	if diff := cmp.Diff([]string{"price nanobanana_hobby"}, ask[[]string](t)(b.EnsureCatalogue(t.Context(), dearer))); diff != "" {
		t.Errorf("made for a new price (-want +got):\n%s", diff)
	}
	back := ask[[]string](t)(b.EnsureCatalogue(t.Context(), shop))
	if diff := cmp.Diff([]string{"price nanobanana_hobby"}, back); diff != "" {
		t.Errorf("made for the old price again (-want +got):\n%s", diff)
	}
}

// A subscriber is one of plan.
func (b *bench) subscriber(t *testing.T, plan string) *billing.Subscription {
	t.Helper()
	ask[[]string](t)(b.EnsureCatalogue(t.Context(), shop))
	customer := ask[string](t)(b.CreateCustomer(t.Context(), "org_1", "Acme", ""))
	page := ask[*billing.CheckoutSession](t)(b.Checkout(t.Context(), billing.Checkout{
		OrgID: "org_1", Customer: customer, Plan: plan, Metered: plan == "pay_as_you_go",
		SuccessURL: "https://example.com/yes", CancelURL: "https://example.com/no", Key: "1",
	}))
	if page.Paid || page.URL == "" || page.Customer != customer {
		t.Errorf("a page that nobody has seen: %+v", page)
	}
	if err := b.sim.Pay(page.ID); err != nil {
		t.Fatal(err)
	}
	paid := ask[*billing.CheckoutSession](t)(b.CheckoutSession(t.Context(), page.ID))
	if !paid.Paid || paid.Subscription == "" {
		t.Fatalf("a page that was paid on: %+v", paid)
	}
	return ask[*billing.Subscription](t)(b.Subscription(t.Context(), paid.Subscription))
}

func TestSubscription(t *testing.T) {
	t.Parallel()
	b := setup(t)
	sub := b.subscriber(t, "hobby")
	if sub.Plan != "hobby" || sub.Status != billing.StatusActive || sub.CancelAtPeriodEnd || sub.PeriodEnd.Sub(sub.PeriodStart) < 28*24*time.Hour {
		t.Errorf("%+v", sub)
	}
	again := ask[string](t)(b.CreateCustomer(t.Context(), "org_1", "Acme", ""))
	if again != sub.Customer {
		t.Errorf("the customer is made twice: %s, %s", sub.Customer, again)
	}
	ends := b.change(t, sub.ID, billing.SubscriptionChange{CancelAtPeriodEnd: new(true), Key: "a"})
	if !ends.CancelAtPeriodEnd || ends.Plan != "hobby" {
		t.Errorf("one that is to end: %+v", ends)
	}
	up := billing.SubscriptionChange{Plan: new("pro"), Paid: "hobby", Priced: "hobby", Key: "b"}
	b.sim.FailNextPayment(sub.Customer)
	if err := b.ChangeSubscription(t.Context(), sub.ID, up); !errors.Is(err, billing.ErrDeclined) {
		t.Errorf("declined: %v", err)
	}
	up.Key = "c"
	pro := b.change(t, sub.ID, up)
	if pro.CancelAtPeriodEnd || pro.Plan != "pro" || !pro.PeriodStart.Equal(sub.PeriodStart) {
		t.Errorf("one that was changed: %+v", pro)
	}
	invoices := ask[[]*billing.Invoice](t)(b.Invoices(t.Context(), sub.Customer, 10))
	if len(invoices) != 2 || invoices[0].AmountPaid != 2000 || invoices[1].AmountPaid != 900 || invoices[1].Subscription != sub.ID || invoices[1].PaymentIntent == "" {
		t.Errorf("%+v", invoices)
	}
	// To a cheaper one and back again costs nothing, whatever it is on the way.
	down := billing.SubscriptionChange{Plan: new("hobby"), Paid: "pro", Priced: "pro", Waits: true, Key: "d"}
	if hobby := b.change(t, sub.ID, down); hobby.Plan != "hobby" {
		t.Errorf("%+v", hobby)
	}
	if err := b.ChangeSubscription(t.Context(), sub.ID, billing.SubscriptionChange{Plan: new("pay_as_you_go"), Paid: "pro", Priced: "pro", Key: "e"}); !errors.Is(err, billing.ErrRefused) {
		t.Errorf("behind another's back: %v", err)
	}
	b.change(t, sub.ID, billing.SubscriptionChange{Plan: new("pay_as_you_go"), Paid: "pro", Priced: "hobby", Waits: true, Key: "f"})
	b.change(t, sub.ID, billing.SubscriptionChange{Plan: new("pro"), Paid: "pro", Priced: "pay_as_you_go", Key: "g"})
	if invoices := ask[[]*billing.Invoice](t)(b.Invoices(t.Context(), sub.Customer, 10)); len(invoices) != 2 {
		t.Errorf("%d invoices", len(invoices))
	}
	if page := ask[string](t)(b.Portal(t.Context(), sub.Customer, "https://example.com", "1")); !strings.HasPrefix(page, b.url) {
		t.Errorf("the portal is %s", page)
	}
	ended := ask[*billing.Subscription](t)(b.CancelSubscription(t.Context(), sub.ID, true))
	if ended.Status != billing.StatusCanceled {
		t.Errorf("one that was canceled: %+v", ended)
	}
}

// A price that was replaced is still that of its plan.
func TestSubscription_OldPrice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	sub := b.subscriber(t, "hobby")
	dearer := billing.Catalogue{CreditMicros: 20_000, Plans: []billing.Sale{{Plan: "hobby", Title: "Hobby", PriceMicros: 12_000_000}}}
	ask[[]string](t)(b.EnsureCatalogue(t.Context(), dearer))
	if now := ask[*billing.Subscription](t)(b.Subscription(t.Context(), sub.ID)); now.Plan != "hobby" {
		t.Errorf("its plan is %q", now.Plan)
	}
}

func TestMeterEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	sub := b.subscriber(t, "pay_as_you_go")
	for range 2 { // the second is the first again
		if err := b.MeterEvent(t.Context(), billing.MeterEvent{Identifier: "1", Customer: sub.Customer, Credits: 3, At: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	// Told of as of another time it is a request of its own, of an event that is there.
	if err := b.MeterEvent(t.Context(), billing.MeterEvent{Identifier: "1", Customer: sub.Customer, Credits: 3, At: time.Now().Add(time.Minute)}); err != nil {
		t.Error(err)
	}
	if err := b.MeterEvent(t.Context(), billing.MeterEvent{Identifier: "2", Customer: "cus_unknown", Credits: 3, At: time.Now()}); err == nil {
		t.Error("another refusal is taken for an answer")
	}
	err := b.ChangeSubscription(t.Context(), sub.ID, billing.SubscriptionChange{Plan: new("pro"), Paid: sub.Plan, Priced: sub.Plan, Key: "a"})
	if !errors.Is(err, billing.ErrRefused) {
		t.Errorf("left within a period: %v", err)
	}
	b.sim.Advance(time.Until(sub.PeriodEnd) + 2*time.Hour)
	invoices := ask[[]*billing.Invoice](t)(b.Invoices(t.Context(), sub.Customer, 1))
	if len(invoices) != 1 || invoices[0].AmountDue != 4 { // 3 of 1.45 cents
		t.Errorf("%+v", invoices[0])
	}
}

// Refunds share the credits that were bought out, to the last.
func TestRefund(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ask[[]string](t)(b.EnsureCatalogue(t.Context(), shop))
	customer := ask[string](t)(b.CreateCustomer(t.Context(), "org_1", "Acme", ""))
	page := ask[*billing.CheckoutSession](t)(b.Checkout(t.Context(), billing.Checkout{
		OrgID: "org_1", Customer: customer, Credits: 100, SuccessURL: "https://example.com", CancelURL: "https://example.com", Key: "1",
	}))
	if err := b.sim.Pay(page.ID); err != nil {
		t.Fatal(err)
	}
	paid := ask[*billing.CheckoutSession](t)(b.CheckoutSession(t.Context(), page.ID))
	if paid.Credits != 100 || paid.PaymentIntent == "" {
		t.Fatalf("%+v", paid)
	}
	first := billing.Refund{ID: "rfd_1", PaymentIntent: paid.PaymentIntent, Amount: 33, Reason: "r", Actor: "a"}
	id := ask[string](t)(b.Refund(t.Context(), first))
	if again := ask[string](t)(b.Refund(t.Context(), first)); again != id {
		t.Errorf("asked twice, it is given back twice: %s, %s", id, again)
	}
	ask[string](t)(b.Refund(t.Context(), billing.Refund{ID: "rfd_2", PaymentIntent: paid.PaymentIntent, Amount: 167, Reason: "r", Actor: "a"}))
	p := ask[*billing.Payment](t)(b.Payment(t.Context(), paid.PaymentIntent))
	sum := 0
	for _, r := range p.Refunds {
		sum += r.Credits
		if r.Reason != "r" || r.Actor != "a" || (r.Request == "rfd_1") != (r.ID == id) {
			t.Errorf("%+v", r)
		}
	}
	if p.Amount != 200 || p.Refunded != 200 || p.Credits != 100 || len(p.Refunds) != 2 || sum != 100 || p.Customer != customer {
		t.Errorf("%+v", p)
	}
	_, err := b.Refund(t.Context(), billing.Refund{ID: "rfd_3", PaymentIntent: paid.PaymentIntent, Amount: 1})
	if !errors.Is(err, billing.ErrRefused) {
		t.Errorf("more than was paid: %v", err)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.Subscription(t.Context(), "sub_unknown")
	check := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	check("an unknown id", err, billing.ErrNotFound)
	_, err = b.Checkout(t.Context(), billing.Checkout{OrgID: "o", Plan: "hobby"})
	check("no catalogue", err, billing.ErrCatalogue)
	_, err = b.CreateCustomer(t.Context(), "org_1", "A", "")
	check("a customer", err, nil)
	_, err = billing.New(billing.Options{APIKey: "sk_wrong", URL: b.url}).CreateCustomer(t.Context(), "org_1", "A", "")
	check("a wrong key", err, billing.ErrCredentials)
	b.sim.SetDown(true)
	_, err = b.Invoice(t.Context(), "in_1")
	check("down", err, billing.ErrUnavailable)
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(slow.Close)
	_, err = billing.New(billing.Options{APIKey: "sk", URL: slow.URL, HTTPClient: &http.Client{Timeout: 20 * time.Millisecond}}).Invoice(t.Context(), "in_1")
	check("slow", err, billing.ErrUnavailable)
	var none *billing.Client
	if none.On() || billing.New(billing.Options{}).On() {
		t.Error("it is on without a key")
	}
	_, err = none.Payment(t.Context(), "pi_1")
	check("off", err, billing.ErrOff)
}

func TestParseWebhook(t *testing.T) {
	t.Parallel()
	client := billing.New(billing.Options{WebhookSecret: secret})
	sign := func(body, secret string, at time.Time) string {
		return webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(body), Secret: secret, Timestamp: at}).Header
	}
	const invoice = `{"id":"evt_1","object":"event","api_version":"2019-01-01","created":1700000000,"type":"invoice.paid",` +
		`"data":{"object":{"id":"in_1","object":"invoice","customer":{"id":"cus_1","object":"customer"}}}}`
	const refund = `{"id":"evt_2","object":"event","created":1700000000,"type":"refund.created","data":{"object":{"id":"re_1","object":"refund","charge":"ch_1"}}}`
	now := time.Now()
	got, err := client.ParseWebhook([]byte(invoice), sign(invoice, secret, now))
	want := &billing.Event{ID: "evt_1", Type: "invoice.paid", Object: "invoice", ObjectID: "in_1", Customer: "cus_1", CreatedAt: time.Unix(1700000000, 0).UTC()}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
	if got, err := client.ParseWebhook([]byte(refund), sign(refund, secret, now)); err != nil || got.Object != "charge" || got.ObjectID != "ch_1" {
		t.Errorf("%+v, %v", got, err)
	}
	const dispute = `{"id":"evt_3","object":"event","created":1700000000,"type":"charge.dispute.created","data":{"object":{"id":"du_1","object":"dispute","charge":"ch_1"}}}`
	if got, err := client.ParseWebhook([]byte(dispute), sign(dispute, secret, now)); err != nil || got.ObjectID != "ch_1" {
		t.Errorf("a dispute: %+v, %v", got, err)
	}
	for name, c := range map[string]struct {
		body, header string
		want         error
	}{
		"wrong secret":   {invoice, sign(invoice, "whsec_other", now), billing.ErrSignature},
		"old":            {invoice, sign(invoice, secret, now.Add(-10*time.Minute)), billing.ErrSignature},
		"changed":        {strings.Replace(invoice, "in_1", "in_2", 1), sign(invoice, secret, now), billing.ErrSignature},
		"unsigned":       {invoice, "", billing.ErrSignature},
		"no event":       {`{}`, sign(`{}`, secret, now), billing.ErrEvent},
		"no JSON":        {`hello`, sign(`hello`, secret, now), billing.ErrEvent},
		"object of text": {`{"id":"e","type":"t","data":{"object":"x"}}`, sign(`{"id":"e","type":"t","data":{"object":"x"}}`, secret, now), billing.ErrEvent},
	} {
		if _, err := client.ParseWebhook([]byte(c.body), c.header); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := billing.New(billing.Options{APIKey: "sk"}).ParseWebhook([]byte(invoice), sign(invoice, "", now)); !errors.Is(err, billing.ErrOff) {
		t.Errorf("without a secret: %v", err)
	}
}

// change changes a subscription and returns it as it is then.
func (b *bench) change(t *testing.T, id string, change billing.SubscriptionChange) *billing.Subscription {
	t.Helper()
	if err := b.ChangeSubscription(t.Context(), id, change); err != nil {
		t.Fatal(err)
	}
	return ask[*billing.Subscription](t)(b.Subscription(t.Context(), id))
}

// All refunds of a payment are known, though Stripe shows the latest ten with a charge.
func TestPayment_ManyRefunds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ask[[]string](t)(b.EnsureCatalogue(t.Context(), shop))
	customer := ask[string](t)(b.CreateCustomer(t.Context(), "org_1", "Acme", ""))
	page := ask[*billing.CheckoutSession](t)(b.Checkout(t.Context(), billing.Checkout{
		OrgID: "org_1", Customer: customer, Credits: 100, SuccessURL: "https://example.com", CancelURL: "https://example.com", Key: "1",
	}))
	if err := b.sim.Pay(page.ID); err != nil {
		t.Fatal(err)
	}
	paid := ask[*billing.CheckoutSession](t)(b.CheckoutSession(t.Context(), page.ID))
	const many = 12
	var want, got []string
	for n := range many {
		want = append(want, ask[string](t)(b.Refund(t.Context(), billing.Refund{ID: fmt.Sprint("rfd_", n), PaymentIntent: paid.PaymentIntent, Amount: 10})))
	}
	p := ask[*billing.Payment](t)(b.Payment(t.Context(), paid.PaymentIntent))
	credits := 0
	for _, r := range p.Refunds {
		got = append(got, r.ID)
		credits += r.Credits
	}
	if diff := cmp.Diff(want, got); diff != "" || credits != 5*many {
		t.Errorf("%d credits, refunds (-want +got):\n%s", credits, diff)
	}
}

// What Stripe does not have of a customer whom it has is gone; of one whom it has not it
// is another account's.
func TestMissing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	customer := ask[string](t)(b.CreateCustomer(t.Context(), "org_1", "Acme", ""))
	_, gone := b.Subscription(t.Context(), "sub_gone")
	other := errors.New("other")
	for _, c := range []struct {
		customer  string
		err, want error
	}{{customer, gone, billing.ErrNotFound}, {"cus_gone", gone, billing.ErrAccount}, {"cus_gone", other, other}} {
		if got := b.Missing(t.Context(), c.customer, c.err); !errors.Is(got, c.want) {
			t.Errorf("%s, %v: %v, want %v", c.customer, c.err, got, c.want)
		}
	}
}
