package store

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
)

// A PlanChange puts an organization on a plan.
type PlanChange struct {
	OrgID string
	Plan  string
	// Anchor, if not nil, begins a new period now, and one each month after it: the
	// plan's credits are granted whole. Without it the period goes on, and what the
	// plans grant is prorated.
	Anchor *time.Time
	Reason string
	Actor  string
}

// ChangePlan puts an organization on a plan, whose retention of images it gets too, and
// returns it. What the plans grant for the rest of the period is added, or taken as far
// as it has not been used. Every process forgets what it knows of the organization's
// keys when the transaction commits.
func (db *DB) ChangePlan(ctx context.Context, c PlanChange, at time.Time) (org *Org, err error) {
	err = db.within(ctx, func(tx *DB) error {
		before, err := tx.OperatorOrg(ctx, c.OrgID)
		if err != nil {
			return err
		}
		plan, err := tx.Plan(ctx, c.Plan)
		if err != nil {
			return err
		}
		after := *before
		after.Plan, after.RetentionDays = plan.Name, plan.RetentionDays
		if c.Anchor != nil {
			after.PeriodAnchor = c.Anchor
		}
		if err := tx.changePeriod(ctx, c, before, &after, plan, at); err != nil {
			return err
		}
		org, err = tx.changeOrg(ctx, "change the plan of", `plan = @plan, retention_days = @retention_days, period_anchor = @anchor`, c.OrgID,
			pgx.NamedArgs{"plan": after.Plan, "retention_days": after.RetentionDays, "anchor": after.PeriodAnchor})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("put %s on plan %s: %w", c.OrgID, c.Plan, err)
	}
	return org, nil
}

func (db *DB) changePeriod(ctx context.Context, c PlanChange, before, after *Org, plan *Plan, at time.Time) error {
	account, err := db.openPeriod(ctx, before, at)
	if err != nil {
		return err
	}
	if account, err = db.lockAccount(ctx, c.OrgID, account.Period); err != nil {
		return err
	}
	was, err := db.Plan(ctx, before.Plan)
	if err != nil {
		return err
	}
	if c.Anchor == nil && was.Period == plan.Period && account.Metered == plan.Metered || !at.After(account.Period) {
		return db.prorate(ctx, c, account, was, plan, at)
	}
	if _, err := db.q.Exec(ctx, `
		UPDATE credit_account
		SET ends_at = @at
		WHERE org_id = @org_id AND period = @period`,
		pgx.NamedArgs{"org_id": c.OrgID, "period": account.Period, "at": at}); err != nil {
		return err
	}
	begins, ends := PeriodOf(plan.Period, after.PeriodAnchor, at)
	credits := plan.Credits
	if c.Anchor == nil {
		credits = share(credits, at, begins, ends)
	}
	if err := db.insertAccount(ctx, after, plan, at, ends, credits); err != nil {
		return err
	}
	return db.carryCredits(ctx, c.OrgID)
}

// prorate goes on with an account on another plan.
func (db *DB) prorate(ctx context.Context, c PlanChange, account *CreditAccount, was, plan *Plan, at time.Time) error {
	if _, err := db.q.Exec(ctx, `
		UPDATE credit_account
		SET plan = @plan, credit_micros = @credit_micros
		WHERE org_id = @org_id AND period = @period`,
		pgx.NamedArgs{"org_id": c.OrgID, "period": account.Period, "plan": plan.Name, "credit_micros": plan.CreditMicros}); err != nil {
		return err
	}
	change := share(plan.Credits-was.Credits, at, account.Period, account.EndsAt)
	if !account.Metered {
		change = max(change, -int(account.Available()))
	}
	if change == 0 {
		return db.setWarning(ctx, c.OrgID, account.Period)
	}
	reason := fmt.Sprintf("plan %s to %s, %.0f %% of the period left", was.Name, plan.Name, 100*left(at, account.Period, account.EndsAt))
	if c.Reason != "" {
		reason += ": " + c.Reason
	}
	return db.enter(ctx, CreditEntry{
		OrgID: c.OrgID, Period: account.Period, Kind: CreditAdjust, Granted: change, Reason: &reason, Actor: textOrNil(c.Actor),
	})
}

// share is what is due of credits for the rest of a period, to the nearest.
func share(credits int, at, begins, ends time.Time) int {
	return int(math.Round(float64(credits) * left(at, begins, ends)))
}

// left is the share of a period that is left, from 0 to 1.
func left(at, begins, ends time.Time) float64 {
	return min(1, max(0, float64(ends.Sub(at))/float64(ends.Sub(begins))))
}
