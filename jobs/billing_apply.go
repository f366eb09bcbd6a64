package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/store"
)

// ApplySubscription makes an organization what a subscription says that was asked for
// at a time of the database's clock, as store.DB's ApplySubscription does.
func ApplySubscription(ctx context.Context, db *store.DB, sub *billing.Subscription, fetched, now time.Time) (note string, err error) {
	return db.ApplySubscription(ctx, store.FetchedSubscription{
		ID: sub.ID, Customer: sub.Customer, Plan: sub.Plan, Status: sub.Status, PeriodStart: sub.PeriodStart, PeriodEnd: sub.PeriodEnd,
		CancelAtPeriodEnd: sub.CancelAtPeriodEnd, LatestInvoice: sub.LatestInvoice, FetchedAt: fetched, Lost: sub.Lost,
	}, now)
}

// SyncSubscription fetches a subscription and applies it. A known one that Stripe does
// not have, though it has the customer, has ended, as long as that is so. If it has
// neither, nothing changes, and the error is billing.ErrAccount.
func SyncSubscription(ctx context.Context, db *store.DB, client *billing.Client, id string, now time.Time) (note string, err error) {
	fetched, err := db.Clock(ctx)
	if err != nil {
		return "", err
	}
	sub, err := client.Subscription(ctx, id)
	if errors.Is(err, billing.ErrNotFound) {
		known, lookErr := db.SubscriptionNamed(ctx, id)
		if errors.Is(lookErr, store.ErrNotFound) {
			return "", err
		}
		if lookErr != nil {
			return "", lookErr
		}
		if err = client.Missing(ctx, known.Customer, err); errors.Is(err, billing.ErrNotFound) {
			sub, err = gone(known), nil
		}
	}
	if err != nil {
		return "", err
	}
	return ApplySubscription(ctx, db, sub, fetched, now)
}

// gone is a subscription that Stripe does not have any more.
func gone(known *store.Subscription) *billing.Subscription {
	sub := &billing.Subscription{ID: *known.Subscription, Customer: known.Customer, Status: billing.StatusCanceled, Lost: true}
	if known.PeriodStart != nil && known.PeriodEnd != nil {
		sub.PeriodStart, sub.PeriodEnd = *known.PeriodStart, *known.PeriodEnd
	}
	return sub
}

// Notes of SyncOnly: what came of a second subscription.
const (
	NoteDropped = store.NoteAnother + "; this one was canceled, and what it has cost was given back"
	NoteNotPaid = store.NoteAnother + "; this one was canceled, and what it has cost is to be given back by an operator: "
)

// SyncOnly fetches a subscription and applies it. One that goes on beside the
// organization's own, which two pages that were paid lead to, is given back and
// canceled: wherever that is interrupted, the next call does the rest. If Stripe
// refuses to give it back it is canceled all the same, the note says so, and the next
// call tries again. One that was the organization's own and has ended stays paid.
func SyncOnly(ctx context.Context, db *store.DB, client *billing.Client, id string, now time.Time) (note string, err error) {
	note, err = SyncSubscription(ctx, db, client, id, now)
	if err != nil || note != store.NoteAnother {
		return note, err
	}
	sub, err := client.Subscription(ctx, id)
	if err != nil || sub.Status == billing.StatusIncomplete {
		return note, err
	}
	own, err := db.SubscriptionOfCustomer(ctx, sub.Customer)
	switch {
	case err != nil:
		return "", err
	case sub.Ended() && sub.Beside != *own.Subscription:
		return note, nil
	case sub.Ended():
		return giveRest(ctx, client, sub)
	}
	if _, err := SyncSubscription(ctx, db, client, *own.Subscription, now); err != nil { // it may have ended, unheard
		return "", err
	}
	if note, err = SyncSubscription(ctx, db, client, id, now); err != nil || note != store.NoteAnother {
		return note, err
	}
	refused := giveBack(ctx, client, sub)
	if refused != nil && !errors.Is(refused, billing.ErrRefused) {
		return "", refused
	}
	if err := client.DropSubscription(ctx, id, *own.Subscription); err != nil {
		return "", errors.Join(err, refused)
	}
	return giveRest(ctx, client, sub) // what was paid meanwhile, too
}

// giveRest gives back what is left of a subscription that was dropped, and says whether
// Stripe has.
func giveRest(ctx context.Context, client *billing.Client, dropped *billing.Subscription) (note string, err error) {
	err = giveBack(ctx, client, dropped)
	switch {
	case errors.Is(err, billing.ErrRefused):
		return NoteNotPaid + err.Error(), nil
	case err != nil:
		return "", err
	}
	return NoteDropped, nil
}

// giveBack refunds what was paid for a subscription.
func giveBack(ctx context.Context, client *billing.Client, sub *billing.Subscription) (refused error) {
	invoices, err := client.Invoices(ctx, sub.Customer, 100)
	if err != nil {
		return err
	}
	for _, in := range invoices {
		if in.Subscription != sub.ID || in.PaymentIntent == "" {
			continue
		}
		paid, err := client.Payment(ctx, in.PaymentIntent)
		if err != nil {
			return err
		}
		if left := paid.Amount - paid.Refunded; left > 0 {
			_, err := client.Refund(ctx, billing.Refund{
				ID: fmt.Sprintf("another:%s:%d", in.PaymentIntent, paid.Refunded), PaymentIntent: in.PaymentIntent, Amount: left, Reason: store.NoteAnother,
			})
			if errors.Is(err, billing.ErrRefused) { // the others may be given back
				refused = errors.Join(refused, err)
			} else if err != nil {
				return err
			}
		}
	}
	return refused
}

// SyncInvoice fetches an invoice, with what has paid it, and keeps it. It returns the
// subscription that it is for, if any.
func SyncInvoice(ctx context.Context, db *store.DB, client *billing.Client, id string, now time.Time) (subscription, note string, err error) {
	fetched, err := db.Clock(ctx)
	if err != nil {
		return "", "", err
	}
	in, err := client.Invoice(ctx, id)
	if err != nil {
		return "", "", err
	}
	owner, err := db.SubscriptionOfCustomer(ctx, in.Customer)
	if errors.Is(err, store.ErrNotFound) {
		return "", store.NoteNoCustomer, nil
	}
	if err != nil {
		return "", "", err
	}
	row := store.Invoice{
		ID: in.ID, OrgID: owner.OrgID, Number: orNil(in.Number), Status: in.Status, Currency: in.Currency, AmountDue: in.AmountDue,
		AmountPaid: in.AmountPaid, PeriodStart: timeOrNil(in.PeriodStart), PeriodEnd: timeOrNil(in.PeriodEnd),
		URL: orNil(in.URL), PDF: orNil(in.PDF), Payment: orNil(in.PaymentIntent), FetchedAt: fetched, CreatedAt: in.CreatedAt,
	}
	if in.PaymentIntent != "" {
		payment, err := client.Payment(ctx, in.PaymentIntent)
		if err != nil {
			return "", "", err
		}
		row.Refunded = payment.Refunded
		if _, err := ApplyPayment(ctx, db, owner.OrgID, payment, fetched, now); err != nil {
			return "", "", err
		}
	}
	return in.Subscription, "", db.SaveInvoice(ctx, row)
}

// ApplyPayment gives an organization the credits that it has paid for, takes back those
// that were given back, as far as they are unused, gives them again where that has
// failed, and notes the refunds on the invoice. Each happens once, whatever the number
// of calls. fetched is the database's clock before the payment was asked for. It returns
// how many credits each refund has taken, by its id.
func ApplyPayment(
	ctx context.Context, db *store.DB, orgID string, p *billing.Payment, fetched, now time.Time,
) (taken map[string]int, err error) {
	if p.Credits > 0 && p.Amount > 0 {
		if _, _, err := db.ChangeCredits(ctx, store.CreditChange{
			OrgID: orgID, Kind: store.CreditPurchase, Amount: p.Credits, Bought: true, Subject: p.PaymentIntent, Reason: "bought",
		}, now); err != nil {
			return nil, err
		}
	}
	taken = map[string]int{}
	for _, r := range p.Refunds {
		if p.Credits == 0 {
			break
		}
		if r.Failed {
			if err := db.RestoreRefund(ctx, orgID, r.ID, now); err != nil {
				return nil, err
			}
			continue
		}
		if taken[r.ID], err = db.RefundCredits(ctx, store.RefundedPurchase{
			OrgID: orgID, ID: r.ID, Credits: r.Credits, Reason: r.Reason, Actor: r.Actor,
		}, now); err != nil {
			return nil, err
		}
	}
	if len(p.Refunds) == 0 {
		return taken, nil
	}
	return taken, db.RefundInvoice(ctx, orgID, p.PaymentIntent, p.Refunded, fetched)
}

// SyncPayment fetches a payment and applies it to the organization whose customer has
// paid. It returns why nothing came of it, or "".
func SyncPayment(ctx context.Context, db *store.DB, client *billing.Client, id string, now time.Time) (note string, err error) {
	fetched, err := db.Clock(ctx)
	if err != nil {
		return "", err
	}
	p, err := client.Payment(ctx, id)
	if err != nil {
		return "", err
	}
	owner, err := db.SubscriptionOfCustomer(ctx, p.Customer)
	if errors.Is(err, store.ErrNotFound) {
		return store.NoteNoCustomer, nil
	}
	if err == nil {
		_, err = ApplyPayment(ctx, db, owner.OrgID, p, fetched, now)
	}
	return "", err
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
