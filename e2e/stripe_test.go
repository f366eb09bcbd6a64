package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85"

	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/billing/simulator"
)

// stripeMock is Stripe's own test server, which checks requests against Stripe's
// OpenAPI specification and keeps nothing.
const stripeMock = "github.com/stripe/stripe-mock@v0.203.0"

// startStripeMock builds and runs it, and returns its address.
func startStripeMock(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	install := exec.CommandContext(t.Context(), "go", "install", stripeMock)
	install.Env = append(install.Environ(), "GOBIN="+bin, "GOFLAGS=-mod=mod")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("install: %v\n%s", err, out)
	}
	addr := freeAddr(t)
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "stripe-mock"), "-http-addr", addr, "-https-addr", freeAddr(t))
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { defer close(exited); _ = cmd.Wait() }() // the test's context kills it
	t.Cleanup(func() { <-exited })
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
		if err == nil {
			_ = conn.Close()
			return "http://" + addr
		}
		select {
		case <-exited:
			t.Fatalf("stripe-mock ended:\n%s", log.Bytes())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("stripe-mock is not ready: %v", err)
		}
	}
}

// freeAddr is an address that nothing listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// replay sends a request of a journal to another server, and returns its status and
// what it said.
func replay(t *testing.T, server string, r simulator.Request) (status int, said string) {
	t.Helper()
	target := server + r.Path
	if r.Query != "" {
		target += "?" + r.Query
	}
	req, err := http.NewRequestWithContext(t.Context(), r.Method, target, strings.NewReader(r.Body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer sk_test_replayed")
	req.Header.Set("Stripe-Version", r.Version)
	req.Header.Set("Idempotency-Key", r.IdempotencyKey)
	if r.Method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 2000))
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// TestStripe has the service's client go through all that it does with Stripe at the
// simulator, and Stripe's own server judge every request of it that the simulator took.
func TestStripe(t *testing.T) {
	t.Parallel()
	sim, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	spec := stripeSpecification(t)
	server := httptest.NewServer(judged(t, sim, spec))
	t.Cleanup(server.Close)
	sell(t, sim, billing.New(billing.Options{APIKey: simulator.DefaultAPIKey, WebhookSecret: "whsec_x", URL: server.URL}))
	reach(t, sim, server.URL)

	mock := startStripeMock(t)
	if status, said := replay(t, mock, simulator.Request{Method: "POST", Path: "/v1/checkout/sessions", Body: "mode=gift"}); status != 400 {
		t.Fatalf("stripe-mock takes what is wrong: %d %s", status, said)
	}
	calls := map[string]int{}
	for _, r := range sim.Journal() {
		if r.Status < 200 || r.Status > 299 {
			t.Errorf("the simulator refused %s %s %s: %d", r.Method, r.Path, r.Body, r.Status)
			continue
		}
		if status, said := replay(t, mock, r); status < 200 || status > 299 {
			t.Errorf("%s %s?%s %s: %d %s", r.Method, r.Path, r.Query, r.Body, status, said)
		}
		calls[r.Method+" "+kindOf(r.Path)]++
	}
	for name, r := range ofTheService(t) {
		if status, said := replay(t, mock, r); status < 200 || status > 299 {
			t.Errorf("of the service: %s: %d %s", name, status, said)
		}
	}
	if len(calls) < 30 {
		t.Errorf("only %d calls were judged: %v", len(calls), calls)
	}
	t.Logf("%d requests, %d calls", len(sim.Journal()), len(calls))
}

// ofTheService are the requests of the API and the worker in their own test, which keeps
// them.
func ofTheService(t *testing.T) map[string]simulator.Request {
	t.Helper()
	text, err := os.ReadFile("../api/testdata/stripe_journal.json")
	if err != nil {
		t.Fatal(err)
	}
	var requests map[string]simulator.Request
	if err := json.Unmarshal(text, &requests); err != nil || len(requests) < 15 {
		t.Fatalf("%d requests, %v", len(requests), err)
	}
	return requests
}

// judged has every answer of the simulator held to Stripe's specification.
func judged(t *testing.T, sim http.Handler, spec *specification) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		sim.ServeHTTP(answer, r)
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes()) // the client is in this process
		var value any
		if err := json.Unmarshal(answer.Body.Bytes(), &value); err != nil {
			t.Error(err)
		}
		is, ok := spec.answer(r.Method, r.URL.Path)
		if !ok || answer.Code != http.StatusOK {
			t.Errorf("%s %s was answered %d; in the specification: %t", r.Method, r.URL.Path, answer.Code, ok)
		}
		for _, fault := range spec.faults(is, value, "answer") {
			t.Errorf("%s %s: %s", r.Method, kindOf(r.URL.Path), fault)
		}
	})
}

// kindOf is a path with its ids taken out.
func kindOf(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if strings.ContainsAny(part, "0123456789") && part != "v1" {
			parts[i] = "{id}"
		}
	}
	return strings.Join(parts, "/")
}

// check is a value that came without an error.
func check[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// sell goes through what the service does: plans are set up, one is subscribed to,
// paid, changed and left, use is reported, credits are bought and given back.
func sell(t *testing.T, sim *simulator.Simulator, c *billing.Client) {
	t.Helper()
	ctx := t.Context()
	check[[]string](t)(c.EnsureCatalogue(ctx, billing.Catalogue{CreditMicros: billing.CreditMicros, Plans: []billing.Sale{
		{Plan: "hobby", Title: "Hobby", PriceMicros: 9_000_000}, {Plan: "pro", Title: "Pro", PriceMicros: 29_000_000},
		{Plan: "pay_as_you_go", Title: "Pay as you go", Metered: true, CreditMicros: 20_000},
	}}))
	customer := check[string](t)(c.CreateCustomer(ctx, "org_1", "Acme", ""))
	pay := func(asked billing.Checkout) *billing.CheckoutSession {
		t.Helper()
		asked.OrgID, asked.Customer, asked.SuccessURL, asked.CancelURL = "org_1", customer, "https://example.com/ok", "https://example.com/no"
		session := check[*billing.CheckoutSession](t)(c.Checkout(ctx, asked))
		if err := sim.Pay(session.ID); err != nil {
			t.Fatal(err)
		}
		return check[*billing.CheckoutSession](t)(c.CheckoutSession(ctx, session.ID))
	}
	sub := check[*billing.Subscription](t)(c.Subscription(ctx, pay(billing.Checkout{Plan: "hobby", Key: "1"}).Subscription))
	plan, less, yes, no := "pro", "hobby", true, false
	for _, change := range []billing.SubscriptionChange{
		{Plan: &plan, Paid: "hobby", Priced: "hobby", Key: "2"}, {CancelAtPeriodEnd: &yes, Key: "3"}, {CancelAtPeriodEnd: &no, Key: "4"},
		{Plan: &less, Paid: "pro", Priced: "pro", Waits: true, Key: "2b"},
	} {
		if err := c.ChangeSubscription(ctx, sub.ID, change); err != nil {
			t.Fatal(err)
		}
	}
	check[string](t)(c.Portal(ctx, customer, "https://example.com/back", "5"))
	sim.FailNextPayment(customer)
	sim.Advance(32 * 24 * time.Hour)
	sub = check[*billing.Subscription](t)(c.Subscription(ctx, sub.ID))
	if sub.Status != billing.StatusPastDue {
		t.Errorf("after a payment that failed the subscription is %s", sub.Status)
	}
	check[*billing.Subscription](t)(c.CancelSubscription(ctx, sub.ID, true))

	pay(billing.Checkout{Plan: "pay_as_you_go", Metered: true, Key: "6"})
	if err := c.MeterEvent(ctx, billing.MeterEvent{Identifier: "use_1", Customer: customer, Credits: 7, At: sim.Now()}); err != nil {
		t.Fatal(err)
	}
	bought := pay(billing.Checkout{Credits: 500, Key: "7"})
	check[string](t)(c.Refund(ctx, billing.Refund{ID: "rfd_8", PaymentIntent: bought.PaymentIntent, Amount: 400, Reason: "mistake", Actor: "operator"}))
	check[[]*billing.Invoice](t)(c.Invoices(ctx, customer, 3))
	check[*billing.Invoice](t)(c.Invoice(ctx, sub.LatestInvoice))
	if p := check[*billing.Payment](t)(c.Payment(ctx, bought.PaymentIntent)); p.Refunded != 400 || p.Credits != 500 {
		t.Errorf("the payment is %+v", p)
	}
}

// reach makes the calls of Stripe's that the simulator has and the service makes no use
// of yet, with Stripe's own client.
func reach(t *testing.T, sim *simulator.Simulator, url string) {
	t.Helper()
	ctx := t.Context()
	c := stripe.NewClient(simulator.DefaultAPIKey, stripe.WithBackends(stripe.NewBackendsWithConfig(&stripe.BackendConfig{URL: &url})))
	customer := check[*stripe.Customer](t)(c.V1Customers.Create(ctx, &stripe.CustomerCreateParams{
		Email: stripe.String("b@example.com"), Metadata: map[string]string{"org": "org_2"}, Address: &stripe.AddressParams{Country: stripe.String("CH")},
	}))
	check[*stripe.Customer](t)(c.V1Customers.Update(ctx, customer.ID, &stripe.CustomerUpdateParams{Name: stripe.String("B")}))
	check[*stripe.Customer](t)(c.V1Customers.Retrieve(ctx, customer.ID, nil))
	price := check[*stripe.Price](t)(c.V1Prices.Create(ctx, &stripe.PriceCreateParams{
		Currency: stripe.String("usd"), UnitAmount: stripe.Int64(1200), LookupKey: stripe.String("other"), TransferLookupKey: stripe.Bool(true),
		ProductData: &stripe.PriceCreateProductDataParams{Name: stripe.String("Other")},
		Recurring:   &stripe.PriceCreateRecurringParams{Interval: stripe.String("month")},
	}))
	check[*stripe.Price](t)(c.V1Prices.Retrieve(ctx, price.ID, nil))
	check[*stripe.Price](t)(c.V1Prices.Update(ctx, price.ID, &stripe.PriceUpdateParams{Nickname: stripe.String("n")}))
	check[*stripe.Product](t)(c.V1Products.Retrieve(ctx, price.Product.ID, nil))
	session := func() *stripe.CheckoutSession {
		t.Helper()
		return check[*stripe.CheckoutSession](t)(c.V1CheckoutSessions.Create(ctx, &stripe.CheckoutSessionCreateParams{
			Mode: stripe.String("subscription"), Customer: &customer.ID, SuccessURL: stripe.String("https://example.com"), AllowPromotionCodes: stripe.Bool(false),
			LineItems:        []*stripe.CheckoutSessionCreateLineItemParams{{Price: &price.ID, Quantity: stripe.Int64(2)}},
			SubscriptionData: &stripe.CheckoutSessionCreateSubscriptionDataParams{Description: stripe.String("d"), Metadata: map[string]string{"a": "b"}},
		}))
	}
	check[*stripe.CheckoutSession](t)(c.V1CheckoutSessions.Expire(ctx, session().ID, nil))
	open := session()
	if err := sim.Pay(open.ID); err != nil {
		t.Fatal(err)
	}
	expand := &stripe.CheckoutSessionRetrieveParams{}
	expand.AddExpand("subscription")
	expand.AddExpand("line_items")
	sub := check[*stripe.CheckoutSession](t)(c.V1CheckoutSessions.Retrieve(ctx, open.ID, expand)).Subscription
	items := []*stripe.SubscriptionUpdateItemParams{{ID: &sub.Items.Data[0].ID, Quantity: stripe.Int64(3)}}
	check[*stripe.Subscription](t)(c.V1Subscriptions.Update(ctx, sub.ID, &stripe.SubscriptionUpdateParams{
		Items: items, ProrationBehavior: stripe.String("always_invoice"), PaymentBehavior: stripe.String("error_if_incomplete"),
	}))
	check[*stripe.Invoice](t)(c.V1Invoices.CreatePreview(ctx, &stripe.InvoiceCreatePreviewParams{
		Subscription: &sub.ID, SubscriptionDetails: &stripe.InvoiceCreatePreviewSubscriptionDetailsParams{
			Items:             []*stripe.InvoiceCreatePreviewSubscriptionDetailsItemParams{{ID: &sub.Items.Data[0].ID, Quantity: stripe.Int64(1)}},
			ProrationBehavior: stripe.String("create_prorations"),
		},
	}))
	sim.FailNextPayment(customer.ID)
	sim.Advance(32 * 24 * time.Hour)
	var due *stripe.Invoice
	for inv, err := range c.V1Invoices.List(ctx, &stripe.InvoiceListParams{Customer: &customer.ID, Status: stripe.String("open")}).All(ctx) {
		due = check[*stripe.Invoice](t)(inv, err)
	}
	due = check[*stripe.Invoice](t)(c.V1Invoices.Pay(ctx, due.ID, nil))
	with := &stripe.InvoiceRetrieveParams{}
	with.AddExpand("payments.data.payment.payment_intent")
	due = check[*stripe.Invoice](t)(c.V1Invoices.Retrieve(ctx, due.ID, with))
	intent := due.Payments.Data[0].Payment.PaymentIntent
	refund := check[*stripe.Refund](t)(c.V1Refunds.Create(ctx, &stripe.RefundCreateParams{Charge: &intent.LatestCharge.ID, Reason: stripe.String("duplicate")}))
	check[*stripe.Refund](t)(c.V1Refunds.Retrieve(ctx, refund.ID, nil))
	endpoint := check[*stripe.WebhookEndpoint](t)(c.V1WebhookEndpoints.Create(ctx, &stripe.WebhookEndpointCreateParams{
		URL: stripe.String("https://example.com/hook"), EnabledEvents: []*string{stripe.String("invoice.paid")}, APIVersion: stripe.String(stripe.APIVersion),
	}))
	check[*stripe.WebhookEndpoint](t)(c.V1WebhookEndpoints.Delete(ctx, endpoint.ID, nil))
	cancel := &stripe.SubscriptionCancelParams{InvoiceNow: stripe.Bool(true), Prorate: stripe.Bool(true)}
	check[*stripe.Subscription](t)(c.V1Subscriptions.Cancel(ctx, sub.ID, cancel))
	lists(ctx, t, c)
}

// lists asks for the first page of everything.
func lists(ctx context.Context, t *testing.T, c *stripe.Client) {
	t.Helper()
	first := stripe.ListParams{Limit: stripe.Int64(3)}
	var errs []error
	for _, err := range c.V1Customers.List(ctx, &stripe.CustomerListParams{ListParams: first, Email: stripe.String("b@example.com")}).All(ctx) {
		errs = append(errs, err)
	}
	for _, err := range c.V1Subscriptions.List(ctx, &stripe.SubscriptionListParams{Status: stripe.String("all")}).All(ctx) {
		errs = append(errs, err)
	}
	for _, err := range c.V1Events.List(ctx, &stripe.EventListParams{Types: []*string{stripe.String("invoice.paid")}}).All(ctx) {
		errs = append(errs, err)
	}
	for _, err := range c.V1WebhookEndpoints.List(ctx, &stripe.WebhookEndpointListParams{}).All(ctx) {
		errs = append(errs, err)
	}
	for _, err := range c.V1BillingMeters.List(ctx, &stripe.BillingMeterListParams{Status: stripe.String("active")}).All(ctx) {
		errs = append(errs, err)
	}
	for _, err := range c.V1Charges.List(ctx, &stripe.ChargeListParams{}).All(ctx) {
		errs = append(errs, err)
	}
	for i, err := range errs {
		if err != nil {
			t.Error(fmt.Errorf("list, object %d: %w", i, err))
		}
	}
}
