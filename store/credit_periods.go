package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// PeriodOf returns the period of a time: a day (UTC), or a month. Months begin with
// the calendar's (UTC) or, with an anchor, a whole number of months after or before it;
// one that has no such day begins on its last.
func PeriodOf(unit string, anchor *time.Time, at time.Time) (begins, ends time.Time) {
	at = at.UTC()
	if unit == PeriodDay {
		begins = time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
		return begins, begins.AddDate(0, 0, 1)
	}
	first := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	if anchor != nil {
		first = anchor.UTC()
	}
	n := (at.Year()-first.Year())*12 + int(at.Month()) - int(first.Month())
	if addMonths(first, n).After(at) {
		n--
	}
	return addMonths(first, n), addMonths(first, n+1)
}

// addMonths is AddDate but for days that a month does not have: those are its last.
func addMonths(t time.Time, n int) time.Time {
	moved := t.AddDate(0, n, 0)
	if moved.Day() != t.Day() {
		moved = moved.AddDate(0, 0, -moved.Day())
	}
	return moved
}

// openPeriodsOf opens the accounts that generations are to be reserved on.
func (db *DB) openPeriodsOf(ctx context.Context, rows []*NewGeneration) error {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b *NewGeneration) int {
		return cmp.Or(cmp.Compare(a.OrgID, b.OrgID), a.CreatedAt.Compare(b.CreatedAt))
	})
	var open *CreditAccount
	for _, row := range rows {
		if row.Credits == 0 || open != nil && open.OrgID == row.OrgID && row.CreatedAt.Before(open.EndsAt) {
			continue // the rows are in the order of time
		}
		var err error
		if open, err = db.OpenPeriod(ctx, row.OrgID, row.CreatedAt); err != nil {
			return err
		}
	}
	return nil
}

// OpenPeriod returns the account of the period that a time is in. The first call makes
// it, with what the plan grants, unless its subscription is not paid, and what was
// bought and is left of the one before, less what is owed of that; any number of
// processes may call it at once. Where a change of plan has ended the period, it is the
// account that goes on; what is owed of it and has come back is taken.
// It returns ErrNotFound for an unknown organization.
func (db *DB) OpenPeriod(ctx context.Context, orgID string, at time.Time) (account *CreditAccount, err error) {
	err = db.within(ctx, func(tx *DB) error {
		org, err := tx.OperatorOrg(ctx, orgID) // locked
		if err != nil {
			return err
		}
		account, err = tx.openPeriod(ctx, org, at)
		if err == nil && account.BudgetSince != nil {
			err = tx.readSpentBefore(ctx, account)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open the period of %s: %w", orgID, err)
	}
	return account, nil
}

// openPeriod does so for an organization that is locked.
func (db *DB) openPeriod(ctx context.Context, org *Org, at time.Time) (*CreditAccount, error) {
	account, err := db.ongoingAccount(ctx, org.ID, at)
	switch {
	case err != nil:
		return nil, err
	case account != nil && account.Owed > 0 && account.spare() > 0:
		if err := db.carryCredits(ctx, org.ID); err != nil {
			return nil, err
		}
		return db.lockAccount(ctx, org.ID, account.Period)
	case account != nil:
		return account, nil
	}
	if err := db.beginPeriod(ctx, org, at); err != nil {
		return nil, err
	}
	return db.ongoingAccount(ctx, org.ID, at)
}

// beginPeriod makes the account of the period that a time is in, which has none.
func (db *DB) beginPeriod(ctx context.Context, org *Org, at time.Time) error {
	plan, err := db.Plan(ctx, org.Plan)
	if err != nil {
		return err
	}
	begins, ends := PeriodOf(plan.Period, org.PeriodAnchor, at)
	org, sub, err := db.subscribed(ctx, org, begins)
	if err != nil {
		return err
	}
	if plan, err = db.Plan(ctx, org.Plan); err != nil {
		return err
	}
	last, err := db.lastAccount(ctx, org.ID, at)
	if err != nil {
		return err
	}
	if last != nil && last.EndsAt.After(begins) {
		begins = last.EndsAt // its plan's periods were others
	}
	next, err := db.firstAccountAfter(ctx, org.ID, at)
	if err != nil {
		return err
	}
	if next != nil && next.Period.Before(ends) {
		ends = next.Period
	}
	granted, withheld := *plan, sub.withholds(begins)
	if withheld {
		granted.Credits, granted.Metered = 0, false
	}
	if had, err := db.hadElsewhere(ctx, org.ID, plan, begins, ends); err != nil {
		return err
	} else if had {
		granted.Credits = 0
	}
	if err := db.insertAccount(ctx, org, &granted, begins, ends, granted.Credits); err != nil {
		return err
	}
	if withheld {
		if err := db.setWithheld(ctx, org.ID, begins, true); err != nil {
			return err
		}
	}
	return db.carryCredits(ctx, org.ID)
}

// hadElsewhere reports whether the founder of an organization, which is locked, has had
// the credits of the first plan for another one in a period that meets this one. Until
// the transaction ends nobody else finds that out for the founder.
func (db *DB) hadElsewhere(ctx context.Context, orgID string, plan *Plan, begins, ends time.Time) (bool, error) {
	if plan.Place != 1 || plan.PriceMicros > 0 {
		return false, nil
	}
	if _, err := db.q.Exec(ctx, `
		SELECT pg_advisory_xact_lock(hashtextextended(founder, 0)) FROM org
		WHERE id = @id AND founder IS NOT NULL`, pgx.NamedArgs{"id": orgID}); err != nil {
		return false, err
	}
	n, err := db.number(ctx, `
		SELECT count(*)::int
		FROM org AS o JOIN org AS other ON other.founder = o.founder AND other.id <> o.id
		JOIN credit_account AS a ON a.org_id = other.id AND a.plan = @plan AND a.period < @ends AND a.ends_at > @begins
		WHERE o.id = @id AND a.granted > a.bought + a.given AND EXISTS ( -- it may have been used of what was bought
			SELECT FROM credit_entry AS e
			WHERE e.org_id = a.org_id AND e.period = a.period AND e.kind = '`+CreditAllowance+`' AND e.granted > 0)`, pgx.NamedArgs{"id": orgID, "plan": plan.Name, "begins": begins, "ends": ends})
	return n > 0, err
}

// insertAccount opens an account and grants it so many credits of the plan's.
func (db *DB) insertAccount(ctx context.Context, org *Org, plan *Plan, begins, ends time.Time, credits int) error {
	_, err := db.q.Exec(ctx, `
		INSERT INTO credit_account (org_id, period, ends_at, plan, metered, credit_micros, spend_limit, subscription, held)
		SELECT @org_id, @period, @ends_at, @plan, @metered, @credit_micros,
			(SELECT credits FROM budget WHERE org_id = @org_id AND hard_stop),
			`+paysFor+`, @metered AND `+isUnpaid,
		pgx.NamedArgs{
			"org_id": org.ID, "period": begins, "ends_at": ends, "plan": plan.Name, "metered": plan.Metered,
			"credit_micros": plan.CreditMicros,
		})
	if err != nil {
		return err
	}
	if credits == 0 {
		return db.setWarning(ctx, org.ID, begins)
	}
	return db.enter(ctx, CreditEntry{
		OrgID: org.ID, Period: begins, Kind: CreditAllowance, Granted: credits, Reason: new("plan " + plan.Name),
	})
}

// lockCarried locks what carryCredits changes, the earliest first as everyone does: the
// accounts that something bought may be left in or that something is owed of, and the
// latest, which comes last. It does so with those of some periods too.
func (db *DB) lockCarried(ctx context.Context, orgID string, also ...time.Time) ([]*CreditAccount, error) {
	return many[CreditAccount](ctx, db, `
		SELECT `+columns[CreditAccount]("")+` FROM credit_account
		WHERE org_id = @org_id
			AND (bought > 0 OR owed > 0 OR period = ANY(@also) OR period = (SELECT max(period) FROM credit_account WHERE org_id = @org_id))
		ORDER BY period
		FOR UPDATE`, pgx.NamedArgs{"org_id": orgID, "also": also})
}

// carryCredits moves what was bought and is left in ended periods, and what is owed of
// them, to the latest one, and takes there what can be taken of that. What is under way
// in them follows with a later call: what comes back is owed no more.
func (db *DB) carryCredits(ctx context.Context, orgID string) error {
	accounts, err := db.lockCarried(ctx, orgID)
	if err != nil || len(accounts) == 0 {
		return err
	}
	latest := accounts[len(accounts)-1]
	for _, a := range accounts[:len(accounts)-1] {
		if err := db.takeOwed(ctx, a); err != nil {
			return err
		}
		if moves := a.Owed - min(a.Owed, a.Reserved); moves > 0 {
			a.Owed -= moves
			latest.Owed += moves
			if err := db.setOwed(ctx, orgID, a.Period, a.Owed); err != nil {
				return err
			}
			if err := db.setOwed(ctx, orgID, latest.Period, latest.Owed); err != nil {
				return err
			}
		}
		left := int(min(a.Bought, a.rest(), math.MaxInt32))
		if left <= 0 {
			continue
		}
		for _, e := range []CreditEntry{
			{Period: a.Period, Granted: -left, Bought: -left, Reason: new("bought, carried into the next period")},
			{Period: latest.Period, Granted: left, Bought: left, Reason: new("bought, carried over from the period before")},
		} {
			e.OrgID, e.Kind = orgID, CreditCarry
			if err := db.enter(ctx, e); err != nil {
				return err
			}
		}
	}
	return db.takeOwed(ctx, latest)
}

// takeOwed takes what is owed from what has come back to an account, which is locked.
func (db *DB) takeOwed(ctx context.Context, a *CreditAccount) error {
	for {
		taken := min(a.Owed, a.spare(), math.MaxInt32) // what an entry holds
		if taken == 0 {
			return nil
		}
		a.Owed -= taken
		a.Granted -= taken
		if err := db.setOwed(ctx, a.OrgID, a.Period, a.Owed); err != nil {
			return err
		}
		if err := db.enter(ctx, CreditEntry{
			OrgID: a.OrgID, Period: a.Period, Kind: CreditAdjust, Granted: -int(taken), Reason: new("owed since a change of plan or a refund"),
		}); err != nil {
			return err
		}
	}
}

// CarryCredits moves what was bought and is left in ended periods to organizations'
// latest ones: what was reserved at the turn and released afterwards, within the last
// 40 days. It does so with what is owed too, and takes that where it has come back, for
// up to limit organizations, and returns for how many. Any number of processes may call it at once. What is left for longer is moved when the
// next period is opened.
func (db *DB) CarryCredits(ctx context.Context, limit int) (int, error) {
	orgs, err := many[struct{ OrgID string }](ctx, db, `
		SELECT DISTINCT a.org_id FROM credit_account AS a
		WHERE a.bought > 0 AND a.ends_at <= now() AND a.ends_at > now() - interval '40 days' AND `+restSQL+` > 0
			AND EXISTS (SELECT FROM credit_account AS b WHERE b.org_id = a.org_id AND b.period > a.period)
		UNION
		SELECT org_id FROM credit_account AS a
		WHERE owed > 0 AND (`+restSQL+` > bought + given OR owed > reserved AND EXISTS (
			SELECT FROM credit_account AS b WHERE b.org_id = a.org_id AND b.period > a.period))
		LIMIT @limit`, pgx.NamedArgs{"limit": limit})
	if err != nil {
		return 0, fmt.Errorf("carry credits: %w", err)
	}
	for _, o := range orgs {
		err := db.within(ctx, func(tx *DB) error {
			if _, err := tx.OperatorOrg(ctx, o.OrgID); err != nil {
				return err
			}
			return tx.carryCredits(ctx, o.OrgID)
		})
		if err != nil {
			return 0, fmt.Errorf("carry credits of %s: %w", o.OrgID, err)
		}
	}
	return len(orgs), nil
}

// ongoingAccount is the account of the period that a time is in or, where a change of
// plan has ended that, the one that goes on with it; nil: there is none.
func (db *DB) ongoingAccount(ctx context.Context, orgID string, at time.Time) (*CreditAccount, error) {
	return db.accountBeside(ctx, orgID, at, `period = `+ongoingPeriodSQL("@org_id"))
}

// ongoingPeriodSQL names an organization's account that ongoingAccount returns of @at.
func ongoingPeriodSQL(orgID string) string {
	return `(
				SELECT CASE WHEN closed THEN (
					SELECT min(period) FROM credit_account AS next
					WHERE next.org_id = present.org_id AND next.period > present.period AND NOT next.closed
				) ELSE period END
				FROM (
					SELECT org_id, period, ends_at, closed FROM credit_account
					WHERE org_id = ` + orgID + ` AND period <= @at
					ORDER BY period DESC
					LIMIT 1
				) AS present
				WHERE ends_at > @at)`
}

// lastAccount is the latest one that began by a time; nil: there is none.
func (db *DB) lastAccount(ctx context.Context, orgID string, at time.Time) (*CreditAccount, error) {
	return db.accountBeside(ctx, orgID, at, `period <= @at ORDER BY period DESC`)
}

func (db *DB) firstAccountAfter(ctx context.Context, orgID string, at time.Time) (*CreditAccount, error) {
	return db.accountBeside(ctx, orgID, at, `period > @at ORDER BY period`)
}

func (db *DB) accountBeside(ctx context.Context, orgID string, at time.Time, which string) (*CreditAccount, error) {
	account, err := one[CreditAccount](ctx, db, `
		SELECT `+columns[CreditAccount]("")+` FROM credit_account
		WHERE org_id = @org_id AND `+which+`
		LIMIT 1`, pgx.NamedArgs{"org_id": orgID, "at": at})
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return account, err
}
