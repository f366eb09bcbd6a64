package simulator_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v85"

	"github.com/nanobanana/nanobanana/billing/simulator"
)

// keyed is the ids of the prices with a lookup key.
func (b *bench) keyed(t *testing.T, key string) []string {
	t.Helper()
	var ids []string
	params := &stripe.PriceListParams{LookupKeys: []*string{&key}, Active: stripe.Bool(true)}
	for p, err := range b.client.V1Prices.List(t.Context(), params).All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, p.ID)
	}
	return ids
}

func TestLookupKey(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	s := b.stock(t)
	if diff := cmp.Diff([]string{s.pro.ID}, b.keyed(t, "nanobanana_pro")); diff != "" {
		t.Errorf("prices differ (-want +got):\n%s", diff)
	}
	dearer := must[*stripe.Price](t)(b.client.V1Prices.Create(t.Context(), &stripe.PriceCreateParams{
		Currency: stripe.String("usd"), UnitAmountDecimal: stripe.Float64(3100.5), Product: &s.pro.Product.ID,
		LookupKey: stripe.String("nanobanana_pro"), TransferLookupKey: stripe.Bool(true),
		Recurring: &stripe.PriceCreateRecurringParams{Interval: stripe.String("month")},
	}))
	if dearer.UnitAmount != 0 || dearer.UnitAmountDecimal != 3100.5 {
		t.Errorf("the unit amount is %d and %g", dearer.UnitAmount, dearer.UnitAmountDecimal)
	}
	if diff := cmp.Diff([]string{dearer.ID}, b.keyed(t, "nanobanana_pro")); diff != "" {
		t.Errorf("prices after the transfer differ (-want +got):\n%s", diff)
	}
	must[*stripe.Price](t)(b.client.V1Prices.Update(t.Context(), dearer.ID, &stripe.PriceUpdateParams{Active: stripe.Bool(false)}))
	if got := b.keyed(t, "nanobanana_pro"); got != nil {
		t.Errorf("inactive prices are listed: %v", got)
	}
}

func TestCustomer(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	c := must[*stripe.Customer](t)(b.client.V1Customers.Create(t.Context(), &stripe.CustomerCreateParams{
		Email: stripe.String("a@example.com"), Metadata: map[string]string{"org": "org_1", "more": "x"},
	}))
	must[*stripe.Customer](t)(b.client.V1Customers.Update(t.Context(), c.ID, &stripe.CustomerUpdateParams{
		Name: stripe.String("A"), Metadata: map[string]string{"more": "", "plan": "pro"},
	}))
	got := must[*stripe.Customer](t)(b.client.V1Customers.Retrieve(t.Context(), c.ID, nil))
	want := []any{"a@example.com", "A", map[string]string{"org": "org_1", "plan": "pro"}, began.Unix()}
	if diff := cmp.Diff(want, []any{got.Email, got.Name, got.Metadata, got.Created}); diff != "" {
		t.Errorf("customer differs (-want +got):\n%s", diff)
	}
	cleared := b.send(t, http.MethodPost, "/v1/customers/"+c.ID, "metadata=&name=")
	if diff := cmp.Diff([]any{map[string]any{}, nil}, []any{cleared.body["metadata"], cleared.body["name"]}); diff != "" {
		t.Errorf("cleared it differs (-want +got):\n%s", diff)
	}
}

func TestMeters(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	s := b.stock(t)
	for m, err := range b.client.V1BillingMeters.List(t.Context(), &stripe.BillingMeterListParams{Status: stripe.String("active")}).All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got := []any{m.ID, m.EventName, m.CustomerMapping.EventPayloadKey, m.ValueSettings.EventPayloadKey, m.DefaultAggregation.Formula}
		want := []any{s.meter.ID, "nanobanana_credits", "stripe_customer_id", "value", stripe.BillingMeterDefaultAggregationFormulaSum}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("meter differs (-want +got):\n%s", diff)
		}
	}
	for _, body := range []string{
		"event_name=other&payload[stripe_customer_id]=" + s.customer.ID + "&payload[value]=1",
		"event_name=nanobanana_credits&payload[stripe_customer_id]=cus_x&payload[value]=1",
		"event_name=nanobanana_credits&payload[stripe_customer_id]=" + s.customer.ID + "&payload[value]=many",
		"event_name=nanobanana_credits&payload[stripe_customer_id]=" + s.customer.ID,
	} {
		if got := b.send(t, http.MethodPost, "/v1/billing/meter_events", body); got.status != 400 {
			t.Errorf("%s was answered %d: %v", body, got.status, got.body)
		}
	}
}

func TestControl(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	s := b.stock(t)
	session := b.checkout(t, s.customer.ID, s.hobby, 1)
	control := func(want int, what, form string) {
		t.Helper()
		if got := b.send(t, http.MethodPost, "/__stripe/"+what, form); got.status != want {
			t.Errorf("%s %s was answered %d: %v", what, form, got.status, got.body)
		}
	}
	control(400, "nothing", "")
	control(400, "advance", "by=tomorrow")
	control(404, "pay", "session=cs_x")
	control(200, "webhooks", "hold=true&reverse=true")
	control(200, "decline", "session="+session.ID)
	control(200, "fail-next", "customer="+s.customer.ID)
	control(402, "pay", "session="+session.ID)
	control(200, "pay", "session="+session.ID)
	control(200, "card", "customer="+s.customer.ID+"&works=false")
	control(200, "advance", "by=745h")
	id := must[*stripe.CheckoutSession](t)(b.client.V1CheckoutSessions.Retrieve(t.Context(), session.ID, nil)).Subscription.ID
	b.wantStatus(t, id, stripe.SubscriptionStatusPastDue, month2)
	control(200, "card", "customer="+s.customer.ID+"&works=true")
	control(200, "pay-invoice", "invoice="+b.subscription(t, id).LatestInvoice.ID)
	b.wantStatus(t, id, stripe.SubscriptionStatusActive, month2)
	control(200, "down", "down=true")
	control(200, "down", "down=false")
	control(200, "lose-answers", "count=0")
	control(200, "release", "")
	b.idle(t)
}
