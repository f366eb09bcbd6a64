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

	// What was asked for with an Idempotency-Key, for good.
	Owner       string // the account or organization whose key it is
	Key         string // SHA-256 of the Idempotency-Key, in hex
	Fingerprint []byte
}

// InsertRefundRequest writes a request, and reports whether it has: there is one of
// each key of an owner's. It waits for whoever is writing one with the key.
func (db *DB) InsertRefundRequest(ctx context.Context, r RefundRequest) (first bool, err error) {
	tag, err := db.q.Exec(ctx, `
		INSERT INTO refund_request (id, org_id, invoice, amount, reason, actor, owner, key, fingerprint)
		VALUES (@id, @org_id, @invoice, @amount, @reason, @actor, @owner, @key, @fingerprint)
		ON CONFLICT (owner, key) DO NOTHING`,
		pgx.NamedArgs{
			"id": r.ID, "org_id": r.OrgID, "invoice": r.Invoice, "amount": r.Amount, "reason": r.Reason, "actor": r.Actor,
			"owner": r.Owner, "key": r.Key, "fingerprint": r.Fingerprint,
		})
	if err != nil {
		return false, fmt.Errorf("write a request to refund invoice %s: %w", r.Invoice, err)
	}
	return tag.RowsAffected() > 0, nil
}

// RefundRequestByKey returns the request that an owner has made with a key, given as its
// digest, or ErrNotFound.
func (db *DB) RefundRequestByKey(ctx context.Context, owner, key string) (*RefundRequest, error) {
	r, err := one[RefundRequest](ctx, db, `
		SELECT `+columns[RefundRequest]("")+` FROM refund_request
		WHERE owner = @owner AND key = @key`, pgx.NamedArgs{"owner": owner, "key": key})
	if err != nil {
		return nil, fmt.Errorf("refund request of %s by its key: %w", owner, err)
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
