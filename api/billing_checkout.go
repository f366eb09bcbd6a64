package api

import (
	"context"
	"errors"
	"time"

	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// checkoutPage is a page on which a customer pays.
type checkoutPage struct {
	ID        string    `json:"id" doc:"Stripe's"`
	Object    string    `json:"object" enum:"checkout_session"`
	URL       string    `json:"url" doc:"Send the customer's browser there; what they have paid for is there when Stripe has told of it, seconds later"`
	Plan      *string   `json:"plan" doc:"That is subscribed to"`
	Credits   *int      `json:"credits" doc:"That are bought"`
	ExpiresAt time.Time `json:"expires_at"`
}

type createCheckoutBody struct {
	Plan       string `json:"plan" required:"true" maxLength:"100" example:"pro"`
	SuccessURL string `json:"success_url,omitempty" doc:"Where the customer goes once they have paid: https; default this service" example:"https://example.com/thanks"`
	CancelURL  string `json:"cancel_url,omitempty" doc:"Where they go if they do not"`
}

type createCheckoutInput struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"1 to 255 visible ASCII characters. A second request with the same key gets the first one's page, for a day."`
	Body           createCheckoutBody
}

// createCheckout makes the page of a subscription.
func (s *server) createCheckout(ctx context.Context, in *createCheckoutInput) (*created[checkoutPage], error) {
	asked := &in.Body
	plan, err := s.salePlan(ctx, asked.Plan)
	if err != nil {
		return nil, err
	}
	if err := s.pageAddresses(ctx, map[string]*string{"success_url": &asked.SuccessURL, "cancel_url": &asked.CancelURL}); err != nil {
		return nil, err
	}
	return s.checkout(ctx, billing.Checkout{Plan: plan.Name, Metered: plan.Metered, SuccessURL: asked.SuccessURL, CancelURL: asked.CancelURL})
}

type buyCreditsBody struct {
	Credits    int    `json:"credits" required:"true" minimum:"25" maximum:"1000000" doc:"Stripe takes no payments below half a dollar, which are 25" example:"500"`
	SuccessURL string `json:"success_url,omitempty" doc:"Where the customer goes once they have paid: https; default this service"`
	CancelURL  string `json:"cancel_url,omitempty" doc:"Where they go if they do not"`
}

type buyCreditsInput struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"1 to 255 visible ASCII characters. A second request with the same key gets the first one's page, for a day."`
	Body           buyCreditsBody
}

// buyCredits makes the page of a purchase of credits.
func (s *server) buyCredits(ctx context.Context, in *buyCreditsInput) (*created[checkoutPage], error) {
	asked := &in.Body
	if err := s.pageAddresses(ctx, map[string]*string{"success_url": &asked.SuccessURL, "cancel_url": &asked.CancelURL}); err != nil {
		return nil, err
	}
	return s.checkout(ctx, billing.Checkout{Credits: asked.Credits, SuccessURL: asked.SuccessURL, CancelURL: asked.CancelURL})
}

func (s *server) checkout(ctx context.Context, asked billing.Checkout) (*created[checkoutPage], error) {
	if err := s.checkBilling(); err != nil {
		return nil, err
	}
	var err error
	if asked.Key, err = askKey(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, billingTimeout)
	defer cancel()
	var page *billing.CheckoutSession
	err = s.asCustomer(ctx, func(sub *store.Subscription) (err error) {
		if asked.Plan != "" {
			if err := s.checkSubscribing(ctx, sub); err != nil {
				return err
			}
		}
		asked.OrgID, asked.Customer = sub.OrgID, sub.Customer
		if page, err = s.opts.Billing.Checkout(ctx, asked); err != nil || asked.Plan == "" {
			return err
		}
		return s.opts.Billing.ExpireOlder(ctx, page)
	})
	if err != nil {
		return nil, err
	}
	shown := checkoutPage{ID: page.ID, Object: "checkout_session", URL: page.URL, ExpiresAt: page.ExpiresAt}
	if asked.Plan != "" {
		shown.Plan = &asked.Plan
	} else {
		shown.Credits = &asked.Credits
	}
	err = s.db.Transact(ctx, func(tx *store.DB) error {
		if err := tx.SaveCheckout(ctx, page.ID, asked.OrgID); err != nil {
			return err
		}
		return s.record(ctx, tx, change{
			Action: "billing.checkout", Kind: "checkout_session", ID: page.ID, After: map[string]any{"plan": shown.Plan, "credits": shown.Credits},
		})
	})
	if err != nil {
		return nil, err
	}
	return &created[checkoutPage]{Location: page.URL, CacheControl: noStore, Body: shown}, nil
}

// checkSubscribing refuses a subscription to whoever has one, or has left one unpaid.
func (s *server) checkSubscribing(ctx context.Context, sub *store.Subscription) error {
	if sub.Live() {
		return refuse("subscription_exists", "")
	}
	open, err := s.db.OpenInvoices(ctx, sub.OrgID)
	if err != nil {
		return err
	}
	for _, id := range open {
		_, _, err := jobs.SyncInvoice(ctx, s.db, s.opts.Billing, id, s.opts.Now())
		if errors.Is(err, billing.ErrNotFound) {
			continue // nobody can pay it
		}
		if err != nil {
			return err
		}
		in, err := s.db.Invoice(ctx, sub.OrgID, id)
		if err != nil {
			return err
		}
		if in.Status == "open" && in.AmountDue > in.AmountPaid {
			return refuse("billing_refused", "The invoice %s is not paid. It is to be before another subscription; POST /v1/billing/portal opens where that is done.", id)
		}
	}
	return nil
}

// portalPage is a page on which a customer manages how they pay.
type portalPage struct {
	Object string `json:"object" enum:"portal_session"`
	URL    string `json:"url" doc:"Send the customer's browser there, within minutes"`
}

type createPortalBody struct {
	ReturnURL string `json:"return_url,omitempty" doc:"Where the customer goes from there: https; default this service"`
}

type createPortalInput struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"1 to 255 visible ASCII characters. A second request with the same key gets the first one's page, for a day."`
	Body           *createPortalBody
}

func (s *server) createPortal(ctx context.Context, in *createPortalInput) (*created[portalPage], error) {
	var asked createPortalBody
	if in.Body != nil {
		asked = *in.Body
	}
	if err := s.pageAddresses(ctx, map[string]*string{"return_url": &asked.ReturnURL}); err != nil {
		return nil, err
	}
	if err := s.checkBilling(); err != nil {
		return nil, err
	}
	key, err := askKey(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, billingTimeout)
	defer cancel()
	var address string
	err = s.asCustomer(ctx, func(sub *store.Subscription) (err error) {
		address, err = s.opts.Billing.Portal(ctx, sub.Customer, asked.ReturnURL, sub.OrgID+":"+key)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &created[portalPage]{Location: address, CacheControl: noStore, Body: portalPage{Object: "portal_session", URL: address}}, nil
}
