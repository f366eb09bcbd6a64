package billing

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v85"
)

// States of a subscription, as Stripe has them.
const (
	StatusActive            = "active"
	StatusTrialing          = "trialing"
	StatusPastDue           = "past_due"
	StatusUnpaid            = "unpaid"
	StatusIncomplete        = "incomplete"
	StatusIncompleteExpired = "incomplete_expired"
	StatusCanceled          = "canceled"
	StatusPaused            = "paused"
)

// A Subscription is a customer's, as Stripe has it.
type Subscription struct {
	ID                string
	Customer          string
	Plan              string // ours, by its price; empty: the price is none of ours
	Status            string
	PeriodStart       time.Time
	PeriodEnd         time.Time
	CancelAtPeriodEnd bool
	LatestInvoice     string
	Beside            string // the subscription that it is dropped beside, as DropSubscription notes
	Lost              bool   // Stripe does not have it any more, and this is what is left to say

	item    string // that has the plan's price
	metered bool
}

// Subscription returns a subscription as it is now.
func (c *Client) Subscription(ctx context.Context, id string) (*Subscription, error) {
	doing := "fetch subscription " + id
	if !c.On() {
		return nil, off(doing)
	}
	s, err := c.stripe.V1Subscriptions.Retrieve(ctx, id, nil)
	if err != nil {
		return nil, failed(doing, err)
	}
	return subscription(s), nil
}

// Subscriptions returns the ids of a customer's subscriptions that have not ended.
func (c *Client) Subscriptions(ctx context.Context, customer string) ([]string, error) {
	doing := "list the subscriptions of " + customer
	if !c.On() {
		return nil, off(doing)
	}
	var ids []string
	for s, err := range c.stripe.V1Subscriptions.List(ctx, &stripe.SubscriptionListParams{Customer: &customer}).All(ctx) {
		if err != nil {
			return nil, failed(doing, err)
		}
		ids = append(ids, s.ID)
	}
	return ids, nil
}

// Ended reports whether it is over.
func (s *Subscription) Ended() bool {
	return s.Status == StatusCanceled || s.Status == StatusIncompleteExpired
}

// subscription reads what Stripe says. Its period is that of its item: a subscription
// has none of its own since API version 2025-03-31.
func subscription(s *stripe.Subscription) *Subscription {
	sub := &Subscription{ID: s.ID, Status: string(s.Status), CancelAtPeriodEnd: s.CancelAtPeriodEnd, Beside: s.Metadata[metaBeside]}
	if s.Customer != nil {
		sub.Customer = s.Customer.ID
	}
	if s.LatestInvoice != nil {
		sub.LatestInvoice = s.LatestInvoice.ID
	}
	if s.Items == nil {
		return sub
	}
	for _, item := range s.Items.Data {
		if item == nil || item.Price == nil {
			continue
		}
		plan, ours := strings.CutPrefix(item.Price.LookupKey, keyPrefix)
		if !ours && sub.item != "" {
			continue
		}
		sub.item, sub.Plan = item.ID, plan
		if !ours {
			sub.Plan = item.Price.Metadata[metaPlan] // its key has gone on to a newer price
		}
		sub.metered = item.Price.Recurring != nil && item.Price.Recurring.UsageType == stripe.PriceRecurringUsageTypeMetered
		sub.PeriodStart, sub.PeriodEnd = at(item.CurrentPeriodStart), at(item.CurrentPeriodEnd)
	}
	// A time at which it is to end has no flag of its own with newer API versions.
	if end := at(s.CancelAt); !end.IsZero() && !end.After(sub.PeriodEnd) {
		sub.CancelAtPeriodEnd = true
	}
	return sub
}

// A SubscriptionChange says what is to be another. What is nil stays.
type SubscriptionChange struct {
	Plan              *string
	CancelAtPeriodEnd *bool // false: it goes on after all

	Paid   string // the plan that the present period is paid for
	Priced string // the plan that the next one is to be paid for, as far as is known
	Waits  bool   // Plan begins with the next period
	Key    string // names the request
}

// ChangeSubscription changes a subscription. To a plan that does not wait it is
// changed once the rest of the period is paid for: it fails with ErrDeclined, and
// changes nothing, if that does not succeed. Of one that waits nothing is prorated:
// what is paid for stays paid. A change to another plan ends a cancellation. What is so
// already is not asked for. It fails with ErrRefused if what is metered was to become
// something else within a period, since what is not reported yet would be nobody's, and
// if another change has come first.
func (c *Client) ChangeSubscription(ctx context.Context, id string, change SubscriptionChange) error {
	doing := "change subscription " + id
	if !c.On() {
		return off(doing)
	}
	now, err := c.Subscription(ctx, id)
	if err != nil {
		return failed(doing, err)
	}
	ends := change.CancelAtPeriodEnd
	if change.Plan != nil {
		if ends == nil {
			ends = new(false)
		}
		if err := c.changePlan(ctx, now, change); err != nil {
			return failed(doing, err)
		}
	}
	if ends == nil || *ends == now.CancelAtPeriodEnd {
		return nil
	}
	_, err = c.stripe.V1Subscriptions.Update(ctx, id, &stripe.SubscriptionUpdateParams{
		Params: once("subscription:" + id + ":" + change.Key), CancelAtPeriodEnd: ends,
	})
	return failed(doing, err)
}

// changePlan changes the price of a subscription. Where another than what is paid for
// was to follow, that is taken back first, for nothing.
func (c *Client) changePlan(ctx context.Context, now *Subscription, change SubscriptionChange) error {
	refused := ""
	switch {
	case now.Plan == *change.Plan:
		return nil
	case now.Plan != change.Priced:
		refused = "it has just been changed: look at it, and ask again"
	case now.metered && now.Plan == change.Paid:
		refused = "a plan that is billed by use can only be left at the end of its period"
	}
	if refused != "" {
		return &Error{Doing: fmt.Sprintf("change from plan %s to %s", now.Plan, *change.Plan), Kind: ErrRefused, Message: refused}
	}
	if now.Plan != change.Paid {
		if err := c.setPrice(ctx, now, change.Paid, true, change.Key+":back"); err != nil || change.Paid == *change.Plan {
			return err
		}
	}
	return c.setPrice(ctx, now, *change.Plan, change.Waits, change.Key+":plan")
}

// setPrice gives a subscription the price of a plan, unprorated or paid at once.
func (c *Client) setPrice(ctx context.Context, sub *Subscription, plan string, unprorated bool, key string) error {
	price, err := c.price(ctx, PriceKey(plan))
	if err != nil {
		return err
	}
	params := &stripe.SubscriptionUpdateParams{
		Params: once("subscription:" + sub.ID + ":" + key), ProrationBehavior: new("none"),
		Items: []*stripe.SubscriptionUpdateItemParams{{ID: &sub.item, Price: &price.ID}},
	}
	if !unprorated {
		params.ProrationBehavior, params.PaymentBehavior = new("always_invoice"), new("error_if_incomplete")
	}
	_, err = c.stripe.V1Subscriptions.Update(ctx, sub.ID, params)
	return err
}

// CancelSubscription ends a subscription at once, and returns it as it is then. With
// billed there is an invoice of what was used and what waits for the next one.
func (c *Client) CancelSubscription(ctx context.Context, id string, billed bool) (*Subscription, error) {
	doing := "cancel subscription " + id
	if !c.On() {
		return nil, off(doing)
	}
	s, err := c.stripe.V1Subscriptions.Cancel(ctx, id, &stripe.SubscriptionCancelParams{Params: once("cancel:" + id), InvoiceNow: &billed})
	if err != nil {
		return nil, failed(doing, err)
	}
	return subscription(s), nil
}

// DropSubscription ends a subscription at once that goes on beside another one, and
// notes first which: an ended one is told by that from one that was paid for its use.
func (c *Client) DropSubscription(ctx context.Context, id, beside string) error {
	doing := "note that subscription " + id + " is dropped"
	if !c.On() {
		return off(doing)
	}
	if _, err := c.stripe.V1Subscriptions.Update(ctx, id, &stripe.SubscriptionUpdateParams{
		Params: once("beside:" + id + ":" + beside), Metadata: map[string]string{metaBeside: beside},
	}); err != nil {
		return failed(doing, err)
	}
	_, err := c.CancelSubscription(ctx, id, false)
	return err
}
