package billing

import (
	"context"
	"strconv"
	"time"

	"github.com/stripe/stripe-go/v85"
)

// MeterWindow is how long ago use may have been that Stripe still takes.
const MeterWindow = 34 * 24 * time.Hour // 35 days, by its reference

// A MeterEvent tells Stripe of credits that a customer has used.
type MeterEvent struct {
	Identifier string // the same for every repetition: Stripe counts it once
	Customer   string
	Credits    int64
	At         time.Time
}

// MeterEvent reports use.
func (c *Client) MeterEvent(ctx context.Context, e MeterEvent) error {
	doing := "report use " + e.Identifier
	if !c.On() {
		return off(doing)
	}
	_, err := c.stripe.V1BillingMeterEvents.Create(ctx, &stripe.BillingMeterEventCreateParams{
		Params:     once("meter:" + e.Identifier),
		EventName:  new(CreditsKey),
		Identifier: &e.Identifier,
		Timestamp:  new(e.At.Unix()),
		Payload:    map[string]string{"stripe_customer_id": e.Customer, "value": strconv.FormatInt(e.Credits, 10)},
	})
	return failed(doing, err)
}
