package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/store"
)

// billing is what asks Stripe, as configured.
func (c *config) billing() *billing.Client {
	return billing.New(billing.Options{APIKey: c.StripeAPIKey, WebhookSecret: c.StripeWebhookSecret, URL: strings.TrimSuffix(c.StripeURL, "/")})
}

// billingCmd sets up what is sold.
type billingCmd struct {
	Setup billingSetupCmd `cmd:"" help:"Make the products, prices and the meter of all plans at Stripe, where they are missing."`
}

type billingSetupCmd struct{}

// errNoStripe says how to configure Stripe.
var errNoStripe = &exitError{status: 2, err: errors.New("STRIPE_API_KEY is not set; set it to a key of your Stripe account, sk_test_... to try")}

// Run prints what it made, and what is left to do. It may be run any number of times.
func (c *billingSetupCmd) Run(ctx context.Context, cfg *config, con *console) error {
	client := cfg.billing()
	if !client.On() {
		return errNoStripe
	}
	db, err := openStoreOrDev(ctx, cfg, "billing")
	if err != nil {
		return err
	}
	defer db.Close()
	made, err := setupBilling(ctx, db, client)
	for _, what := range made {
		_, _ = fmt.Fprintln(con.out, "made", what)
	}
	if err != nil {
		return err
	}
	if len(made) == 0 {
		_, _ = fmt.Fprintln(con.out, "everything is there")
	}
	base := strings.TrimSuffix(cfg.BaseURL, "/")
	if base == "" {
		base = "https://YOUR-HOST"
	}
	_, _ = fmt.Fprintf(con.out, `
In Stripe's dashboard, add a webhook endpoint
  %s/v1/billing/stripe/webhook
for the events customer.subscription.*, invoice.*, checkout.session.*, charge.refunded and refund.*,
set STRIPE_WEBHOOK_SECRET to its signing secret for api and worker processes,
and switch the customer portal on.
`, base)
	return nil
}

// setupBilling makes what Stripe does not have of the plans that are sold.
func setupBilling(ctx context.Context, db *store.DB, client *billing.Client) (made []string, err error) {
	plans, err := db.Plans(ctx)
	if err != nil {
		return nil, err
	}
	want := billing.Catalogue{CreditMicros: billing.CreditMicros}
	for _, p := range plans {
		if p.Offered && (p.PriceMicros > 0 || p.Metered && p.CreditMicros > 0) {
			want.Plans = append(want.Plans, billing.Sale{
				Plan: p.Name, Title: p.Title, PriceMicros: p.PriceMicros, Metered: p.Metered, CreditMicros: int64(p.CreditMicros),
			})
		}
	}
	return client.EnsureCatalogue(ctx, want)
}
