package simulator_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v85"

	"github.com/nanobanana/nanobanana/billing/simulator"
)

const (
	hour   = time.Hour
	oneDay = 24 * time.Hour
)

// invoices is the customer's, newest first, each as reason, status, due and lines.
func (b *bench) invoices(t *testing.T, customer string) [][]any {
	t.Helper()
	var all [][]any
	for inv, err := range b.client.V1Invoices.List(t.Context(), &stripe.InvoiceListParams{Customer: &customer}).All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		row := []any{string(inv.BillingReason), string(inv.Status), inv.AmountDue}
		for _, l := range inv.Lines.Data {
			row = append(row, l.Amount)
		}
		all = append(all, row)
	}
	return all
}

func (b *bench) wantInvoices(t *testing.T, customer string, want ...[]any) {
	t.Helper()
	if diff := cmp.Diff(want, b.invoices(t, customer)); diff != "" {
		t.Errorf("invoices differ (-want +got):\n%s", diff)
	}
}

// wantStatus checks a subscription and when its period began.
func (b *bench) wantStatus(t *testing.T, id string, status stripe.SubscriptionStatus, start time.Time) {
	t.Helper()
	sub := b.subscription(t, id)
	got := []any{sub.Status, time.Unix(sub.Items.Data[0].CurrentPeriodStart, 0).UTC()}
	if diff := cmp.Diff([]any{status, start}, got); diff != "" {
		t.Errorf("subscription differs (-want +got):\n%s", diff)
	}
}

var month2, month3 = began.AddDate(0, 1, 0), began.AddDate(0, 2, 0)

func TestRenewal(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	s := b.stock(t)
	sub := b.subscribe(t, s, s.hobby)
	first := []any{"subscription_create", "paid", int64(900), int64(900)}
	b.Advance(31*oneDay - time.Second)
	b.wantInvoices(t, s.customer.ID, first)
	b.idle(t)
	b.receiver.types()
	b.Advance(time.Second)
	b.wantInvoices(t, s.customer.ID, []any{"subscription_cycle", "draft", int64(900), int64(900)}, first)
	b.wantStatus(t, sub.ID, stripe.SubscriptionStatusActive, month2)
	b.Advance(hour)
	b.wantInvoices(t, s.customer.ID, []any{"subscription_cycle", "paid", int64(900), int64(900)}, first)
	b.idle(t)
	want := []string{
		"invoice.created", "customer.subscription.updated", "invoice.finalized", "payment_intent.created", "charge.succeeded",
		"payment_intent.succeeded", "invoice.paid", "invoice.payment_succeeded",
	}
	if diff := cmp.Diff(want, b.receiver.types()); diff != "" {
		t.Errorf("webhooks differ (-want +got):\n%s", diff)
	}
	b.Advance(365 * oneDay) // several at once
	if got := len(b.invoices(t, s.customer.ID)); got != 14 {
		t.Errorf("after 13 months there are %d invoices, want 14", got)
	}
}

func TestPastDue(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	s := b.stock(t)
	sub := b.subscribe(t, s, s.hobby)
	b.FailNextPayment(s.customer.ID)
	b.Advance(31*oneDay + hour)
	b.wantStatus(t, sub.ID, stripe.SubscriptionStatusPastDue, month2)
	open := must[*stripe.Invoice](t)(b.client.V1Invoices.Retrieve(t.Context(), b.subscription(t, sub.ID).LatestInvoice.ID, nil))
	got := []any{open.Status, open.AttemptCount, time.Unix(open.NextPaymentAttempt, 0).UTC()}
	if diff := cmp.Diff([]any{stripe.InvoiceStatusOpen, int64(1), month2.Add(hour + 3*oneDay)}, got); diff != "" {
		t.Errorf("open invoice differs (-want +got):\n%s", diff)
	}
	b.Advance(3 * oneDay) // the next attempt goes through
	b.wantStatus(t, sub.ID, stripe.SubscriptionStatusActive, month2)

	b.FailNextPayment(s.customer.ID)
	b.Advance(month3.Add(hour).Sub(month2.Add(hour + 3*oneDay)))
	b.wantStatus(t, sub.ID, stripe.SubscriptionStatusPastDue, month3)
	if err := b.PayInvoice(b.subscription(t, sub.ID).LatestInvoice.ID); err != nil {
		t.Fatal(err)
	}
	b.wantStatus(t, sub.ID, stripe.SubscriptionStatusActive, month3)
	b.idle(t)
	b.receiver.types()
}

func TestNeverPaid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts simulator.Options
		want stripe.SubscriptionStatus
	}{
		"Canceled": {simulator.Options{}, stripe.SubscriptionStatusCanceled},
		"Unpaid":   {simulator.Options{LeaveUnpaid: true}, stripe.SubscriptionStatusUnpaid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, c.opts)
			s := b.stock(t)
			sub := b.subscribe(t, s, s.hobby)
			b.SetCard(s.customer.ID, false)
			b.Advance(31*oneDay + hour + (3+5)*oneDay)
			b.wantStatus(t, sub.ID, stripe.SubscriptionStatusPastDue, month2)
			b.Advance(7 * oneDay)
			b.wantStatus(t, sub.ID, c.want, month2)
			latest := b.subscription(t, sub.ID).LatestInvoice
			if diff := cmp.Diff([]any{stripe.InvoiceStatusOpen, int64(4), int64(0)}, []any{latest.Status, latest.AttemptCount, latest.NextPaymentAttempt}); diff != "" {
				t.Errorf("invoice differs (-want +got):\n%s", diff)
			}
			if c.want == stripe.SubscriptionStatusUnpaid {
				b.SetCard(s.customer.ID, true)
				must[*stripe.Invoice](t)(b.client.V1Invoices.Pay(t.Context(), latest.ID, nil))
				b.wantStatus(t, sub.ID, stripe.SubscriptionStatusActive, month2)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	s := b.stock(t)
	sub := b.subscribe(t, s, s.hobby)
	update := func(cancel bool) *stripe.Subscription {
		return must[*stripe.Subscription](t)(b.client.V1Subscriptions.Update(t.Context(), sub.ID, &stripe.SubscriptionUpdateParams{CancelAtPeriodEnd: &cancel}))
	}
	if got := update(true); !got.CancelAtPeriodEnd || got.CancelAt != month2.Unix() || got.Status != stripe.SubscriptionStatusActive {
		t.Errorf("cancelling left %v at %d, %s", got.CancelAtPeriodEnd, got.CancelAt, got.Status)
	}
	if got := update(false); got.CancelAtPeriodEnd || got.CancelAt != 0 {
		t.Errorf("resuming left %v at %d", got.CancelAtPeriodEnd, got.CancelAt)
	}
	update(true)
	b.idle(t)
	b.receiver.types()
	b.Advance(31 * oneDay)
	b.wantStatus(t, sub.ID, stripe.SubscriptionStatusCanceled, began)
	b.idle(t)
	if diff := cmp.Diff([]string{"customer.subscription.deleted"}, b.receiver.types()); diff != "" {
		t.Errorf("webhooks differ (-want +got):\n%s", diff)
	}
	now := b.subscribe(t, s, s.pro)
	ended := must[*stripe.Subscription](t)(b.client.V1Subscriptions.Cancel(t.Context(), now.ID, nil))
	if ended.Status != stripe.SubscriptionStatusCanceled || ended.EndedAt != month2.Unix() {
		t.Errorf("cancelled at once it is %s, ended %d", ended.Status, ended.EndedAt)
	}
	if _, err := b.client.V1Subscriptions.Cancel(t.Context(), now.ID, nil); err == nil {
		t.Error("it was cancelled twice")
	}
	b.Advance(100 * oneDay)
	if got := len(b.invoices(t, s.customer.ID)); got != 2 {
		t.Errorf("%d invoices, want the two first ones", got)
	}
}

func TestProration(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	s := b.stock(t)
	sub := b.subscribe(t, s, s.hobby)
	b.Advance(31 * oneDay / 2)
	to := func(p *stripe.Price, behavior string) {
		must[*stripe.Subscription](t)(b.client.V1Subscriptions.Update(t.Context(), sub.ID, &stripe.SubscriptionUpdateParams{
			Items:             []*stripe.SubscriptionUpdateItemParams{{ID: &sub.Items.Data[0].ID, Price: &p.ID}},
			ProrationBehavior: &behavior,
		}))
	}
	first := []any{"subscription_create", "paid", int64(900), int64(900)}
	to(s.pro, "create_prorations")
	b.wantInvoices(t, s.customer.ID, first) // the difference waits for the next invoice
	preview := must[*stripe.Invoice](t)(b.client.V1Invoices.CreatePreview(t.Context(), &stripe.InvoiceCreatePreviewParams{Subscription: &sub.ID}))
	if preview.Total != -450+1450+2900 {
		t.Errorf("the next invoice is over %d, want 3900", preview.Total)
	}
	b.wantStatus(t, sub.ID, stripe.SubscriptionStatusActive, began)

	to(s.hobby, "always_invoice") // back again: what was charged is given back, to the balance if need be
	update := []any{"subscription_update", "paid", int64(0), int64(-450), int64(1450), int64(-1450), int64(450)}
	b.wantInvoices(t, s.customer.ID, update, first)
	to(s.pro, "always_invoice")
	raised := []any{"subscription_update", "paid", int64(1000), int64(-450), int64(1450)}
	b.wantInvoices(t, s.customer.ID, raised, update, first)
	to(s.hobby, "always_invoice")
	lowered := []any{"subscription_update", "paid", int64(0), int64(-1450), int64(450)}
	b.wantInvoices(t, s.customer.ID, lowered, raised, update, first)
	if c := must[*stripe.Customer](t)(b.client.V1Customers.Retrieve(t.Context(), s.customer.ID, nil)); c.Balance != -1000 {
		t.Errorf("the customer's balance is %d, want -1000", c.Balance)
	}
	b.Advance(31*oneDay/2 + hour) // the balance pays for the next period
	b.wantInvoices(t, s.customer.ID, []any{"subscription_cycle", "paid", int64(0), int64(900)}, lowered, raised, update, first)
	if c := must[*stripe.Customer](t)(b.client.V1Customers.Retrieve(t.Context(), s.customer.ID, nil)); c.Balance != -100 {
		t.Errorf("the customer's balance is %d, want -100", c.Balance)
	}
	to(s.pro, "none")
	b.Advance(28*oneDay + hour)
	if got := b.invoices(t, s.customer.ID)[0]; !cmp.Equal(got, []any{"subscription_cycle", "paid", int64(2800), int64(2900)}) {
		t.Errorf("without proration the next invoice is %v", got)
	}
}

func TestChangeDeclined(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	s := b.stock(t)
	sub := b.subscribe(t, s, s.hobby)
	b.SetCard(s.customer.ID, false)
	change := &stripe.SubscriptionUpdateParams{
		Items:             []*stripe.SubscriptionUpdateItemParams{{ID: &sub.Items.Data[0].ID, Price: &s.pro.ID}},
		ProrationBehavior: stripe.String("always_invoice"), PaymentBehavior: stripe.String("error_if_incomplete"),
	}
	if _, err := b.client.V1Subscriptions.Update(t.Context(), sub.ID, change); err == nil {
		t.Fatal("the change went through")
	}
	if got := b.subscription(t, sub.ID).Items.Data[0].Price.ID; got != s.hobby.ID {
		t.Errorf("the refused change left the price %s, want %s", got, s.hobby.ID)
	}
	change.PaymentBehavior = nil
	changed := must[*stripe.Subscription](t)(b.client.V1Subscriptions.Update(t.Context(), sub.ID, change))
	if diff := cmp.Diff([]any{s.pro.ID, stripe.SubscriptionStatusPastDue}, []any{changed.Items.Data[0].Price.ID, changed.Status}); diff != "" {
		t.Errorf("the allowed change differs (-want +got):\n%s", diff)
	}
}

func TestMetered(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	s := b.stock(t)
	sub := b.subscribe(t, s, s.metered)
	use := func(id string, at time.Time, credits string) error {
		_, err := b.client.V1BillingMeterEvents.Create(t.Context(), &stripe.BillingMeterEventCreateParams{
			EventName: stripe.String("nanobanana_credits"), Identifier: &id, Timestamp: stripe.Int64(at.Unix()),
			Payload: map[string]string{"stripe_customer_id": s.customer.ID, "value": credits},
		})
		return err
	}
	for _, err := range []error{use("a", began, "100"), use("b", began.Add(time.Minute), "7")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var refused *stripe.Error
	err := use("a", began, "100")
	if !errors.As(err, &refused) || refused.Msg != "An event already exists with identifier a." || refused.HTTPStatusCode != 400 {
		t.Errorf("a repeated event was answered %v", err)
	}
	for _, at := range []time.Time{began.Add(-35*oneDay - time.Second), began.Add(5*time.Minute + time.Second)} {
		if err := use("c", at, "1"); err == nil {
			t.Errorf("an event of %s was taken", at)
		}
	}
	b.Advance(31 * oneDay)
	if err := use("late", month2.Add(-time.Second), "3"); err != nil { // the invoice is still a draft
		t.Fatal(err)
	}
	if err := use("next", month2, "1000"); err != nil {
		t.Fatal(err)
	}
	b.Advance(hour)
	b.wantInvoices(t, s.customer.ID, []any{"subscription_cycle", "paid", int64(220), int64(220)}, []any{"subscription_create", "paid", int64(0)})
	b.wantStatus(t, sub.ID, stripe.SubscriptionStatusActive, month2)
	preview := must[*stripe.Invoice](t)(b.client.V1Invoices.CreatePreview(t.Context(), &stripe.InvoiceCreatePreviewParams{Subscription: &sub.ID}))
	if preview.Total != 2000 {
		t.Errorf("the next invoice is over %d, want 2000", preview.Total)
	}
	cancel := &stripe.SubscriptionCancelParams{InvoiceNow: stripe.Bool(true)}
	must[*stripe.Subscription](t)(b.client.V1Subscriptions.Cancel(t.Context(), sub.ID, cancel))
	if got := b.invoices(t, s.customer.ID)[0]; !cmp.Equal(got[1:], []any{"paid", int64(2000), int64(2000)}) {
		t.Errorf("the last invoice is %v", got)
	}
}

// What was used of a metered price that is taken away is billed in the mode flexible,
// which is the default, and not in classic.
func TestMetered_TakenAway(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]int64{"classic": 0, "flexible": 1, "": 1} {
		b := setup(t, simulator.Options{})
		s := b.stock(t)
		params := &stripe.CheckoutSessionCreateParams{
			Mode: stripe.String("subscription"), SuccessURL: stripe.String("https://example.com"), Customer: &s.customer.ID,
			LineItems: []*stripe.CheckoutSessionCreateLineItemParams{{Price: &s.metered.ID}},
		}
		if mode != "" {
			params.SubscriptionData = &stripe.CheckoutSessionCreateSubscriptionDataParams{
				BillingMode: &stripe.CheckoutSessionCreateSubscriptionDataBillingModeParams{Type: &mode},
			}
		}
		session := must[*stripe.CheckoutSession](t)(b.client.V1CheckoutSessions.Create(t.Context(), params))
		if err := b.Pay(session.ID); err != nil {
			t.Fatal(err)
		}
		session = must[*stripe.CheckoutSession](t)(b.client.V1CheckoutSessions.Retrieve(t.Context(), session.ID, nil))
		sub := must[*stripe.Subscription](t)(b.client.V1Subscriptions.Retrieve(t.Context(), session.Subscription.ID, nil))
		must[*stripe.BillingMeterEvent](t)(b.client.V1BillingMeterEvents.Create(t.Context(), &stripe.BillingMeterEventCreateParams{
			EventName: stripe.String("nanobanana_credits"), Timestamp: stripe.Int64(began.Unix()),
			Payload: map[string]string{"stripe_customer_id": s.customer.ID, "value": "100"},
		}))
		b.Advance(oneDay)
		must[*stripe.Subscription](t)(b.client.V1Subscriptions.Update(t.Context(), sub.ID, &stripe.SubscriptionUpdateParams{
			Items: []*stripe.SubscriptionUpdateItemParams{{ID: &sub.Items.Data[0].ID, Price: &s.hobby.ID}}, ProrationBehavior: stripe.String("none"),
		}))
		preview := must[*stripe.Invoice](t)(b.client.V1Invoices.CreatePreview(t.Context(), &stripe.InvoiceCreatePreviewParams{Subscription: &sub.ID}))
		used := int64(0)
		for _, l := range preview.Lines.Data {
			if l.Quantity == 100 {
				used++
			}
		}
		if used != want {
			t.Errorf("%q: %d lines of use on the next invoice, want %d", mode, used, want)
		}
	}
}
