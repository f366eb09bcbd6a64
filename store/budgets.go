package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Budget is what an organization wants to spend in a period at most, and to hear of.
type Budget struct {
	OrgID            string
	Credits          int64   // in a period
	Alerts           []int   // percents of it
	HardStop         bool    // nothing is let in beyond it
	DowngradeAt      *int    // percent from which on pictures are asked for in DowngradeQuality
	DowngradeQuality *string // set with DowngradeAt
	UpdatedAt        time.Time
}

// Budget returns an organization's budget, or ErrNotFound.
func (db *DB) Budget(ctx context.Context, orgID string) (*Budget, error) {
	b, err := one[Budget](ctx, db, `
		SELECT `+columns[Budget]("")+` FROM budget
		WHERE org_id = @org_id`, pgx.NamedArgs{"org_id": orgID})
	if err != nil {
		return nil, fmt.Errorf("budget of %s: %w", orgID, err)
	}
	return b, nil
}

// SetBudget gives an organization a budget in place of the one it has, and returns it.
// It holds at once, in the period that a time is in, and in later ones: one that is
// used up already lets nothing more in. Alerts that are due are queued. Every process
// forgets what it knows of the organization's keys when the transaction commits.
func (db *DB) SetBudget(ctx context.Context, b Budget, at time.Time) (set *Budget, err error) {
	if b.Alerts == nil {
		b.Alerts = []int{}
	}
	err = db.changeBudget(ctx, b.OrgID, at, func(tx *DB) error {
		set, err = one[Budget](ctx, tx, `
			INSERT INTO budget (org_id, credits, alerts, hard_stop, downgrade_at, downgrade_quality)
			VALUES (@org_id, @credits, @alerts, @hard_stop, @downgrade_at, @downgrade_quality)
			ON CONFLICT (org_id) DO UPDATE
			SET credits = EXCLUDED.credits, alerts = EXCLUDED.alerts, hard_stop = EXCLUDED.hard_stop,
				downgrade_at = EXCLUDED.downgrade_at, downgrade_quality = EXCLUDED.downgrade_quality, updated_at = now()
			RETURNING `+columns[Budget](""),
			pgx.NamedArgs{
				"org_id": b.OrgID, "credits": b.Credits, "alerts": b.Alerts, "hard_stop": b.HardStop,
				"downgrade_at": b.DowngradeAt, "downgrade_quality": b.DowngradeQuality,
			})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("set the budget of %s: %w", b.OrgID, err)
	}
	return set, nil
}

// DeleteBudget takes an organization's budget away, as SetBudget does, or returns
// ErrNotFound.
func (db *DB) DeleteBudget(ctx context.Context, orgID string, at time.Time) error {
	err := db.changeBudget(ctx, orgID, at, func(tx *DB) error {
		tag, err := tx.q.Exec(ctx, `DELETE FROM budget WHERE org_id = @org_id`, pgx.NamedArgs{"org_id": orgID})
		if err == nil && tag.RowsAffected() == 0 {
			err = ErrNotFound
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete the budget of %s: %w", orgID, err)
	}
	return nil
}

// changeBudget runs a change of a budget with the organization locked, which keeps
// periods from being opened, and brings its accounts in line.
func (db *DB) changeBudget(ctx context.Context, orgID string, at time.Time, change func(tx *DB) error) error {
	return db.within(ctx, func(tx *DB) error {
		if _, err := tx.OperatorOrg(ctx, orgID); err != nil {
			return err
		}
		if err := change(tx); err != nil {
			return err
		}
		accounts, err := many[struct{ Period time.Time }](ctx, tx, `
			WITH running AS MATERIALIZED (
				SELECT org_id, period FROM credit_account
				WHERE org_id = @org_id AND ends_at > @at
				ORDER BY period
				FOR UPDATE
			)
			UPDATE credit_account AS a
			SET spend_limit = (SELECT credits FROM budget WHERE org_id = @org_id AND hard_stop)
			FROM running AS r
			WHERE (a.org_id, a.period) = (r.org_id, r.period)
			RETURNING a.period`, pgx.NamedArgs{"org_id": orgID, "at": at})
		if err != nil {
			return err
		}
		for _, a := range accounts {
			if err := tx.setWarning(ctx, orgID, a.Period); err != nil {
				return err
			}
		}
		return tx.ForgetKeys(ctx, orgID)
	})
}

// beforeSQL is the sum of what the accounts say that changes of plan have ended within
// the budget's period of account a. They let in nothing more, so that what they have used
// and reserved only becomes less: a budget that an older sum is held to is not exceeded.
func beforeSQL(what string) string {
	return `(
					SELECT coalesce(sum(` + what + `), 0)::bigint FROM credit_account AS before
					WHERE before.org_id = a.org_id AND before.period >= a.budget_since AND before.period < a.period)`
}

// readSpentBefore sets SpentBefore and UnderWayBefore of an account.
func (db *DB) readSpentBefore(ctx context.Context, account *CreditAccount) error {
	before, err := one[struct{ Used, Reserved int64 }](ctx, db, `
		SELECT `+beforeSQL("used")+` AS used, `+beforeSQL("reserved")+` AS reserved FROM credit_account AS a
		WHERE org_id = @org_id AND period = @period`, pgx.NamedArgs{"org_id": account.OrgID, "period": account.Period})
	if err != nil {
		return err
	}
	account.SpentBefore, account.UnderWayBefore = before.Used, before.Reserved
	return nil
}

// goOnSpending has the account that goes on with an ended one count against the budget
// what that has used and what of it is delivered yet. Nobody is told again of what was
// told.
func (db *DB) goOnSpending(ctx context.Context, ended *CreditAccount, period time.Time) error {
	if _, err := db.q.Exec(ctx, `
		WITH told AS (
			INSERT INTO spend_alert (org_id, period, what, percent)
			SELECT org_id, @period, what, percent FROM spend_alert
			WHERE org_id = @org_id AND period = @ended AND what = '`+SpendBudget+`'
			ON CONFLICT DO NOTHING
		)
		UPDATE credit_account
		SET budget_since = @since
		WHERE org_id = @org_id AND period = @period`,
		pgx.NamedArgs{
			"org_id": ended.OrgID, "period": period, "ended": ended.Period, "since": cmp.Or(ended.BudgetSince, &ended.Period),
		}); err != nil {
		return err
	}
	if err := db.setWarning(ctx, ended.OrgID, ended.Period); err != nil {
		return err
	}
	return db.setWarning(ctx, ended.OrgID, period)
}

// Downgrade returns the quality that an organization's pictures are to be asked for
// in, since what it has used and reserved has reached the share of its budget that it
// set for that; empty: it has not, or none is set.
func (db *DB) Downgrade(ctx context.Context, orgID string, at time.Time) (quality string, err error) {
	found, err := one[struct{ Quality string }](ctx, db, `
		SELECT b.downgrade_quality AS quality
		FROM budget AS b, LATERAL (
			SELECT reserved + used + `+beforeSQL("used + reserved")+` AS spent FROM credit_account AS a
			WHERE a.org_id = b.org_id AND a.period = `+ongoingPeriodSQL("@org_id")+`
		) AS a
		WHERE b.org_id = @org_id AND a.spent * 100 >= b.credits * b.downgrade_at`,
		pgx.NamedArgs{"org_id": orgID, "at": at})
	switch {
	case errors.Is(err, ErrNotFound):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("look whether %s saves: %w", orgID, err)
	}
	return found.Quality, nil
}
