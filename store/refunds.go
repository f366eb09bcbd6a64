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
		before, err := one[struct{ Taken *int }](ctx, tx, `
			SELECT -sum(bought)::int AS taken FROM credit_entry
			WHERE org_id = @org_id AND subject IN (@subject, @subject || '@reserved') AND (kind = 'reserve') = false`,
			pgx.NamedArgs{"org_id": r.OrgID, "subject": r.ID})
		if err != nil {
			return err
		}
		if before.Taken != nil {
			taken = *before.Taken
			return nil
		}
		taken, err = tx.refundFrom(ctx, r, account.Period)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("take back credits of refund %s: %w", r.ID, err)
	}
	return taken, nil
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
