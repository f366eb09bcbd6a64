package store

import (
	"context"
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
// was bought is unused, and returns how many. What is reserved of it is taken as it
// comes back: it goes on into no later period, and is owed in this one. A second call
// with the same id takes none, and returns what the first has taken.
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
		taken, err = tx.refundFrom(ctx, r, account.Period)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("take back credits of refund %s: %w", r.ID, err)
	}
	return taken, nil
}

// failedRefund is what the subject of an entry ends in that takes a refund's back.
const failedRefund = ":failed"

// refunded returns how many credits the entries of a refund have taken; nil: there are none.
func (db *DB) refunded(ctx context.Context, orgID, subject string) (*int, error) {
	sum, err := one[struct{ Taken *int }](ctx, db, `
		SELECT -sum(bought)::int AS taken FROM credit_entry
		WHERE org_id = @org_id AND subject IN (@subject, @subject || '@reserved') AND (kind = 'reserve') = false`,
		pgx.NamedArgs{"org_id": orgID, "subject": subject})
	if err != nil {
		return nil, err
	}
	return sum.Taken, nil
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

// refundFrom takes back what is left on the account of a period and what is reserved
// there or, where that does not do, on the one before it that most is reserved on.
func (db *DB) refundFrom(ctx context.Context, r RefundedPurchase, period time.Time) (taken int, err error) {
	if err := db.carryCredits(ctx, r.OrgID); err != nil {
		return 0, err
	}
	// Submissions wait, so that what is taken is there.
	accounts, err := db.lockCarried(ctx, r.OrgID)
	if err != nil {
		return 0, err
	}
	var present, before *CreditAccount
	for _, a := range accounts {
		switch reserved := min(a.Bought, a.Reserved); {
		case a.Period.Equal(period):
			present = a
		case a.Period.Before(period) && (before == nil || reserved > min(before.Bought, before.Reserved)):
			before = a
		}
	}
	if present == nil { // what was bought has gone on into a later one
		if present, err = db.lockAccount(ctx, r.OrgID, period); err != nil {
			return 0, err
		}
	}
	left := max(0, min(int64(r.Credits), present.Bought, present.rest()))
	reserved := max(0, min(int64(r.Credits)-left, present.Bought-left, present.Reserved))
	earlier := int64(0)
	if before != nil {
		earlier = max(0, min(int64(r.Credits)-left-reserved, before.Bought, before.Reserved))
	}
	taken = int(left + reserved + earlier)
	reason := r.Reason
	if taken < r.Credits {
		reason = fmt.Sprintf("%d of %d credits; the others were used. %s", taken, r.Credits, r.Reason)
	}
	e := CreditEntry{
		OrgID: r.OrgID, Period: period, Kind: CreditRefund, Granted: -int(left), Bought: -int(left + reserved),
		Subject: &r.ID, Reason: textOrNil(reason), Actor: textOrNil(r.Actor),
	}
	if earlier > 0 { // what is released there is lost
		old := e
		old.Period, old.Granted, old.Bought, old.Subject = before.Period, 0, -int(earlier), new(r.ID+"@reserved")
		if err := db.enter(ctx, old); err != nil {
			return 0, err
		}
	}
	if err := db.enter(ctx, e); err != nil {
		return 0, err
	}
	return taken, db.setOwed(ctx, r.OrgID, period, present.Owed+reserved)
}
