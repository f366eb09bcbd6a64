package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// handleStripeEvent fetches what an event is about and applies it as it is now. So an
// event that comes twice, late or behind a later one changes nothing twice.
type handleStripeEvent struct {
	river.WorkerDefaults[jobs.HandleStripeEventArgs]
	w *Worker
}

// stripeAgain is the longest wait for Stripe.
const stripeAgain = 10 * time.Minute

// NextRetry doubles the wait from a second on.
func (h *handleStripeEvent) NextRetry(job *river.Job[jobs.HandleStripeEventArgs]) time.Time {
	return time.Now().Add(min(time.Second<<min(job.Attempt-1, 20), stripeAgain))
}

// Work handles an event, and notes what came of it.
func (h *handleStripeEvent) Work(ctx context.Context, job *river.Job[jobs.HandleStripeEventArgs]) error {
	db := h.w.opts.DB
	e, err := db.StripeEvent(ctx, job.Args.EventID)
	if errors.Is(err, store.ErrNotFound) || err == nil && e.HandledAt != nil {
		return nil
	}
	if err != nil {
		return err
	}
	note, err := h.apply(ctx, e)
	if errors.Is(err, billing.ErrNotFound) {
		note, err = h.missing(ctx, e, err)
	}
	if err != nil {
		err = fmt.Errorf("handle %s %s of Stripe: %w", e.Type, e.ID, err)
		return errors.Join(err, db.FailStripeEvent(ctx, e.ID, err.Error()))
	}
	h.w.tellOperators(ctx, note)
	return db.HandleStripeEvent(ctx, e.ID, note)
}

// noteDisputed begins what is noted of a payment that a customer wants back from the
// bank.
const noteDisputed = "the payment is disputed; an operator is to answer at Stripe, and nothing is taken back here: "

// tellOperators logs what of Stripe's nobody sees to but an operator.
func (w *Worker) tellOperators(ctx context.Context, note string) {
	if strings.HasPrefix(note, noteDisputed) || strings.HasPrefix(note, jobs.NoteNotPaid) {
		w.opts.Logger.ErrorContext(ctx, "an operator is to see to something at Stripe", "what", note)
	}
}

// disputed says whose payment a charge is of that is disputed.
func (h *handleStripeEvent) disputed(ctx context.Context, charge string) (note string, err error) {
	p, err := h.w.opts.Billing.PaymentOfCharge(ctx, charge)
	if err != nil || p == nil {
		return "the charge is of no payment", err
	}
	owner, err := h.w.opts.DB.SubscriptionOfCustomer(ctx, p.Customer)
	if errors.Is(err, store.ErrNotFound) {
		return store.NoteNoCustomer, nil
	}
	if err != nil {
		return "", err
	}
	return noteDisputed + p.PaymentIntent + " of " + owner.OrgID, nil
}

// missing returns why nothing comes of an event whose object Stripe does not have, or
// an error where that is for want of the right API key: the event waits for it. Charges
// are never deleted.
func (h *handleStripeEvent) missing(ctx context.Context, e *store.StripeEvent, err error) (note string, wrong error) {
	if e.Customer != nil {
		err = h.w.opts.Billing.Missing(ctx, *e.Customer, err)
	} else if isOfCharge(e.Type) && !strings.Contains(e.ObjectID, "re_") {
		return "", &billing.Error{Doing: "fetch " + e.ObjectID, Kind: billing.ErrAccount, Message: err.Error()}
	}
	if errors.Is(err, billing.ErrNotFound) {
		return "Stripe has no such object any more", nil
	}
	return "", err
}

func isOfCharge(eventType string) bool {
	return strings.HasPrefix(eventType, "charge.") || strings.HasPrefix(eventType, "refund.")
}

// apply returns why nothing comes of an event, or "".
func (h *handleStripeEvent) apply(ctx context.Context, e *store.StripeEvent) (note string, err error) {
	db, client, now := h.w.opts.DB, h.w.opts.Billing, h.w.now()
	if e.ObjectID == "" {
		return "it names nothing to fetch", nil
	}
	if e.Customer != nil {
		_, err := db.SubscriptionOfCustomer(ctx, *e.Customer)
		if errors.Is(err, store.ErrNotFound) {
			return store.NoteNoCustomer, nil
		}
		if err != nil {
			return "", err
		}
	}
	switch {
	case strings.HasPrefix(e.Type, "customer.subscription."):
		return jobs.SyncOnly(ctx, db, client, e.ObjectID, now)
	case strings.HasPrefix(e.Type, "invoice."):
		sub, note, err := jobs.SyncInvoice(ctx, db, client, e.ObjectID, now)
		if err != nil || sub == "" {
			return note, err
		}
		return jobs.SyncOnly(ctx, db, client, sub, now)
	case strings.HasPrefix(e.Type, "checkout.session."):
		return jobs.SyncCheckout(ctx, db, client, e.ObjectID, now)
	case strings.HasPrefix(e.Type, "charge.dispute."):
		return h.disputed(ctx, e.ObjectID)
	case isOfCharge(e.Type):
		p, err := client.PaymentOfCharge(ctx, e.ObjectID)
		if err != nil || p == nil {
			return "the charge is of no payment", err
		}
		return jobs.SyncPayment(ctx, db, client, p.PaymentIntent, now)
	}
	return "nothing is to be done about it", nil
}

// now is the time by which periods are reckoned.
func (w *Worker) now() time.Time { return time.Now().Add(w.opts.Ahead()) }
