package api

import (
	"errors"

	"github.com/nanobanana/nanobanana/billing"
)

// billingProblem turns what has gone wrong with Stripe, or returns nil. What is wrong
// with the configuration is said to whoever reads the log.
func billingProblem(err error) *problem {
	var said *billing.Error
	if !errors.As(err, &said) {
		return nil
	}
	var p *problem
	switch {
	case errors.Is(err, billing.ErrOff):
		p = newProblem("billing_unavailable", "Payments are not set up here: whoever runs the service sets STRIPE_API_KEY and STRIPE_WEBHOOK_SECRET, and runs \"nanobanana billing setup\".", nil)
	case errors.Is(err, billing.ErrCatalogue):
		p = newProblem("billing_unavailable", "This is not to be had yet: whoever runs the service runs \"nanobanana billing setup\".", nil)
	case errors.Is(err, billing.ErrDeclined):
		return newProblem("payment_declined", "", nil)
	case errors.Is(err, billing.ErrKeyReused):
		return newProblem("idempotency_key_reused", "", nil)
	case errors.Is(err, billing.ErrRefused):
		p = newProblem("billing_refused", "It is refused: "+shorten(said.Message, maxMessage)+".", nil)
	case errors.Is(err, billing.ErrNotFound):
		p = newProblem("billing_refused", "The provider of payments does not have it any more.", nil)
	default:
		p = newProblem("billing_unavailable", "", nil)
	}
	p.cause = err
	return p
}
