package billing

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v85"
)

// A MeterEvent tells Stripe of credits that a customer has used.
type MeterEvent struct {
	Identifier string // the same for every repetition, also as of another time: Stripe counts it once
	Customer   string
	Credits    int64
	At         time.Time // at most 35 days ago, by Stripe's reference
}

// MeterEvent reports use. That Stripe has it already is no error: a repetition is a
// request of its own there once the Idempotency-Key is forgotten, or At is another.
func (c *Client) MeterEvent(ctx context.Context, e MeterEvent) error {
	doing := "report use " + e.Identifier
	if !c.On() {
		return off(doing)
	}
	_, err := c.stripe.V1BillingMeterEvents.Create(ctx, &stripe.BillingMeterEventCreateParams{
		Params:     once("meter:" + e.Identifier + ":" + strconv.FormatInt(e.At.Unix(), 10)),
		EventName:  new(CreditsKey),
		Identifier: &e.Identifier,
		Timestamp:  new(e.At.Unix()),
		Payload:    map[string]string{"stripe_customer_id": e.Customer, "value": strconv.FormatInt(e.Credits, 10)},
	})
	if err = failed(doing, err); isCounted(err) {
		return nil
	}
	return err
}

// isCounted reports whether Stripe has refused a meter event since it has one with the
// identifier. It has no code for that.
func isCounted(err error) bool {
	var refused *Error
	return errors.As(err, &refused) && errors.Is(refused.Kind, ErrRefused) && strings.Contains(refused.Message, "already exists with identifier")
}
