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
		before, err := one[struct{ Granted int }](ctx, tx, `
			SELECT granted FROM credit_entry
			WHERE org_id = @org_id AND subject = @subject AND (kind = 'reserve') = false`,
			pgx.NamedArgs{"org_id": r.OrgID, "subject": r.ID})
		if err == nil {
			taken = -before.Granted
			return nil
		}
		if !errors.Is(err, ErrNotFound) {
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
