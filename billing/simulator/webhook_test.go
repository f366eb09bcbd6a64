package simulator_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v85"

	"github.com/nanobanana/nanobanana/billing/simulator"
)

// touch makes and changes a customer: two events.
func (b *bench) touch(t *testing.T) *stripe.Customer {
	t.Helper()
	c := must[*stripe.Customer](t)(b.client.V1Customers.Create(t.Context(), &stripe.CustomerCreateParams{Name: stripe.String("a")}))
	return must[*stripe.Customer](t)(b.client.V1Customers.Update(t.Context(), c.ID, &stripe.CustomerUpdateParams{Name: stripe.String("b")}))
}

const made, changed = "customer.created", "customer.updated"

func TestWebhook(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	c := b.touch(t)
	b.idle(t)
	e := b.receiver.events[1]
	got := []any{string(e.Type), e.APIVersion, e.Created, e.Data.PreviousAttributes, e.Data.Object["id"], e.Data.Object["name"], e.Request.ID != ""}
	want := []any{changed, simulator.APIVersion, began.Unix(), map[string]any{"name": "a"}, c.ID, "b", true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("event differs (-want +got):\n%s", diff)
	}
	kept := must[*stripe.Event](t)(b.client.V1Events.Retrieve(t.Context(), e.ID, nil))
	if diff := cmp.Diff([]any{e.ID, e.Type, int64(0)}, []any{kept.ID, kept.Type, kept.PendingWebhooks}); diff != "" {
		t.Errorf("the event that is kept differs (-want +got):\n%s", diff)
	}
	params := &stripe.EventListParams{Type: stripe.String("customer.*")}
	var listed []string
	for e, err := range b.client.V1Events.List(t.Context(), params).All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, string(e.Type))
	}
	if diff := cmp.Diff([]string{changed, made}, listed); diff != "" {
		t.Errorf("events differ (-want +got):\n%s", diff)
	}
}

func TestWebhookDisorder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		disorder simulator.Disorder
		refuse   int
		want     []string
	}{
		"Retry":             {refuse: 3, disorder: simulator.Disorder{Hold: true}, want: []string{made, changed}},
		"Duplicate":         {disorder: simulator.Disorder{Hold: true, Duplicate: true}, want: []string{made, made, changed, changed}},
		"Reverse":           {disorder: simulator.Disorder{Hold: true, Reverse: true}, want: []string{changed, made}},
		"ReverseDuplicates": {disorder: simulator.Disorder{Hold: true, Reverse: true, Duplicate: true}, want: []string{changed, changed, made, made}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, simulator.Options{Webhooks: c.disorder})
			b.receiver.refuse = c.refuse
			b.touch(t)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if err := b.Idle(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("held webhooks: %v, want them to wait", err)
			}
			if got := b.receiver.types(); got != nil {
				t.Errorf("held webhooks came: %v", got)
			}
			b.Release()
			b.idle(t)
			got := b.receiver.types()
			if c.refuse > 0 {
				slices.Sort(got) // which of them is sent again first is open
				slices.Sort(c.want)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("webhooks differ (-want +got):\n%s", diff)
			}
			b.SetWebhooks(simulator.Disorder{})
			b.touch(t)
			b.idle(t)
			if diff := cmp.Diff([]string{made, changed}, b.receiver.types()); diff != "" {
				t.Errorf("in order again they differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEndpoint(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{WebhookURL: "http://127.0.0.1:1/nobody"})
	b.SetWebhooks(simulator.Disorder{Hold: true}) // that of Options never takes any
	types := make(chan string, 10)
	mine := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		types <- r.Header.Get("Stripe-Signature")
	}))
	t.Cleanup(mine.Close)
	e := must[*stripe.WebhookEndpoint](t)(b.client.V1WebhookEndpoints.Create(t.Context(), &stripe.WebhookEndpointCreateParams{
		URL: &mine.URL, EnabledEvents: []*string{stripe.String(changed)}, APIVersion: stripe.String(simulator.APIVersion),
	}))
	if e.Secret == "" {
		t.Fatal("the new endpoint has no secret")
	}
	listed := must[*stripe.WebhookEndpoint](t)(b.client.V1WebhookEndpoints.Retrieve(t.Context(), e.ID, nil))
	if listed.Secret != "" || listed.URL != mine.URL {
		t.Errorf("the endpoint is told as %+v", listed)
	}
	b.touch(t)
	b.Release()
	select {
	case signature := <-types:
		if signature == "" {
			t.Error("the webhook is not signed")
		}
	case <-t.Context().Done():
		t.Fatal("no webhook came")
	}
	must[*stripe.WebhookEndpoint](t)(b.client.V1WebhookEndpoints.Delete(t.Context(), e.ID, nil))
	if _, err := b.client.V1WebhookEndpoints.Retrieve(t.Context(), e.ID, nil); err == nil {
		t.Error("the deleted endpoint is still there")
	}
	if len(types) != 0 {
		t.Error("the endpoint was sent an event that it does not want")
	}
}

// TestRestart has a second simulator go on where the first one was closed: with its
// customers, its clock, its idempotency keys, and the webhooks that were not delivered.
func TestRestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "stripe.json")
	first := setup(t, simulator.Options{File: file, Webhooks: simulator.Disorder{Hold: true}})
	s := first.stock(t)
	sub := first.subscribe(t, s, s.pro)
	first.Advance(31*oneDay + hour)
	key := &stripe.CustomerCreateParams{Name: stripe.String("b")}
	key.SetIdempotencyKey("one")
	once := must[*stripe.Customer](t)(first.client.V1Customers.Create(t.Context(), key))
	wantInvoices := first.invoices(t, s.customer.ID)
	first.Close()

	second := setup(t, simulator.Options{File: file})
	second.wantStatus(t, sub.ID, stripe.SubscriptionStatusActive, month2)
	second.wantInvoices(t, s.customer.ID, wantInvoices...)
	again := must[*stripe.Customer](t)(second.client.V1Customers.Create(t.Context(), key))
	if again.ID != once.ID {
		t.Errorf("the same key made %s, want %s", again.ID, once.ID)
	}
	second.idle(t)
	got := second.receiver.types()
	if len(got) < 20 || got[0] != "billing.meter.created" {
		t.Errorf("webhooks that waited: %v", got)
	}
	change := &stripe.SubscriptionUpdateParams{Items: []*stripe.SubscriptionUpdateItemParams{{ID: &sub.Items.Data[0].ID, Price: &s.pro.ID}}}
	must[*stripe.Subscription](t)(second.client.V1Subscriptions.Update(t.Context(), sub.ID, change))
	second.Advance(28*oneDay + hour)
	if got := second.invoices(t, s.customer.ID)[0]; !cmp.Equal(got, []any{"subscription_cycle", "paid", int64(2900), int64(2900)}) {
		t.Errorf("a change to the same price left the invoice %v", got)
	}
}

func TestDamagedFile(t *testing.T) {
	t.Parallel()
	if _, err := simulator.New(simulator.Options{File: t.TempDir()}); err == nil {
		t.Error("a directory was read as the state")
	}
}
