package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Subscription is what an organization has with Stripe, as it was when it was last
// fetched.
type Subscription struct {
	OrgID             string
	Customer          string  // Stripe's cus_...
	Subscription      *string // Stripe's sub_...; nil: none yet
	Plan              *string // that the organization is on for it; nil: none
	Status            *string // as Stripe has it
	PeriodStart       *time.Time
	PeriodEnd         *time.Time
	CancelAtPeriodEnd bool
	LatestInvoice     *string
	FetchedAt         *time.Time
	CreatedAt         time.Time
}

// States of a subscription that make a difference; all are Stripe's.
var (
	statusesPaying = []string{"active", "trialing"}
	statusesUnpaid = []string{"past_due", "unpaid", "paused"}
	statusesEnded  = []string{"canceled", "incomplete_expired"}
)

// Live reports whether the subscription goes on, paid or not.
func (s *Subscription) Live() bool {
	return s.Status != nil && (slices.Contains(statusesPaying, *s.Status) || slices.Contains(statusesUnpaid, *s.Status))
}

// Unpaid reports whether the subscription goes on and is not paid.
func (s *Subscription) Unpaid() bool {
	return s.Status != nil && slices.Contains(statusesUnpaid, *s.Status)
}

// Subscription returns what an organization has with Stripe, or ErrNotFound.
func (db *DB) Subscription(ctx context.Context, orgID string) (*Subscription, error) {
	sub, err := one[Subscription](ctx, db, `
		SELECT `+columns[Subscription]("")+` FROM subscription
		WHERE org_id = @org_id`, pgx.NamedArgs{"org_id": orgID})
	if err != nil {
		return nil, fmt.Errorf("subscription of %s: %w", orgID, err)
	}
	return sub, nil
}

// SubscriptionOfCustomer returns what a customer of Stripe's has, or ErrNotFound.
func (db *DB) SubscriptionOfCustomer(ctx context.Context, customer string) (*Subscription, error) {
	sub, err := one[Subscription](ctx, db, `
		SELECT `+columns[Subscription]("")+` FROM subscription
		WHERE customer = @customer`, pgx.NamedArgs{"customer": customer})
	if err != nil {
		return nil, fmt.Errorf("subscription of customer %s: %w", customer, err)
	}
	return sub, nil
}

// SaveCustomer remembers which customer of Stripe's an organization is, unless it is
// one already, and returns what it has.
func (db *DB) SaveCustomer(ctx context.Context, orgID, customer string) (*Subscription, error) {
	if _, err := db.q.Exec(ctx, `
		INSERT INTO subscription (org_id, customer)
		VALUES (@org_id, @customer)
		ON CONFLICT (org_id) DO NOTHING`, pgx.NamedArgs{"org_id": orgID, "customer": customer}); err != nil {
		return nil, fmt.Errorf("save customer of %s: %w", orgID, err)
	}
	return db.Subscription(ctx, orgID)
}

// Clock is the database's time, by which all processes agree on what was fetched first.
func (db *DB) Clock(ctx context.Context) (time.Time, error) {
	row, err := one[struct{ Now time.Time }](ctx, db, `SELECT clock_timestamp() AS now`, nil)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask the database for the time: %w", err)
	}
	return row.Now, nil
}

// SubscriptionsToFetch returns Stripe's ids of subscriptions whose period has ended by
// a time, or that were not fetched for a day before it: those of which Stripe may have
// told in vain. The longest unfetched come first, at most limit.
func (db *DB) SubscriptionsToFetch(ctx context.Context, at time.Time, limit int) ([]string, error) {
	list, err := many[struct{ Subscription string }](ctx, db, `
		SELECT subscription FROM subscription
		WHERE subscription IS NOT NULL AND status <> ALL (@ended)
			AND (period_end <= @at OR fetched_at < @at - interval '1 day') AND fetched_at < @at - interval '5 minutes'
		ORDER BY fetched_at
		LIMIT @limit`, pgx.NamedArgs{"ended": statusesEnded, "at": at, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("list subscriptions to fetch: %w", err)
	}
	ids := make([]string, len(list))
	for i, s := range list {
		ids[i] = s.Subscription
	}
	return ids, nil
}

// SubscriptionsToCancel returns Stripe's ids of subscriptions that go on though their
// organization is deleted, at most limit.
func (db *DB) SubscriptionsToCancel(ctx context.Context, limit int) ([]string, error) {
	list, err := many[struct{ Subscription string }](ctx, db, `
		SELECT s.subscription
		FROM subscription AS s JOIN org ON org.id = s.org_id
		WHERE s.subscription IS NOT NULL AND s.status <> ALL (@ended) AND org.deleted_at IS NOT NULL
		LIMIT @limit`, pgx.NamedArgs{"ended": statusesEnded, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("list subscriptions to cancel: %w", err)
	}
	ids := make([]string, len(list))
	for i, s := range list {
		ids[i] = s.Subscription
	}
	return ids, nil
}

// withholds reports whether a period that begins at a time is opened with nothing
// granted: its subscription is not paid, or was to end before it.
func (db *DB) withholds(ctx context.Context, orgID string, begins time.Time) (bool, error) {
	sub, err := db.Subscription(ctx, orgID)
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	ending := sub.Live() && sub.CancelAtPeriodEnd && sub.PeriodEnd != nil && !sub.PeriodEnd.After(begins)
	return sub.Plan != nil && (sub.Unpaid() || ending), nil
}

// hasAllowance reports whether the plan's credits were granted for a period.
func (db *DB) hasAllowance(ctx context.Context, orgID string, period time.Time) (bool, error) {
	n, err := db.number(ctx, `
		SELECT count(*)::int FROM credit_entry
		WHERE org_id = @org_id AND period = @period AND kind = 'allowance'`,
		pgx.NamedArgs{"org_id": orgID, "period": period})
	return n > 0, err
}

func (db *DB) setWithheld(ctx context.Context, orgID string, period time.Time, withheld bool) error {
	_, err := db.q.Exec(ctx, `
		UPDATE credit_account
		SET withheld = @withheld
		WHERE org_id = @org_id AND period = @period`,
		pgx.NamedArgs{"org_id": orgID, "period": period, "withheld": withheld})
	return err
}

// grantWithheld gives the period that a time is in what was withheld when it was opened,
// by the plan that it is on now. paid is the plan that was paid for.
func (db *DB) grantWithheld(ctx context.Context, org *Org, paid string, at time.Time) error {
	account, err := db.openPeriod(ctx, org, at)
	if err != nil || org.Plan != paid && !account.Withheld {
		return err
	}
	plan, err := db.Plan(ctx, account.Plan)
	if err != nil {
		return err
	}
	if plan.Metered != account.Metered {
		if _, err := db.q.Exec(ctx, `
			UPDATE credit_account
			SET metered = @metered
			WHERE org_id = @org_id AND period = @period`,
			pgx.NamedArgs{"org_id": org.ID, "period": account.Period, "metered": plan.Metered}); err != nil {
			return err
		}
	}
	if !account.Withheld {
		return nil
	}
	if err := db.setWithheld(ctx, org.ID, account.Period, false); err != nil || plan.Credits == 0 {
		return err
	}
	if err := db.enter(ctx, CreditEntry{
		OrgID: org.ID, Period: account.Period, Kind: CreditAllowance, Granted: plan.Credits,
		Subject: new("allowance:" + org.ID + ":" + account.Period.UTC().Format(time.RFC3339)), Reason: new("plan " + plan.Name + ", paid"),
	}); err != nil {
		return err
	}
	return db.carryCredits(ctx, org.ID) // what is owed of it
}
