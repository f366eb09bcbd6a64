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

// subscription reads what Stripe says. Its period is that of its item: a subscription
// has none of its own since API version 2025-03-31.
func subscription(s *stripe.Subscription) *Subscription {
	sub := &Subscription{ID: s.ID, Status: string(s.Status), CancelAtPeriodEnd: s.CancelAtPeriodEnd}
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
	Key               string
}

// ChangeSubscription changes a subscription and returns it as it is then. The rest of
// the period is prorated on the next invoice. A change to another plan ends a
// cancellation. It fails with ErrRefused if what is metered was to become something
// else within a period: Stripe would not bill what has been used of it.
func (c *Client) ChangeSubscription(ctx context.Context, id string, change SubscriptionChange) (*Subscription, error) {
	doing := "change subscription " + id
	if !c.On() {
		return nil, off(doing)
	}
	params := &stripe.SubscriptionUpdateParams{Params: once("subscription:" + id + ":" + change.Key), CancelAtPeriodEnd: change.CancelAtPeriodEnd}
	if change.Plan != nil {
		item, err := c.changedItem(ctx, id, *change.Plan)
		if err != nil {
			return nil, failed(doing, err)
		}
		if item != nil {
			params.Items = []*stripe.SubscriptionUpdateItemParams{item}
			params.ProrationBehavior = new("create_prorations")
		}
		if change.CancelAtPeriodEnd == nil {
			params.CancelAtPeriodEnd = new(false)
		}
	}
	s, err := c.stripe.V1Subscriptions.Update(ctx, id, params)
	if err != nil {
		return nil, failed(doing, err)
	}
	return subscription(s), nil
}

// changedItem is a subscription's item with the price of another plan; nil: it has it.
func (c *Client) changedItem(ctx context.Context, id, plan string) (*stripe.SubscriptionUpdateItemParams, error) {
	now, err := c.Subscription(ctx, id)
	if err != nil || now.Plan == plan {
		return nil, err
	}
	if now.metered {
		return nil, &Error{
			Doing: fmt.Sprintf("change from plan %s to %s", now.Plan, plan), Kind: ErrRefused,
			Message: "a plan that is billed by use can only be left at the end of its period",
		}
	}
	price, err := c.price(ctx, PriceKey(plan))
	if err != nil {
		return nil, err
	}
	return &stripe.SubscriptionUpdateItemParams{ID: &now.item, Price: &price.ID}, nil
}

// CancelSubscription ends a subscription at once, and returns it as it is then.
func (c *Client) CancelSubscription(ctx context.Context, id string) (*Subscription, error) {
	doing := "cancel subscription " + id
	if !c.On() {
		return nil, off(doing)
	}
	s, err := c.stripe.V1Subscriptions.Cancel(ctx, id, &stripe.SubscriptionCancelParams{Params: once("cancel:" + id)})
	if err != nil {
		return nil, failed(doing, err)
	}
	return subscription(s), nil
}
