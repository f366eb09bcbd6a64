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

// failedRefund is what the subject of an entry ends in that takes a refund's back, and
// reservedRefund that of one of what was reserved in another period than the present.
const (
	failedRefund   = ":failed"
	reservedRefund = "@reserved"
)

// refunded returns how many credits the entries of a refund have taken; nil: there are none.
func (db *DB) refunded(ctx context.Context, orgID, subject string) (*int, error) {
	sum, err := one[struct{ Taken *int }](ctx, db, `
		SELECT -sum(bought)::int AS taken FROM credit_entry
		WHERE org_id = @org_id AND subject IN (@subject, @subject || '`+reservedRefund+`') AND (kind = 'reserve') = false`,
		pgx.NamedArgs{"org_id": orgID, "subject": subject})
	if err != nil {
		return nil, err
	}
	return sum.Taken, nil
}

// RestoreRefund gives the credits back, in the period that a time is in, that were taken
// for a refund which has failed since. What was reserved as they were taken is bought
// again as it comes back, and owed no more; what was delivered of it stays used. It does
// so once; none are taken for the refund from then on.
func (db *DB) RestoreRefund(ctx context.Context, orgID, id string, at time.Time) error {
	err := db.within(ctx, func(tx *DB) error {
		if _, err := tx.OperatorOrg(ctx, orgID); err != nil { // locked
			return err
		}
		took, err := tx.takenBy(ctx, orgID, id)
		if err != nil {
			return err
		}
		account, err := tx.OpenPeriod(ctx, orgID, at)
		if err != nil {
			return err
		}
		if done, err := tx.refunded(ctx, orgID, id+failedRefund); err != nil || done != nil {
			return err
		}
		return tx.restoreRefund(ctx, orgID, id, account.Period, took)
	})
	if err != nil {
		return fmt.Errorf("restore credits of refund %s: %w", id, err)
	}
	return nil
}

// takenBy returns the entries of a refund, and locks the accounts that they are of with
// the others that carryCredits locks.
func (db *DB) takenBy(ctx context.Context, orgID, id string) ([]*CreditEntry, error) {
	took, err := many[CreditEntry](ctx, db, `
		SELECT `+columns[CreditEntry]("")+` FROM credit_entry
		WHERE org_id = @org_id AND subject IN (@id, @id || '`+reservedRefund+`') AND (kind = 'reserve') = false
		ORDER BY id`, pgx.NamedArgs{"org_id": orgID, "id": id})
	if err != nil {
		return nil, err
	}
	periods := make([]time.Time, len(took))
	for i, e := range took {
		periods[i] = e.Period
	}
	_, err = db.lockCarried(ctx, orgID, periods...)
	return took, err
}

// restoreRefund gives back in a period what was left, and leaves what was reserved where
// it is.
func (db *DB) restoreRefund(ctx context.Context, orgID, id string, period time.Time, took []*CreditEntry) error {
	periods := []time.Time{period}
	for _, e := range took {
		periods = append(periods, e.Period)
	}
	if err := db.carryCredits(ctx, orgID); err != nil { // what has come back is taken first
		return err
	}
	accounts, err := db.lockCarried(ctx, orgID, periods...)
	if err != nil {
		return err
	}
	back := CreditEntry{
		OrgID: orgID, Period: period, Kind: CreditRefund, Subject: new(id + failedRefund), Reason: new("the refund has failed"),
	}
	var others []CreditEntry // of what was reserved in other periods
	for _, e := range took {
		there := back
		there.Period, there.Subject = e.Period, new(*e.Subject+failedRefund+reservedRefund)
		if *e.Subject != id { // of the period before: nothing was owed of it
			there.Granted, there.Bought = -e.Granted, -e.Bought
			others = append(others, there)
			continue
		}
		here, gone, err := db.forgiveRefund(ctx, accounts, e)
		if err != nil {
			return err
		}
		back.Granted -= e.Bought + here + gone
		back.Bought -= e.Bought + gone
		if here > 0 && !e.Period.Equal(period) {
			there.Bought = here
			back.Bought -= here
			others = append(others, there)
		}
	}
	for _, e := range append(others, back) {
		if err := db.enter(ctx, e); err != nil {
			return err
		}
	}
	return db.carryCredits(ctx, orgID)
}

// forgiveRefund ends what is owed of what a refund has taken while it was reserved, and
// returns how much that is: of what may still come back in the period it was taken in,
// and of what a later period owes, since it was delivered. What has come back is taken
// already, so that what is owed beyond this is of something else.
func (db *DB) forgiveRefund(ctx context.Context, accounts []*CreditAccount, took *CreditEntry) (here, gone int, err error) {
	released, err := db.releasedSince(ctx, took)
	if err != nil {
		return 0, 0, err
	}
	owed := max(0, int64(took.Granted-took.Bought)-released)
	latest := accounts[len(accounts)-1]
	for _, a := range accounts {
		forgiven := int(min(a.Owed, owed))
		switch {
		case forgiven == 0:
			continue
		case a.Period.Equal(took.Period):
			here = forgiven
		case a == latest:
			gone = forgiven
		default:
			continue
		}
		owed -= int64(forgiven)
		a.Owed -= int64(forgiven)
		if err := db.setOwed(ctx, a.OrgID, a.Period, a.Owed); err != nil {
			return 0, 0, err
		}
	}
	return here, gone, nil
}

// releasedSince is how many of the credits that were reserved in an entry's period as it
// was written were released since.
func (db *DB) releasedSince(ctx context.Context, took *CreditEntry) (int64, error) {
	sum, err := one[struct{ Released int64 }](ctx, db, `
		SELECT coalesce(-sum(e.reserved) - sum(e.used), 0)::bigint AS released
		FROM credit_entry AS e
		JOIN generation AS g ON g.id = e.subject
		JOIN credit_entry AS r ON r.subject = coalesce(g.batch_id, g.id) AND (r.kind = 'reserve')
		WHERE e.org_id = @org_id AND e.id > @id AND e.period = @period AND e.kind IN ('settle', 'release') AND r.id < @id`,
		pgx.NamedArgs{"org_id": took.OrgID, "id": took.ID, "period": took.Period})
	if err != nil {
		return 0, err
	}
	return sum.Released, nil
}

// lockRefunded locks the accounts that a refund may take from, with what is left carried
// on, and with nothing counted as bought that is used. Submissions wait from then on, so
// that what is taken is there.
func (db *DB) lockRefunded(ctx context.Context, orgID string, period time.Time) ([]*CreditAccount, error) {
	if _, err := db.lockCarried(ctx, orgID, period); err != nil {
		return nil, err
	}
	if err := db.carryCredits(ctx, orgID); err != nil {
		return nil, err
	}
	accounts, err := db.lockCarried(ctx, orgID, period)
	if err != nil {
		return nil, err
	}
	for _, a := range accounts {
		if a.Reserved == 0 { // what is left is all that can be taken
			continue
		}
		if err := db.forgetUsed(ctx, orgID, a.Period); err != nil {
			return nil, err
		}
	}
	return db.lockCarried(ctx, orgID, period)
}

// refundFrom takes back what is left on the account of a period and what is reserved
// there or, where that does not do, on the one before it that most is reserved on.
func (db *DB) refundFrom(ctx context.Context, r RefundedPurchase, period time.Time) (taken int, err error) {
	accounts, err := db.lockRefunded(ctx, r.OrgID, period)
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
	owed := present.Owed + reserved
	if present.Metered {
		e.Granted, owed = e.Bought, present.Owed
	}
	if earlier > 0 { // what is released there is lost
		old := e
		old.Period, old.Granted, old.Bought, old.Subject = before.Period, 0, -int(earlier), new(r.ID+reservedRefund)
		if before.Metered {
			old.Granted = old.Bought
		}
		if err := db.enter(ctx, old); err != nil {
			return 0, err
		}
	}
	if err := db.enter(ctx, e); err != nil {
		return 0, err
	}
	return taken, db.setOwed(ctx, r.OrgID, period, owed)
}
