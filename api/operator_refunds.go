package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// refund is what was given back.
type refund struct {
	ID             string `json:"id" doc:"Stripe's"`
	Object         string `json:"object" enum:"refund"`
	InvoiceID      string `json:"invoice_id"`
	OrganizationID string `json:"organization_id"`
	Currency       string `json:"currency"`
	Amount         int64  `json:"amount" doc:"In the currency's smallest unit: cents"`
	CreditsTaken   int    `json:"credits_taken" doc:"That were bought with it and not used; none where it was for a subscription"`
	CreditsKept    int    `json:"credits_kept" doc:"That were bought with it, and could not be taken back since they are used"`
}

type adminRefundBody struct {
	InvoiceID string `json:"invoice_id" required:"true" maxLength:"255" example:"in_1S9xqT2eZvKYlo2C"`
	Amount    *int64 `json:"amount,omitempty" minimum:"1" doc:"In the currency's smallest unit: cents; default all that was paid and not given back"`
	Reason    string `json:"reason" required:"true" maxLength:"500" doc:"For the audit log; the organization reads it in its own"`
}

type adminRefundInput struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"Required: 1 to 255 visible ASCII characters. A second request with the same key gives nothing more back, however much later."`
	Body           adminRefundBody
}

// adminRefund gives a payment back at Stripe, and takes the credits back that were
// bought with it. It happens once for an Idempotency-Key, wherever the process or the
// answer is lost: what is asked for is written first.
func (s *server) adminRefund(ctx context.Context, in *adminRefundInput) (*created[refund], error) {
	reason, err := checkReason(in.Body.Reason)
	if err != nil {
		return nil, err
	}
	if !store.ValidInvoiceID(in.Body.InvoiceID) {
		return nil, noInvoice(in.Body.InvoiceID, store.ErrNotFound)
	}
	if err := s.checkBilling(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, billingTimeout)
	defer cancel()
	row, err := s.db.Invoice(ctx, "", in.Body.InvoiceID)
	if err != nil {
		return nil, noInvoice(in.Body.InvoiceID, err)
	}
	if row.Payment == nil || row.AmountPaid == 0 {
		return nil, refuse("billing_refused", "The invoice %s is not paid; there is nothing to give back.", row.ID)
	}
	asked, again, err := s.askRefund(ctx, row, in.Body.Amount, reason)
	if err != nil {
		return nil, err
	}
	shown, err := s.giveBack(ctx, row, asked)
	if err != nil {
		return nil, err
	}
	out := &created[refund]{CacheControl: noStore, Body: *shown}
	if again {
		out.Replayed = replayed(asked.ID)
	}
	return out, nil
}

// askRefund writes what is to be given back, an amount or all there is, or returns what
// was written for the same Idempotency-Key before, however long ago.
func (s *server) askRefund(ctx context.Context, i *store.Invoice, amount *int64, reason string) (asked *store.RefundRequest, replayed bool, err error) {
	caller := auth.FromContext(ctx)
	asked = &store.RefundRequest{ID: store.NewID("rfd"), OrgID: i.OrgID, Invoice: i.ID, Reason: reason, Actor: caller.ActorID()}
	key, err := s.creationKey(ctx, cmp.Or(caller.AccountID, caller.OrgID), "admin_refunds", asked.ID, i.ID, amount, reason)
	if err != nil {
		return nil, false, err
	}
	if key == nil {
		return nil, false, refuse("invalid_request", "The header Idempotency-Key is required, lest a repeated request pay twice.")
	}
	digest := sha256.Sum256([]byte(key.Key))
	asked.Owner, asked.Key, asked.Fingerprint = key.OrgID, hex.EncodeToString(digest[:]), key.Fingerprint
	if before, err := s.refundAsked(ctx, asked); before != nil || err != nil {
		return before, true, err
	}
	payment, err := s.opts.Billing.Payment(ctx, *i.Payment)
	if err != nil {
		return nil, false, err
	}
	left := payment.Amount - payment.Refunded
	asked.Amount = left
	if amount != nil {
		asked.Amount = *amount
	}
	if asked.Amount > left || left == 0 {
		return nil, false, refuse("billing_refused", "Of the invoice %s only %d are left to give back.", i.ID, left)
	}
	first := false
	err = s.db.Transact(ctx, func(tx *store.DB) error {
		if first, err = tx.InsertRefundRequest(ctx, *asked); err != nil || !first {
			return err
		}
		return s.record(ctx, tx, change{
			Action: "invoice.refund", Kind: "invoice", ID: i.ID, OrgID: i.OrgID, Operator: true,
			After: map[string]any{"request": asked.ID, "amount": asked.Amount, "reason": reason},
		})
	})
	if err != nil || first {
		return asked, false, err
	}
	before, err := s.refundAsked(ctx, asked) // another was as quick
	if before == nil && err == nil {
		err = jobs.ErrIdempotencyInFlight // of which nothing is known
	}
	return before, true, err
}

// refundAsked returns what was asked for with the same key before; nil: nothing.
func (s *server) refundAsked(ctx context.Context, now *store.RefundRequest) (*store.RefundRequest, error) {
	before, err := s.db.RefundRequestByKey(ctx, now.Owner, now.Key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case !bytes.Equal(before.Fingerprint, now.Fingerprint):
		return nil, jobs.ErrIdempotencyKeyReused
	}
	return before, nil
}

// giveBack does what was asked for, unless it is done, and applies what Stripe has of
// the payment then.
func (s *server) giveBack(ctx context.Context, i *store.Invoice, asked *store.RefundRequest) (*refund, error) {
	id, err := s.refundAtStripe(ctx, *i.Payment, asked)
	if err != nil {
		return nil, err
	}
	fetched, err := s.db.Clock(ctx)
	if err != nil {
		return nil, err
	}
	payment, err := s.opts.Billing.Payment(ctx, *i.Payment)
	if err != nil {
		return nil, err
	}
	shown := &refund{ID: id, Object: "refund", InvoiceID: i.ID, OrganizationID: i.OrgID, Currency: i.Currency, Amount: asked.Amount}
	err = s.db.Transact(ctx, func(tx *store.DB) error {
		taken, err := jobs.ApplyPayment(ctx, tx, i.OrgID, payment, fetched, s.opts.Now())
		if err != nil {
			return err
		}
		shown.CreditsTaken = taken[id]
		for _, r := range payment.Refunds {
			if r.ID == id {
				shown.CreditsKept = r.Credits - taken[id]
			}
		}
		if first, err := tx.NoteRefund(ctx, asked.ID, id); err != nil || !first {
			return err
		}
		return s.record(ctx, tx, change{
			Action: "invoice.refunded", Kind: "invoice", ID: i.ID, OrgID: i.OrgID, Operator: true,
			After: map[string]any{
				"request": asked.ID, "refund": id, "amount": asked.Amount, "credits_taken": shown.CreditsTaken, "credits_kept": shown.CreditsKept,
			},
		})
	})
	return shown, err
}

// refundAtStripe returns the refund that was asked for. What was asked for earlier may
// have been made longer ago than Stripe knows a repetition: it is looked for first.
func (s *server) refundAtStripe(ctx context.Context, payment string, asked *store.RefundRequest) (id string, err error) {
	if asked.Refund != nil {
		return *asked.Refund, nil
	}
	is, err := s.opts.Billing.Payment(ctx, payment)
	if err != nil {
		return "", err
	}
	for _, r := range is.Refunds {
		if r.Request == asked.ID {
			return r.ID, nil
		}
	}
	return s.opts.Billing.Refund(ctx, billing.Refund{
		ID: asked.ID, PaymentIntent: payment, Amount: asked.Amount, Reason: asked.Reason, Actor: asked.Actor,
	})
}

func noInvoice(id string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return notThere(err, "There is no invoice %q.", id)
	}
	return err
}
