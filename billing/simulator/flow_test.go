package simulator_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v85"

	"github.com/nanobanana/nanobanana/billing/simulator"
)

// shop is what the tests sell.
type shop struct {
	hobby, pro, metered, credits *stripe.Price
	meter                        *stripe.BillingMeter
	customer                     *stripe.Customer
}

// stock fills a simulator by the calls that a service makes.
func (b *bench) stock(t *testing.T) *shop {
	t.Helper()
	s := &shop{}
	s.meter = must[*stripe.BillingMeter](t)(b.client.V1BillingMeters.Create(t.Context(), &stripe.BillingMeterCreateParams{
		DisplayName: stripe.String("Credits"), EventName: stripe.String("nanobanana_credits"),
		DefaultAggregation: &stripe.BillingMeterCreateDefaultAggregationParams{Formula: stripe.String("sum")},
	}))
	price := func(name string, cents int64, recurring *stripe.PriceCreateRecurringParams) *stripe.Price {
		product := must[*stripe.Product](t)(b.client.V1Products.Create(t.Context(), &stripe.ProductCreateParams{Name: stripe.String(name)}))
		return must[*stripe.Price](t)(b.client.V1Prices.Create(t.Context(), &stripe.PriceCreateParams{
			Currency: stripe.String("usd"), UnitAmount: &cents, LookupKey: stripe.String("nanobanana_" + name), Product: &product.ID, Recurring: recurring,
		}))
	}
	monthly := &stripe.PriceCreateRecurringParams{Interval: stripe.String("month")}
	s.hobby, s.pro, s.credits = price("hobby", 900, monthly), price("pro", 2900, monthly), price("credits", 2, nil)
	s.metered = price("pay_as_you_go", 2, &stripe.PriceCreateRecurringParams{
		Interval: stripe.String("month"), UsageType: stripe.String("metered"), Meter: &s.meter.ID,
	})
	s.customer = must[*stripe.Customer](t)(b.client.V1Customers.Create(t.Context(), &stripe.CustomerCreateParams{Email: stripe.String("a@example.com")}))
	return s
}

// checkout makes a session for a price.
func (b *bench) checkout(t *testing.T, customer string, p *stripe.Price, quantity int64) *stripe.CheckoutSession {
	t.Helper()
	params := &stripe.CheckoutSessionCreateParams{
		Mode: stripe.String("payment"), Customer: &customer, SuccessURL: stripe.String("https://example.com/done?s={CHECKOUT_SESSION_ID}"),
		LineItems: []*stripe.CheckoutSessionCreateLineItemParams{{Price: &p.ID}},
	}
	if p.Recurring != nil {
		params.Mode = stripe.String("subscription")
		params.SubscriptionData = &stripe.CheckoutSessionCreateSubscriptionDataParams{Metadata: map[string]string{"org": "org_1"}}
	}
	if quantity > 0 {
		params.LineItems[0].Quantity = &quantity
	}
	return must[*stripe.CheckoutSession](t)(b.client.V1CheckoutSessions.Create(t.Context(), params))
}

// subscribe has the customer of a shop pay for a price, and returns the subscription.
func (b *bench) subscribe(t *testing.T, s *shop, p *stripe.Price) *stripe.Subscription {
	t.Helper()
	quantity := int64(1)
	if p.Recurring.UsageType == stripe.PriceRecurringUsageTypeMetered {
		quantity = 0
	}
	session := b.checkout(t, s.customer.ID, p, quantity)
	if err := b.Pay(session.ID); err != nil {
		t.Fatal(err)
	}
	session = must[*stripe.CheckoutSession](t)(b.client.V1CheckoutSessions.Retrieve(t.Context(), session.ID, nil))
	return b.subscription(t, session.Subscription.ID)
}

func (b *bench) subscription(t *testing.T, id string) *stripe.Subscription {
	t.Helper()
	params := &stripe.SubscriptionRetrieveParams{}
	params.AddExpand("latest_invoice.payments")
	return must[*stripe.Subscription](t)(b.client.V1Subscriptions.Retrieve(t.Context(), id, params))
}

func TestSubscribe(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	s := b.stock(t)
	b.idle(t)
	b.receiver.types()
	sub := b.subscribe(t, s, s.pro)
	item := sub.Items.Data[0]
	got := []any{
		sub.Status, sub.Metadata["org"], sub.Customer.ID, item.Price.LookupKey, item.CurrentPeriodStart, item.CurrentPeriodEnd,
		sub.LatestInvoice.Status, sub.LatestInvoice.AmountPaid, sub.LatestInvoice.Parent.SubscriptionDetails.Subscription.ID,
		sub.LatestInvoice.Payments.Data[0].Status,
	}
	want := []any{
		stripe.SubscriptionStatusActive, "org_1", s.customer.ID, "nanobanana_pro", began.Unix(), began.AddDate(0, 1, 0).Unix(),
		stripe.InvoiceStatusPaid, int64(2900), sub.ID, "paid",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("subscription differs (-want +got):\n%s", diff)
	}
	b.idle(t)
	wantTypes := []string{
		"invoice.created", "customer.subscription.created", "invoice.finalized", "payment_intent.created", "charge.succeeded",
		"payment_intent.succeeded", "invoice.paid", "invoice.payment_succeeded", "customer.subscription.updated", "checkout.session.completed",
	}
	if diff := cmp.Diff(wantTypes, b.receiver.types()); diff != "" {
		t.Errorf("webhooks differ (-want +got):\n%s", diff)
	}
}
