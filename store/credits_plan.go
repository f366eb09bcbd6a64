package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
)

// A PlanChange puts an organization on a plan.
type PlanChange struct {
	OrgID string
	Plan  string
	// Anchor, if not nil, begins a new period now, and one each month after it, or
	// after now if it is later: the plan's credits are granted whole. Without it the period goes on, and what the
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
	at = at.Truncate(time.Microsecond) // as Postgres keeps it
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
			// Of a clock that is ahead it would begin a second period at once.
			anchor := c.Anchor.Truncate(time.Microsecond)
			if anchor.After(at) {
				anchor = at
			}
			after.PeriodAnchor = &anchor
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

// changePeriod goes on with the account of a time on another plan, or ends it then and
// begins the plan's, which lets in what was submitted before too, and comes later: the
// ended one's use is what the budget counts from then on. Where another process's clock
// is ahead, the latest account counts.
func (db *DB) changePeriod(ctx context.Context, c PlanChange, before, after *Org, plan *Plan, at time.Time) error {
	if _, err := db.openPeriod(ctx, before, at); err != nil {
		return err
	}
	accounts, err := db.lockCarried(ctx, c.OrgID)
	if err != nil {
		return err
	}
	account := accounts[len(accounts)-1]
	was, err := db.Plan(ctx, account.Plan)
	if err != nil {
		return err
	}
	if c.Anchor == nil && was.Period == plan.Period && account.Metered == plan.Metered && (!plan.Metered || account.CreditMicros == plan.CreditMicros) {
		return db.prorate(ctx, c, account, was, plan, at)
	}
	if !at.After(account.Period) {
		at = account.Period.Add(time.Microsecond)
	}
	if _, err := db.q.Exec(ctx, `
		UPDATE credit_account
		SET ends_at = @at, closed = true
		WHERE org_id = @org_id AND period = @period`,
		pgx.NamedArgs{"org_id": c.OrgID, "period": account.Period, "at": at}); err != nil {
		return err
	}
	if err := db.beginWith(ctx, c, after, plan, accounts, at); err != nil {
		return err
	}
	if c.Anchor == nil || !plan.paid() { // else what begins is a subscription
		if err := db.goOnSpending(ctx, account, at); err != nil {
			return err
		}
	}
	if err := db.carryGiven(ctx, account, at); err != nil {
		return err
	}
	return db.carryCredits(ctx, c.OrgID)
}

// beginWith opens the account of a plan that begins at a time, with what is due of it for
// the rest of its period: nothing while that waits for its payment.
func (db *DB) beginWith(ctx context.Context, c PlanChange, org *Org, plan *Plan, accounts []*CreditAccount, at time.Time) (err error) {
	begins, ends := PeriodOf(plan.Period, org.PeriodAnchor, at)
	credits, waits := plan.Credits, false
	if c.Anchor == nil && !plan.Metered {
		if waits, err = db.waitsForPayment(ctx, org.ID, begins); err != nil {
			return err
		}
	}
	switch {
	case waits:
		credits = 0
	case c.Anchor == nil || plan.PriceMicros == 0:
		credits, err = db.restOf(ctx, org, plan, at, begins, ends)
	default: // it is paid whole
		err = db.endOwed(ctx, accounts)
	}
	if err != nil {
		return err
	}
	if err := db.insertAccount(ctx, org, plan, at, ends, credits); err != nil {
		return err
	}
	return db.setWithheld(ctx, org.ID, at, waits)
}

// waitsForPayment reports whether what is granted in the period that begins at a time
// waits for a payment: it did before an operator's choice of a plan in between, and the
// subscription is not paid since.
func (db *DB) waitsForPayment(ctx context.Context, orgID string, begins time.Time) (bool, error) {
	sub, err := db.Subscription(ctx, orgID)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil || !sub.withholds(begins) {
		return false, err
	}
	n, err := db.number(ctx, `
		SELECT count(*)::int FROM credit_account
		WHERE org_id = @org_id AND withheld AND ends_at > @begins`, pgx.NamedArgs{"org_id": orgID, "begins": begins})
	return n > 0, err
}

// carryGiven moves what operators have given and is left to the account that goes on
// with an ended one.
func (db *DB) carryGiven(ctx context.Context, ended *CreditAccount, at time.Time) error {
	left := int(min(ended.Given, max(0, ended.rest()-ended.Bought), math.MaxInt32))
	if left == 0 {
		return nil
	}
	for _, e := range []CreditEntry{
		{Period: ended.Period, Granted: -left, Reason: new("granted, kept over the change of plan")},
		{Period: at, Granted: left, Reason: new("granted before the change of plan")},
	} {
		e.OrgID, e.Kind = ended.OrgID, CreditCarry
		if err := db.enter(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// restOf is what a plan grants for the rest of a period. An organization that comes
// back to a plan within a period's time gets no more than the plan's credits in all.
func (db *DB) restOf(ctx context.Context, org *Org, plan *Plan, at, begins, ends time.Time) (int, error) {
	since := begins
	if org.PeriodAnchor != nil && plan.Period == PeriodMonth { // which may be new
		since = addMonths(at, -1)
	}
	used, err := one[struct{ Used int64 }](ctx, db, `
		SELECT coalesce(sum(least(used - reported + reserved, granted)), 0)::bigint AS used FROM credit_account
		WHERE org_id = @org_id AND plan = @plan AND ends_at > @since`,
		pgx.NamedArgs{"org_id": org.ID, "plan": plan.Name, "since": since})
	if err != nil {
		return 0, err
	}
	left := max(0, int64(plan.Credits)-used.Used)
	return int(min(left, int64(share(plan.Credits, at, begins, ends)))), nil
}

// prorate goes on with an account on another plan. What a smaller plan can not take,
// because it has been used or is reserved, is owed: whoever goes to and fro gains
// nothing. What was bought or given is not touched.
func (db *DB) prorate(ctx context.Context, c PlanChange, account *CreditAccount, was, plan *Plan, at time.Time) error {
	change, owed := share(plan.Credits-was.Credits, at, account.Period, account.EndsAt), account.Owed
	switch {
	case account.Withheld: // nothing was granted yet
		change = 0
	case change > 0:
		change, owed = payOff(change, owed)
	case !account.Metered:
		taken := min(int64(-change), max(0, account.spare()-owed))
		owed += int64(-change) - taken
		change = -int(taken)
	}
	if _, err := db.q.Exec(ctx, `
		UPDATE credit_account
		SET plan = @plan, credit_micros = @credit_micros, owed = @owed, held = metered AND `+isUnpaid+`
		WHERE org_id = @org_id AND period = @period`,
		pgx.NamedArgs{
			"org_id": c.OrgID, "period": account.Period, "plan": plan.Name, "credit_micros": plan.CreditMicros, "owed": owed,
		}); err != nil {
		return err
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

// payOff is what is left of credits once what is owed has been taken, and what is owed
// then.
func payOff(credits int, owed int64) (rest int, still int64) {
	paid := min(int64(credits), owed)
	return credits - int(paid), owed - paid
}

func (db *DB) setOwed(ctx context.Context, orgID string, period time.Time, owed int64) error {
	_, err := db.q.Exec(ctx, `
		UPDATE credit_account
		SET owed = @owed
		WHERE org_id = @org_id AND period = @period AND owed <> @owed`,
		pgx.NamedArgs{"org_id": orgID, "period": period, "owed": owed})
	return err
}

// endOwed ends what is owed of accounts, which are locked.
func (db *DB) endOwed(ctx context.Context, accounts []*CreditAccount) error {
	for _, a := range accounts {
		if err := db.setOwed(ctx, a.OrgID, a.Period, 0); err != nil {
			return err
		}
	}
	return nil
}

// share is what is due of credits for the rest of a period, to the nearest.
func share(credits int, at, begins, ends time.Time) int {
	return int(math.Round(float64(credits) * left(at, begins, ends)))
}

// left is the share of a period that is left, from 0 to 1.
func left(at, begins, ends time.Time) float64 {
	return min(1, max(0, float64(ends.Sub(at))/float64(ends.Sub(begins))))
}
