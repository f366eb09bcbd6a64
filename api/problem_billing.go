package api

import (
	"context"
	"errors"

	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/jobs"
)

// billingProblem turns what has gone wrong with Stripe, or returns nil. What is wrong
// with the configuration is said to whoever reads the log.
func billingProblem(err error) *problem {
	var said *billing.Error
	if !errors.As(err, &said) {
		return nil
	}
	var p *problem
	switch said.Kind {
	case billing.ErrOff:
		p = newProblem("billing_unavailable", "Payments are not set up here: whoever runs the service sets STRIPE_API_KEY and STRIPE_WEBHOOK_SECRET, and runs \"nanobanana billing setup\".", nil)
	case billing.ErrCatalogue:
		p = newProblem("billing_unavailable", "This is not to be had yet: whoever runs the service runs \"nanobanana billing setup\".", nil)
	case billing.ErrDeclined:
		return newProblem("payment_declined", "", nil)
	case billing.ErrKeyReused:
		return newProblem("idempotency_key_reused", "", nil)
	case billing.ErrRefused:
		p = newProblem("billing_refused", "It is refused: "+shorten(said.Message, maxMessage)+".", nil)
	case billing.ErrNotFound:
		p = newProblem("billing_refused", "The provider of payments does not have it any more.", nil)
	default:
		p = newProblem("billing_unavailable", "", nil)
	}
	p.cause = err
	return p
}

// explainUnpaid says of a submission that is beyond the organization's credits where
// that is so since its subscription is not paid. Other errors stay.
func (s *server) explainUnpaid(ctx context.Context, orgID string, err error) error {
	var credits *jobs.CreditsError
	if !errors.As(err, &credits) || credits.Budget != nil {
		return err
	}
	sub, lookErr := s.db.Subscription(ctx, orgID)
	if lookErr != nil || !sub.Unpaid() {
		return err
	}
	return refuse("payment_required", "Your organization's subscription to the plan %s is not paid, and %d credits are left of the %d that this needs. POST /v1/billing/portal leads to where it can be paid.",
		credits.Plan, credits.Available, credits.Needed)
}
