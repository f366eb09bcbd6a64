package billing

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/stripe/stripe-go/v85"
)

// A Checkout asks for a page on which a customer pays: for a subscription to Plan, or
// else for so many Credits.
type Checkout struct {
	OrgID      string
	Customer   string
	Plan       string
	Metered    bool // Plan is billed by what is used
	Credits    int
	SuccessURL string // where the customer goes from there
	CancelURL  string
	Key        string // names the request: another one with the same gets the same page
}

// A CheckoutSession is a page on which a customer pays, and what has come of it.
type CheckoutSession struct {
	ID            string
	URL           string // empty once it has ended
	Customer      string
	Subscription  string // that was begun, if it was for one
	PaymentIntent string // that paid, if it was for credits
	Invoice       string // of what was paid
	Credits       int
	Paid          bool
	ExpiresAt     time.Time

	created int64
}

// Checkout makes a page. It fails with ErrCatalogue without the price.
func (c *Client) Checkout(ctx context.Context, asked Checkout) (*CheckoutSession, error) {
	const doing = "make a checkout page"
	if !c.On() {
		return nil, off(doing)
	}
	lookup, quantity := PriceKey(asked.Plan), int64(1)
	if asked.Plan == "" {
		lookup, quantity = CreditsKey, int64(asked.Credits)
	}
	price, err := c.price(ctx, lookup)
	if err != nil {
		return nil, failed(doing, err)
	}
	item := &stripe.CheckoutSessionCreateLineItemParams{Price: &price.ID}
	if !asked.Metered {
		item.Quantity = &quantity
	}
	meta := map[string]string{metaOrg: asked.OrgID}
	params := &stripe.CheckoutSessionCreateParams{
		Params:            once("checkout:" + asked.OrgID + ":" + asked.Customer + ":" + asked.Key),
		Customer:          &asked.Customer,
		ClientReferenceID: &asked.OrgID,
		LineItems:         []*stripe.CheckoutSessionCreateLineItemParams{item},
		SuccessURL:        &asked.SuccessURL,
		CancelURL:         &asked.CancelURL,
	}
	if asked.Plan != "" {
		params.Mode = new(string(stripe.CheckoutSessionModeSubscription))
		params.SubscriptionData = &stripe.CheckoutSessionCreateSubscriptionDataParams{
			Metadata: meta,
			// As of API version 2025-09-30 it would be flexible. Of a price that is taken out
			// nothing is billed, and it is not taken out before its period ends.
			BillingMode: &stripe.CheckoutSessionCreateSubscriptionDataBillingModeParams{Type: new(string(stripe.SubscriptionBillingModeTypeClassic))},
		}
	} else {
		meta[metaCredits] = strconv.Itoa(asked.Credits)
		params.Mode = new(string(stripe.CheckoutSessionModePayment))
		params.PaymentIntentData = &stripe.CheckoutSessionCreatePaymentIntentDataParams{Metadata: meta}
		params.InvoiceCreation = &stripe.CheckoutSessionCreateInvoiceCreationParams{Enabled: new(true)}
	}
	params.Metadata = meta
	made, err := c.stripe.V1CheckoutSessions.Create(ctx, params)
	if err != nil {
		return nil, failed(doing, err)
	}
	return checkoutSession(made), nil
}

// ExpireOlder ends the customer's other pages for subscriptions that were made before a
// page, so that only one is paid.
func (c *Client) ExpireOlder(ctx context.Context, page *CheckoutSession) error {
	const doing = "end older checkout pages"
	if !c.On() {
		return off(doing)
	}
	for s, err := range c.stripe.V1CheckoutSessions.List(ctx, &stripe.CheckoutSessionListParams{Customer: &page.Customer, Status: new("open")}).All(ctx) {
		if err != nil {
			return failed(doing, err)
		}
		if s.ID == page.ID || s.Mode != stripe.CheckoutSessionModeSubscription || s.Created > page.created {
			continue
		}
		_, err := c.stripe.V1CheckoutSessions.Expire(ctx, s.ID, nil)
		if err := failed(doing, err); err != nil && !errors.Is(err, ErrRefused) { // it has ended by itself
			return err
		}
	}
	return nil
}

// CheckoutSession returns a page as it is now.
func (c *Client) CheckoutSession(ctx context.Context, id string) (*CheckoutSession, error) {
	doing := "fetch checkout session " + id
	if !c.On() {
		return nil, off(doing)
	}
	s, err := c.stripe.V1CheckoutSessions.Retrieve(ctx, id, nil)
	if err != nil {
		return nil, failed(doing, err)
	}
	return checkoutSession(s), nil
}

func checkoutSession(s *stripe.CheckoutSession) *CheckoutSession {
	session := &CheckoutSession{
		ID: s.ID, URL: s.URL, Credits: creditsOf(s.Metadata), ExpiresAt: at(s.ExpiresAt), created: s.Created,
		Paid: s.Status == stripe.CheckoutSessionStatusComplete && s.PaymentStatus != stripe.CheckoutSessionPaymentStatusUnpaid,
	}
	if s.Customer != nil {
		session.Customer = s.Customer.ID
	}
	if s.Subscription != nil {
		session.Subscription = s.Subscription.ID
	}
	if s.PaymentIntent != nil {
		session.PaymentIntent = s.PaymentIntent.ID
	}
	if s.Invoice != nil {
		session.Invoice = s.Invoice.ID
	}
	return session
}

// creditsOf is how many credits something is for, by its metadata; 0: none.
func creditsOf(meta map[string]string) int {
	n, err := strconv.Atoi(meta[metaCredits])
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// Portal makes a page on which a customer sees invoices and changes how they pay, and
// returns its address. key names the request.
func (c *Client) Portal(ctx context.Context, customer, returnURL, key string) (string, error) {
	const doing = "make a portal page"
	if !c.On() {
		return "", off(doing)
	}
	made, err := c.stripe.V1BillingPortalSessions.Create(ctx, &stripe.BillingPortalSessionCreateParams{
		Params:    once("portal:" + customer + ":" + key),
		Customer:  &customer,
		ReturnURL: &returnURL,
	})
	if err != nil {
		return "", failed(doing, err)
	}
	return made.URL, nil
}
