package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/store"
)

// checkoutAfter is how long after a page has expired a payment on it may still be made
// out.
const checkoutAfter = 24 * time.Hour

// SyncCheckout fetches a page that customers pay on, applies what has come of it, and
// forgets the page once nothing more can come. It returns why nothing came of it, or "".
func SyncCheckout(ctx context.Context, db *store.DB, client *billing.Client, id string, now time.Time) (note string, err error) {
	session, err := client.CheckoutSession(ctx, id)
	if errors.Is(err, billing.ErrNotFound) {
		customer, lookErr := db.CheckoutCustomer(ctx, id)
		if lookErr == nil {
			err = client.Missing(ctx, customer, err)
		} else if !errors.Is(lookErr, store.ErrNotFound) {
			err = lookErr
		}
	}
	if errors.Is(err, billing.ErrNotFound) {
		return "Stripe has no such page any more", db.EndCheckout(ctx, id)
	}
	if err != nil {
		return "", err
	}
	if session.Subscription == "" && !session.Paid {
		if now.After(session.ExpiresAt.Add(checkoutAfter)) {
			err = db.EndCheckout(ctx, id)
		}
		return "it is not paid", err
	}
	if note, err = applyCheckout(ctx, db, client, session, now); err != nil {
		return "", err
	}
	return note, db.EndCheckout(ctx, id)
}

// applyCheckout applies what a page has led to, whichever of it Stripe shows.
func applyCheckout(ctx context.Context, db *store.DB, client *billing.Client, session *billing.CheckoutSession, now time.Time) (note string, err error) {
	if session.Invoice != "" {
		if _, note, err = SyncInvoice(ctx, db, client, session.Invoice, now); err != nil {
			return "", err
		}
	}
	if session.Subscription != "" {
		return SyncOnly(ctx, db, client, session.Subscription, now)
	}
	if session.PaymentIntent == "" {
		return note, nil
	}
	return SyncPayment(ctx, db, client, session.PaymentIntent, now)
}
