package api

import (
	"context"
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
	Body adminRefundBody
}

// adminRefund gives a payment back at Stripe, and takes the credits back that were
// bought with it. Asked twice at the same time, it happens once.
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
	id, amount, err := s.refundAtStripe(ctx, row, in.Body.Amount, reason)
	if err != nil {
		return nil, err
	}
	payment, err := s.opts.Billing.Payment(ctx, *row.Payment)
	if err != nil {
		return nil, err
	}
	shown := refund{ID: id, Object: "refund", InvoiceID: row.ID, OrganizationID: row.OrgID, Currency: row.Currency, Amount: amount}
	err = s.db.Transact(ctx, func(tx *store.DB) error {
		taken, err := jobs.ApplyPayment(ctx, tx, row.OrgID, payment, s.opts.Now())
		if err != nil {
			return err
		}
		shown.CreditsTaken = taken[id]
		for _, r := range payment.Refunds {
			if r.ID == id {
				shown.CreditsKept = r.Credits - taken[id]
			}
		}
		return s.record(ctx, tx, change{
			Action: "invoice.refund", Kind: "invoice", ID: row.ID, OrgID: row.OrgID, Operator: true,
			After: map[string]any{"refund": id, "amount": amount, "credits_taken": shown.CreditsTaken, "credits_kept": shown.CreditsKept, "reason": reason},
		})
	})
	if err != nil {
		return nil, err
	}
	return &created[refund]{CacheControl: noStore, Body: shown}, nil
}

// refundAtStripe gives back an amount, or all there is.
func (s *server) refundAtStripe(ctx context.Context, i *store.Invoice, asked *int64, reason string) (id string, amount int64, err error) {
	if i.Payment == nil || i.AmountPaid == 0 {
		return "", 0, refuse("billing_refused", "The invoice %s is not paid; there is nothing to give back.", i.ID)
	}
	before, err := s.opts.Billing.Payment(ctx, *i.Payment)
	if err != nil {
		return "", 0, err
	}
	left := before.Amount - before.Refunded
	if amount = left; asked != nil {
		amount = *asked
	}
	if amount > left || left == 0 {
		return "", 0, refuse("billing_refused", "Of the invoice %s only %d are left to give back.", i.ID, left)
	}
	id, err = s.opts.Billing.Refund(ctx, billing.Refund{
		PaymentIntent: *i.Payment, Amount: amount, Reason: reason, Actor: auth.FromContext(ctx).ActorID(),
		Key: billing.RefundKey(before.Refunded, amount),
	})
	return id, amount, err
}

func noInvoice(id string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return notThere(err, "There is no invoice %q.", id)
	}
	return err
}
