package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// A FetchedSubscription is what Stripe says of a subscription.
type FetchedSubscription struct {
	ID                string
	Customer          string
	Plan              string // ours; empty: none of ours
	Status            string
	PeriodStart       time.Time
	PeriodEnd         time.Time
	CancelAtPeriodEnd bool
	LatestInvoice     string
	FetchedAt         time.Time // Clock before it was asked for
	Lost              bool      // Stripe does not have it
}

func (f *FetchedSubscription) is(statuses []string) bool { return slices.Contains(statuses, f.Status) }

// Notes of ApplySubscription: why a subscription changes nothing.
const (
	NoteNoCustomer = "no organization is this customer"
	NoteOutdated   = "what was fetched later is known"
	NoteAnother    = "the organization has another subscription"
	NoteNoPlan     = "the price is of no plan"
	NoteDeleted    = "the organization is deleted"
)

// ApplySubscription makes an organization what its subscription is now, and returns
// why it does not, or "". One that begins to be paid puts it on its plan, with a
// period that begins; a dearer plan is prorated; one that ends puts it on the first
// plan. A plan that costs less, or is metered, takes its place when the period ends,
// which is paid whole. While it is not paid, what the organization has stays, and its next period gets
// nothing until it is. Whatever the order and number of calls, the one that was fetched
// last decides, and nothing is granted twice.
func (db *DB) ApplySubscription(ctx context.Context, f FetchedSubscription, at time.Time) (note string, err error) {
	if f.PeriodStart.After(at) {
		at = f.PeriodStart // by Stripe's clock
	}
	err = db.within(ctx, func(tx *DB) error {
		known, err := tx.SubscriptionOfCustomer(ctx, f.Customer)
		if errors.Is(err, ErrNotFound) {
			note = NoteNoCustomer
			return nil
		}
		if err != nil {
			return err
		}
		org, err := tx.OperatorOrg(ctx, known.OrgID) // locked
		if err != nil {
			return err
		}
		if known, err = tx.Subscription(ctx, org.ID); err != nil { // as it is under the lock
			return err
		}
		if known.NextPlan != nil && known.endsBy(at) && org.DeletedAt == nil {
			if _, err := tx.openPeriod(ctx, org, at); err != nil { // with which the next plan begins
				return err
			}
			if org, err = tx.OperatorOrg(ctx, org.ID); err != nil {
				return err
			}
			if known, err = tx.Subscription(ctx, org.ID); err != nil {
				return err
			}
		}
		note = refuseFetched(known, &f)
		switch {
		case note != "":
			return nil
		case org.DeletedAt != nil:
			note = NoteDeleted
			return tx.saveFetched(ctx, org.ID, nil, nil, &f)
		}
		note, err = tx.applySubscription(ctx, org, known, &f, at)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("apply subscription %s: %w", f.ID, err)
	}
	return note, nil
}

// isIn reports whether it is this one, in the same period.
func (s *Subscription) isIn(f *FetchedSubscription) bool {
	return s.Subscription != nil && *s.Subscription == f.ID && s.PeriodStart != nil && s.PeriodStart.Equal(f.PeriodStart)
}

// refuseFetched says why a subscription is not the organization's present one. One that
// is for no plan is for something that the same customer has beside it, such as a
// contract.
func refuseFetched(known *Subscription, f *FetchedSubscription) string {
	switch {
	case f.Plan == "" && (known.Subscription == nil || *known.Subscription != f.ID):
		return NoteNoPlan
	case known.Subscription == nil:
		return ""
	case *known.Subscription == f.ID:
		if known.FetchedAt != nil && !f.FetchedAt.After(*known.FetchedAt) {
			return NoteOutdated
		}
		return ""
	case known.Live(), !f.is(statusesPaying):
		return NoteAnother
	}
	return ""
}

func (db *DB) applySubscription(ctx context.Context, org *Org, known *Subscription, f *FetchedSubscription, at time.Time) (note string, err error) {
	plan := known.Plan
	if known.Subscription != nil && *known.Subscription != f.ID {
		plan = nil
	}
	if f.is(statusesEnded) && plan != nil {
		// Before the row says so: a period that is opened now is not to be the plan's.
		if err := db.endPlan(ctx, org, *plan, f, at); err != nil {
			return "", err
		}
		plan = nil
	}
	next, err := db.nextPlan(ctx, known, plan, f)
	if err != nil {
		return "", err
	}
	if err := db.saveFetched(ctx, org.ID, plan, next, f); err != nil {
		return "", err
	}
	if plan != nil && org.Plan == *plan {
		if err := db.holdMetered(ctx, org, f.is(statusesUnpaid), at); err != nil {
			return "", err
		}
	}
	switch {
	case !f.is(statusesPaying):
		return "", nil
	case f.Plan == "":
		return NoteNoPlan, nil
	}
	now := *f
	if next != nil {
		now.Plan = *plan
	}
	if err := db.payPlan(ctx, org, known, plan, &now, at); err != nil {
		return "", err
	}
	return "", db.saveFetched(ctx, org.ID, &now.Plan, next, f)
}

// nextPlan is the plan that Stripe has for a subscription and that begins with its next
// period, since this one is paid for a dearer one; nil: there is none. One that a
// period has begun with is not the next.
func (db *DB) nextPlan(ctx context.Context, known *Subscription, plan *string, f *FetchedSubscription) (*string, error) {
	if plan == nil || f.Plan == "" || f.Plan == *plan || known.PeriodEnd == nil || !f.PeriodStart.Before(*known.PeriodEnd) {
		return nil, nil
	}
	was, err := db.Plan(ctx, *plan)
	if err != nil {
		return nil, err
	}
	next, err := db.Plan(ctx, f.Plan)
	if err != nil {
		return nil, err
	}
	if next.Waits(was) {
		return &f.Plan, nil
	}
	return nil, nil
}

// payPlan puts an organization on the plan that it pays for. before is the one it was
// on for this subscription; nil: none. An operator's choice of another stays until
// the subscription changes. One that was lost and is found again in the period that it
// was paid for, as the anchor says, goes on with the rest of that.
func (db *DB) payPlan(ctx context.Context, org *Org, known *Subscription, before *string, f *FetchedSubscription, at time.Time) error {
	c := PlanChange{OrgID: org.ID, Plan: f.Plan, Reason: "subscription " + f.ID}
	if before == nil {
		if !known.isIn(f) || !beginsPeriod(org.PeriodAnchor, f.PeriodStart) {
			c.Anchor = &f.PeriodStart
		}
		return db.changePaidPlan(ctx, c, f.ID, at)
	}
	if err := db.grantWithheld(ctx, org, *before, at); err != nil {
		return err
	}
	if !beginsPeriod(org.PeriodAnchor, f.PeriodStart) {
		c.Anchor = &f.PeriodStart
	}
	if *before == f.Plan && (c.Anchor == nil || org.Plan != *before) {
		return nil
	}
	return db.changePaidPlan(ctx, c, f.ID, at)
}

// changePaidPlan is ChangePlan to one that a subscription pays for, as it does for the
// use of the account that goes on.
func (db *DB) changePaidPlan(ctx context.Context, c PlanChange, subscription string, at time.Time) error {
	if _, err := db.ChangePlan(ctx, c, at); err != nil {
		return err
	}
	_, err := db.q.Exec(ctx, `
		UPDATE credit_account
		SET subscription = @subscription
		WHERE org_id = @org_id AND period = (SELECT max(period) FROM credit_account WHERE org_id = @org_id)`,
		pgx.NamedArgs{"org_id": c.OrgID, "subscription": subscription})
	return err
}

// beginsPeriod reports whether one of the months from an anchor on begins at a time.
func beginsPeriod(anchor *time.Time, at time.Time) bool {
	if anchor == nil {
		return false
	}
	begins, _ := PeriodOf(PeriodMonth, anchor, at)
	return begins.Equal(at)
}

// endPlan puts an organization on the first plan, unless an operator has put it on
// another than that of the subscription which has ended. Where nothing was granted for
// the present period, another begins with what the plan grants.
func (db *DB) endPlan(ctx context.Context, org *Org, plan string, f *FetchedSubscription, at time.Time) error {
	if org.Plan != plan {
		return nil
	}
	plans, err := db.Plans(ctx)
	if err != nil {
		return err
	}
	account, err := db.openPeriod(ctx, org, at)
	if err != nil {
		return err
	}
	granted, err := db.hasAllowance(ctx, org.ID, account.Period)
	if err != nil {
		return err
	}
	c := PlanChange{OrgID: org.ID, Plan: plans[0].Name, Reason: "subscription " + f.ID + " has ended"}
	if !granted {
		c.Anchor = &at
	}
	_, err = db.ChangePlan(ctx, c, at)
	return err
}

func (db *DB) saveFetched(ctx context.Context, orgID string, plan, next *string, f *FetchedSubscription) error {
	_, err := db.q.Exec(ctx, `
		UPDATE subscription
		SET subscription = @subscription, plan = @plan, next_plan = @next_plan, status = @status, period_start = @period_start, period_end = @period_end,
			cancel_at_period_end = @cancel_at_period_end, latest_invoice = @latest_invoice, fetched_at = @fetched_at, lost = @lost
		WHERE org_id = @org_id`,
		pgx.NamedArgs{
			"org_id": orgID, "subscription": f.ID, "plan": plan, "next_plan": next, "status": f.Status, "period_start": timeOrNil(f.PeriodStart),
			"period_end": timeOrNil(f.PeriodEnd), "cancel_at_period_end": f.CancelAtPeriodEnd,
			"latest_invoice": textOrNil(f.LatestInvoice), "fetched_at": f.FetchedAt, "lost": f.Lost,
		})
	return err
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
