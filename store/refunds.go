package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A RefundedPurchase takes back credits whose purchase was given back.
type RefundedPurchase struct {
	OrgID   string
	ID      string // Stripe's re_...: it happens once
	Credits int    // as many as were paid for with what was given back
	Reason  string
	Actor   string
}

// RefundCredits takes credits back from the period that a time is in, as far as what
// was bought is unused, and returns how many. A second call with the same id takes
// none, and returns what the first has taken.
func (db *DB) RefundCredits(ctx context.Context, r RefundedPurchase, at time.Time) (taken int, err error) {
	err = db.within(ctx, func(tx *DB) error {
		account, err := tx.OpenPeriod(ctx, r.OrgID, at) // with the organization locked
		if err != nil {
			return err
		}
		before, err := tx.refunded(ctx, r.OrgID, r.ID)
		if err != nil {
			return err
		}
		if before != nil {
			taken = *before
			return nil
		}
		if failed, err := tx.refunded(ctx, r.OrgID, r.ID+failedRefund); err != nil || failed != nil {
			return err
		}
		// Submissions wait, so that what is taken is there.
		if account, err = tx.lockAccount(ctx, r.OrgID, account.Period); err != nil {
			return err
		}
		taken = int(max(0, min(int64(r.Credits), account.Bought, account.Available())))
		reason := r.Reason
		if taken < r.Credits {
			reason = fmt.Sprintf("%d of %d credits; the others were used. %s", taken, r.Credits, r.Reason)
		}
		return tx.enter(ctx, CreditEntry{
			OrgID: r.OrgID, Period: account.Period, Kind: CreditRefund, Granted: -taken, Bought: -taken,
			Subject: &r.ID, Reason: textOrNil(reason), Actor: textOrNil(r.Actor),
		})
	})
	if err != nil {
		return 0, fmt.Errorf("take back credits of refund %s: %w", r.ID, err)
	}
	return taken, nil
}

// failedRefund is what the subject of an entry ends in that takes a refund's back.
const failedRefund = ":failed"

// refunded returns how many credits the entry of a refund has taken; nil: there is none.
func (db *DB) refunded(ctx context.Context, orgID, subject string) (*int, error) {
	entry, err := one[struct{ Granted int }](ctx, db, `
		SELECT granted FROM credit_entry
		WHERE org_id = @org_id AND subject = @subject AND (kind = 'reserve') = false`,
		pgx.NamedArgs{"org_id": orgID, "subject": subject})
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return new(-entry.Granted), nil
}

// RestoreRefund gives the credits back, in the period that a time is in, that were taken
// for a refund which has failed since. It does so once; none are taken for the refund
// from then on.
func (db *DB) RestoreRefund(ctx context.Context, orgID, id string, at time.Time) error {
	err := db.within(ctx, func(tx *DB) error {
		account, err := tx.OpenPeriod(ctx, orgID, at) // with the organization locked
		if err != nil {
			return err
		}
		if done, err := tx.refunded(ctx, orgID, id+failedRefund); err != nil || done != nil {
			return err
		}
		taken, err := tx.refunded(ctx, orgID, id)
		if err != nil {
			return err
		}
		if taken == nil {
			taken = new(0)
		}
		return tx.enter(ctx, CreditEntry{
			OrgID: orgID, Period: account.Period, Kind: CreditRefund, Granted: *taken, Bought: *taken,
			Subject: new(id + failedRefund), Reason: new("the refund has failed"),
		})
	})
	if err != nil {
		return fmt.Errorf("restore credits of refund %s: %w", id, err)
	}
	return nil
}
