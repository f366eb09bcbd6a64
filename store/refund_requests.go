package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A RefundRequest is a payment that is to be given back. It is written before Stripe is
// asked, and names what Stripe is asked for, however often that is.
type RefundRequest struct {
	ID        string // "rfd_..."
	OrgID     string
	Invoice   string // Stripe's in_...
	Amount    int64  // in the currency's smallest unit
	Reason    string
	Actor     string
	Refund    *string // Stripe's re_...; nil: it is not known to be given back
	CreatedAt time.Time
}

// InsertRefundRequest writes a request.
func (db *DB) InsertRefundRequest(ctx context.Context, r RefundRequest) error {
	_, err := db.q.Exec(ctx, `
		INSERT INTO refund_request (id, org_id, invoice, amount, reason, actor)
		VALUES (@id, @org_id, @invoice, @amount, @reason, @actor)`,
		pgx.NamedArgs{"id": r.ID, "org_id": r.OrgID, "invoice": r.Invoice, "amount": r.Amount, "reason": r.Reason, "actor": r.Actor})
	if err != nil {
		return fmt.Errorf("write a request to refund invoice %s: %w", r.Invoice, err)
	}
	return nil
}

// RefundRequest returns a request, or ErrNotFound.
func (db *DB) RefundRequest(ctx context.Context, id string) (*RefundRequest, error) {
	r, err := one[RefundRequest](ctx, db, `
		SELECT `+columns[RefundRequest]("")+` FROM refund_request
		WHERE id = @id`, pgx.NamedArgs{"id": id})
	if err != nil {
		return nil, fmt.Errorf("refund request %s: %w", id, err)
	}
	return r, nil
}

// NoteRefund notes what Stripe has given back for a request, and reports whether it is
// the first time.
func (db *DB) NoteRefund(ctx context.Context, id, refund string) (first bool, err error) {
	tag, err := db.q.Exec(ctx, `
		UPDATE refund_request
		SET refund = @refund
		WHERE id = @id AND refund IS NULL`, pgx.NamedArgs{"id": id, "refund": refund})
	if err != nil {
		return false, fmt.Errorf("note refund %s of request %s: %w", refund, id, err)
	}
	return tag.RowsAffected() > 0, nil
}
