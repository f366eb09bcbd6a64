package simulator_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v85"

	"github.com/nanobanana/nanobanana/billing/simulator"
)

// visit fetches a page, or presses a button on it; to is where it leads.
func visit(t *testing.T, method, page string, form url.Values) (status int, to, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, page, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Location"), string(body)
}

func TestCheckoutPage(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	s := b.stock(t)
	session := b.checkout(t, s.customer.ID, s.pro, 1)
	if !strings.HasPrefix(session.URL, b.server.URL+"/checkout/") {
		t.Fatalf("the page is at %s", session.URL)
	}
	status, _, page := visit(t, http.MethodGet, session.URL, nil)
	if status != 200 || !strings.Contains(page, "Pay $29.00") || !strings.Contains(page, "/decline") {
		t.Errorf("the page was answered %d:\n%s", status, page)
	}
	status, _, page = visit(t, http.MethodPost, session.URL+"/decline", nil)
	if status != 402 || !strings.Contains(page, "Your card was declined.") {
		t.Errorf("a declined card was answered %d:\n%s", status, page)
	}
	open := must[*stripe.CheckoutSession](t)(b.client.V1CheckoutSessions.Retrieve(t.Context(), session.ID, nil))
	if diff := cmp.Diff([]any{stripe.CheckoutSessionStatusOpen, stripe.CheckoutSessionPaymentStatusUnpaid}, []any{open.Status, open.PaymentStatus}); diff != "" {
		t.Errorf("after the decline it differs (-want +got):\n%s", diff)
	}
	status, to, _ := visit(t, http.MethodPost, session.URL+"/pay", nil)
	if want := "https://example.com/done?s=" + session.ID; status != 303 || to != want {
		t.Errorf("paying led (%d) to %q, want %q", status, to, want)
	}
	params := &stripe.CheckoutSessionRetrieveParams{}
	params.AddExpand("subscription")
	params.AddExpand("line_items")
	paid := must[*stripe.CheckoutSession](t)(b.client.V1CheckoutSessions.Retrieve(t.Context(), session.ID, params))
	got := []any{paid.Status, paid.PaymentStatus, paid.URL, paid.Subscription.Status, paid.LineItems.Data[0].Price.ID, paid.AmountTotal}
	want := []any{stripe.CheckoutSessionStatusComplete, stripe.CheckoutSessionPaymentStatusPaid, "", stripe.SubscriptionStatusActive, s.pro.ID, int64(2900)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paid it differs (-want +got):\n%s", diff)
	}
	if status, _, _ = visit(t, http.MethodPost, session.URL+"/pay", nil); status != 400 {
		t.Errorf("paying twice was answered %d", status)
	}
	for _, path := range []string{"/", "/checkout/cs_x", "/checkout/" + session.ID + "/pay/more", "/elsewhere/" + session.ID} {
		if status, _, _ := visit(t, http.MethodGet, b.server.URL+path, nil); status != 404 {
			t.Errorf("%s was answered %d", path, status)
		}
	}
}

func TestCheckoutOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	s := b.stock(t)
	session := must[*stripe.CheckoutSession](t)(b.client.V1CheckoutSessions.Create(t.Context(), &stripe.CheckoutSessionCreateParams{
		Mode: stripe.String("payment"), Customer: &s.customer.ID, SuccessURL: stripe.String("https://example.com/"), ClientReferenceID: stripe.String("org_1"),
		LineItems:         []*stripe.CheckoutSessionCreateLineItemParams{{Price: &s.credits.ID, Quantity: stripe.Int64(500)}},
		PaymentIntentData: &stripe.CheckoutSessionCreatePaymentIntentDataParams{Metadata: map[string]string{"credits": "500"}},
		InvoiceCreation:   &stripe.CheckoutSessionCreateInvoiceCreationParams{Enabled: stripe.Bool(true)},
	}))
	if session.AmountTotal != 1000 {
		t.Errorf("500 credits cost %d, want 1000", session.AmountTotal)
	}
	b.FailNextPayment(s.customer.ID)
	if err := b.Pay(session.ID); err == nil {
		t.Error("a payment that was to fail went through")
	}
	if err := b.Pay(session.ID); err != nil {
		t.Fatal(err)
	}
	params := &stripe.CheckoutSessionRetrieveParams{}
	params.AddExpand("payment_intent.latest_charge")
	params.AddExpand("invoice")
	paid := must[*stripe.CheckoutSession](t)(b.client.V1CheckoutSessions.Retrieve(t.Context(), session.ID, params))
	p := paid.PaymentIntent
	got := []any{p.Status, p.AmountReceived, p.Metadata["credits"], p.LatestCharge.Paid, paid.Invoice.Status, paid.Invoice.AmountPaid}
	want := []any{stripe.PaymentIntentStatusSucceeded, int64(1000), "500", true, stripe.InvoiceStatusPaid, int64(1000)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("payment differs (-want +got):\n%s", diff)
	}

	refund := func(amount int64) (*stripe.Refund, error) {
		return b.client.V1Refunds.Create(t.Context(), &stripe.RefundCreateParams{PaymentIntent: &p.ID, Amount: &amount})
	}
	must[*stripe.Refund](t)(refund(400))
	if _, err := refund(601); err == nil {
		t.Error("more than was left was refunded")
	}
	must[*stripe.Refund](t)(refund(600))
	_, err := refund(1)
	if refused := new(stripe.Error); !errors.As(err, &refused) || refused.Code != stripe.ErrorCodeChargeAlreadyRefunded {
		t.Errorf("after all was refunded: %v", err)
	}
	expand := &stripe.ChargeRetrieveParams{}
	expand.AddExpand("refunds")
	charge := must[*stripe.Charge](t)(b.client.V1Charges.Retrieve(t.Context(), p.LatestCharge.ID, expand))
	if !charge.Refunded || charge.AmountRefunded != 1000 || len(charge.Refunds.Data) != 2 {
		t.Errorf("the charge has %d refunded in %d refunds", charge.AmountRefunded, len(charge.Refunds.Data))
	}
	b.idle(t)
	types := strings.Join(b.receiver.types(), " ")
	for _, want := range []string{"payment_intent.payment_failed", "checkout.session.completed", "charge.refunded refund.created"} {
		if !strings.Contains(types, want) {
			t.Errorf("no %s came: %s", want, types)
		}
	}
}

func TestCheckoutExpires(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	s := b.stock(t)
	first, second := b.checkout(t, s.customer.ID, s.pro, 1), b.checkout(t, s.customer.ID, s.pro, 1)
	must[*stripe.CheckoutSession](t)(b.client.V1CheckoutSessions.Expire(t.Context(), first.ID, nil))
	b.Advance(oneDay)
	for _, id := range []string{first.ID, second.ID} {
		got := must[*stripe.CheckoutSession](t)(b.client.V1CheckoutSessions.Retrieve(t.Context(), id, nil))
		if got.Status != stripe.CheckoutSessionStatusExpired || b.Pay(id) == nil || b.Decline(id) == nil {
			t.Errorf("%s is %s, or was paid", id, got.Status)
		}
	}
	if _, err := b.client.V1CheckoutSessions.Expire(t.Context(), first.ID, nil); err == nil {
		t.Error("it expired twice")
	}
}

func TestPortalPage(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{BaseURL: "http://stripe.example/"})
	s := b.stock(t)
	sub := b.subscribe(t, s, s.hobby)
	portal := must[*stripe.BillingPortalSession](t)(b.client.V1BillingPortalSessions.Create(t.Context(), &stripe.BillingPortalSessionCreateParams{
		Customer: &s.customer.ID, ReturnURL: stripe.String("https://example.com/back"),
	}))
	path, ours := strings.CutPrefix(portal.URL, "http://stripe.example")
	if !ours {
		t.Fatalf("the portal is at %s", portal.URL)
	}
	page := b.server.URL + path
	press := func(button string, form url.Values) *stripe.Subscription {
		t.Helper()
		if status, to, text := visit(t, http.MethodPost, page+"/"+button, form); status != 303 || to != path {
			t.Errorf("%s led (%d) to %q:\n%s", button, status, to, text)
		}
		return b.subscription(t, sub.ID)
	}
	if _, _, text := visit(t, http.MethodGet, page, nil); !strings.Contains(text, "https://example.com/back") || !strings.Contains(text, "/cancel") {
		t.Errorf("the portal shows:\n%s", text)
	}
	if !press("cancel", nil).CancelAtPeriodEnd {
		t.Error("cancel does nothing")
	}
	if press("resume", nil).CancelAtPeriodEnd {
		t.Error("resume does nothing")
	}
	if got := press("plan", url.Values{"price": {s.pro.ID}}).Items.Data[0].Price.ID; got != s.pro.ID {
		t.Errorf("change plan left the price %s", got)
	}
	for _, form := range []url.Values{{"price": {"price_x"}}, {"price": {s.credits.ID}}} {
		if status, _, _ := visit(t, http.MethodPost, page+"/plan", form); status != 400 {
			t.Errorf("a plan of %v was answered %d", form, status)
		}
	}
	b.SetCard(s.customer.ID, false)
	b.Advance(31*oneDay + hour)
	due := b.subscription(t, sub.ID).LatestInvoice
	hosted := b.server.URL + strings.TrimPrefix(due.HostedInvoiceURL, "http://stripe.example")
	if status, _, text := visit(t, http.MethodPost, hosted+"/pay", nil); status != 402 || !strings.Contains(text, "declined") {
		t.Errorf("a bad card was answered %d", status)
	}
	b.SetCard(s.customer.ID, true)
	if status, _, _ := visit(t, http.MethodPost, hosted+"/pay", nil); status != 303 {
		t.Errorf("paying the invoice was answered %d", status)
	}
	b.wantStatus(t, sub.ID, stripe.SubscriptionStatusActive, month2)
}
