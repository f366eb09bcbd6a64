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
	NextPlan          *string // that takes its place when the period ends, as Stripe has it already; nil: none
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

// ChargedBeside says what Stripe goes on charging for while an operator has put the
// organization on a plan; "" if that is the same, or nothing.
func (s *Subscription) ChargedBeside(plan string) string {
	if !s.Live() || s.Plan == nil || *s.Plan == plan {
		return ""
	}
	return fmt.Sprintf("its subscription %s goes on: Stripe charges for the plan %s, which is the organization's again when the subscription changes; end it in Stripe if that is not meant",
		*s.Subscription, *s.Plan)
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

// SubscriptionNamed returns what the organization has whose subscription is Stripe's
// sub_... of that id, or ErrNotFound.
func (db *DB) SubscriptionNamed(ctx context.Context, id string) (*Subscription, error) {
	sub, err := one[Subscription](ctx, db, `
		SELECT `+columns[Subscription]("")+` FROM subscription
		WHERE subscription = @id`, pgx.NamedArgs{"id": id})
	if err != nil {
		return nil, fmt.Errorf("subscription %s: %w", id, err)
	}
	return sub, nil
}

// ReplaceCustomer makes an organization another customer of Stripe's than one that is
// gone, unless it is another already or has a subscription that goes on, and returns
// what it has.
func (db *DB) ReplaceCustomer(ctx context.Context, orgID, gone, customer string) (*Subscription, error) {
	if _, err := db.q.Exec(ctx, `
		UPDATE subscription
		SET customer = @customer, subscription = NULL, plan = NULL, next_plan = NULL, status = NULL, period_start = NULL,
			period_end = NULL, cancel_at_period_end = false, latest_invoice = NULL, fetched_at = NULL, lost = false
		WHERE org_id = @org_id AND customer = @gone AND coalesce(status <> ALL (@going), true)`,
		pgx.NamedArgs{"org_id": orgID, "gone": gone, "customer": customer, "going": slices.Concat(statusesPaying, statusesUnpaid)}); err != nil {
		return nil, fmt.Errorf("replace the customer of %s: %w", orgID, err)
	}
	return db.Subscription(ctx, orgID)
}

// ErrCustomerTaken reports a customer of Stripe's that another organization is.
var ErrCustomerTaken = errors.New("the customer is another organization's")

// SaveCustomer remembers which customer of Stripe's an organization is, unless it is
// one already, and returns what it has. It fails with ErrCustomerTaken where another
// organization is that customer.
func (db *DB) SaveCustomer(ctx context.Context, orgID, customer string) (*Subscription, error) {
	if _, err := db.q.Exec(ctx, `
		INSERT INTO subscription (org_id, customer)
		VALUES (@org_id, @customer)
		ON CONFLICT DO NOTHING`, pgx.NamedArgs{"org_id": orgID, "customer": customer}); err != nil {
		return nil, fmt.Errorf("save customer of %s: %w", orgID, err)
	}
	sub, err := db.Subscription(ctx, orgID)
	if !errors.Is(err, ErrNotFound) {
		return sub, err
	}
	other, err := db.SubscriptionOfCustomer(ctx, customer)
	if err == nil {
		err = fmt.Errorf("%s is %s's: %w", customer, other.OrgID, ErrCustomerTaken)
	}
	return nil, fmt.Errorf("save customer of %s: %w", orgID, err)
}

// Clock is the database's time, by which all processes agree on what was fetched first.
func (db *DB) Clock(ctx context.Context) (time.Time, error) {
	row, err := one[struct{ Now time.Time }](ctx, db, `SELECT clock_timestamp() AS now`, nil)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask the database for the time: %w", err)
	}
	return row.Now, nil
}

// SubscriptionsToFetch returns subscriptions whose period has ended by a time, or that
// were not fetched for a day before it: those of which Stripe may have told in vain, and
// those that it did not have and may have again. At most limit are returned, those first
// that were tried the longest ago, and not again for five minutes.
func (db *DB) SubscriptionsToFetch(ctx context.Context, at time.Time, limit int) ([]*Subscription, error) {
	list, err := db.trySubscriptions(ctx, at, limit, `
		(status <> ALL (@ended) AND (period_end <= @at OR fetched_at < @at - interval '1 day') AND fetched_at < @at - interval '5 minutes'
			OR lost AND fetched_at < @at - interval '1 day')`)
	if err != nil {
		return nil, fmt.Errorf("list subscriptions to fetch: %w", err)
	}
	return list, nil
}

// SubscriptionsToCancel returns subscriptions that go on though their organization is
// deleted, and whose use Stripe knows: it takes what it is told into an invoice some
// minutes later. After a day they are not waited for any longer. At most limit are
// returned, those first that were tried the longest ago, and not again for five
// minutes.
func (db *DB) SubscriptionsToCancel(ctx context.Context, at time.Time, limit int) ([]*Subscription, error) {
	list, err := db.trySubscriptions(ctx, at, limit, `
		status <> ALL (@ended) AND EXISTS (SELECT FROM org WHERE org.id = org_id AND (deleted_at < now() - interval '1 day'
			OR deleted_at IS NOT NULL
			AND NOT EXISTS (SELECT FROM usage_report AS r WHERE r.org_id = s.org_id AND coalesce(r.sent_at > now() - interval '15 minutes', true))
			AND NOT EXISTS (
				SELECT FROM credit_account AS a
				WHERE a.org_id = s.org_id AND a.subscription IS NOT NULL AND a.metered AND a.credit_micros > 0 AND (a.reserved > 0 OR `+billable+` > a.reported))))`)
	if err != nil {
		return nil, fmt.Errorf("list subscriptions to cancel: %w", err)
	}
	return list, nil
}

// trySubscriptions returns subscriptions as s that are so, and notes that they are
// tried: what fails keeps no other waiting.
func (db *DB) trySubscriptions(ctx context.Context, at time.Time, limit int, where string) ([]*Subscription, error) {
	return many[Subscription](ctx, db, `
		WITH due AS (
			SELECT org_id FROM subscription AS s
			WHERE subscription IS NOT NULL AND coalesce(tried_at < @at::timestamptz - interval '5 minutes', true) AND `+where+`
			ORDER BY coalesce(tried_at, fetched_at)
			LIMIT @limit
			FOR NO KEY UPDATE SKIP LOCKED
		)
		UPDATE subscription AS s
		SET tried_at = @at
		FROM due
		WHERE s.org_id = due.org_id
		RETURNING `+columns[Subscription]("s"), pgx.NamedArgs{"ended": statusesEnded, "at": at, "limit": limit})
}

// Unbounded reports whether whatever is asked for is let in: use is metered, and the
// subscription is paid.
func (a *CreditAccount) Unbounded() bool { return a.Metered && !a.Held }

// withholds reports whether a period that begins at a time is opened with nothing
// granted: its subscription is not paid, or was to end before it.
func (s *Subscription) withholds(begins time.Time) bool {
	return s.Plan != nil && (s.Unpaid() || s.Live() && s.CancelAtPeriodEnd && s.endsBy(begins))
}

func (s *Subscription) endsBy(t time.Time) bool { return s.PeriodEnd != nil && !s.PeriodEnd.After(t) }

// subscribed is what an organization has with Stripe when a period begins: nothing, or
// its subscription, on the plan that takes the place of the last period's. The
// organization is put on that, unless an operator has put it on another.
func (db *DB) subscribed(ctx context.Context, org *Org, begins time.Time) (*Org, *Subscription, error) {
	sub, err := db.Subscription(ctx, org.ID)
	if errors.Is(err, ErrNotFound) {
		return org, &Subscription{}, nil
	}
	if err != nil || sub.NextPlan == nil || sub.Plan == nil || !sub.endsBy(begins) || !sub.Live() || sub.CancelAtPeriodEnd || org.DeletedAt != nil {
		return org, sub, err
	}
	if org.Plan == *sub.Plan {
		plan, err := db.Plan(ctx, *sub.NextPlan)
		if err != nil {
			return nil, nil, err
		}
		if org, err = db.changeOrg(ctx, "put on its next plan", `plan = @plan, retention_days = @retention_days`, org.ID,
			pgx.NamedArgs{"plan": plan.Name, "retention_days": plan.RetentionDays}); err != nil {
			return nil, nil, err
		}
	}
	sub.Plan, sub.NextPlan = sub.NextPlan, nil
	_, err = db.q.Exec(ctx, `
		UPDATE subscription
		SET plan = next_plan, next_plan = NULL
		WHERE org_id = @org_id`, pgx.NamedArgs{"org_id": org.ID})
	return org, sub, err
}

// paysFor is the subscription that goes on and pays for a plan, as a query of @org_id and
// @plan; isUnpaid whether it is not paid.
const (
	paysFor = `(SELECT subscription FROM subscription
		WHERE org_id = @org_id AND plan = @plan AND status IN ('active', 'trialing', 'past_due', 'unpaid', 'paused'))`
	isUnpaid = `EXISTS (SELECT FROM subscription
		WHERE org_id = @org_id AND plan = @plan AND status IN ('past_due', 'unpaid', 'paused'))`
)

// holdMetered lets nothing in, or lets it in again, beyond what is granted in the
// period that a time is in.
func (db *DB) holdMetered(ctx context.Context, org *Org, hold bool, at time.Time) error {
	account, err := db.openPeriod(ctx, org, at)
	if err != nil || account.Held == hold || !account.Metered {
		return err
	}
	if _, err := db.lockCarried(ctx, org.ID, account.Period); err != nil { // in order, before this one alone
		return err
	}
	_, err = db.q.Exec(ctx, `
		UPDATE credit_account
		SET held = @hold
		WHERE org_id = @org_id AND period = @period`,
		pgx.NamedArgs{"org_id": org.ID, "period": account.Period, "hold": hold})
	return err
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
	if _, err := db.lockCarried(ctx, org.ID, account.Period); err != nil { // in order, before this one alone
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
