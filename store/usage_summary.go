package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A SpendingPlan is what an organization wants to spend at most.
type SpendingPlan struct {
	Credits  int64 // in a period
	HardStop bool  // nothing is let in beyond it
}

// A UsageSummary is how an organization stands in its present period.
type UsageSummary struct {
	Account  *CreditAccount
	Used     UsageSums     // what has ended since the full hour that the period begins in
	Spending *SpendingPlan // nil: nobody has said
}

// errUndone ends a transaction that was only to show what it would do.
var errUndone = errors.New("undone")

// UsageSummary returns how an organization stands at a time, with what one project has
// used or, without its id, all have. It changes nothing: of a period that nothing has
// been asked for in, it tells what the first request will find. It returns ErrNotFound
// for an unknown organization.
func (db *DB) UsageSummary(ctx context.Context, orgID, projectID string, at time.Time) (*UsageSummary, error) {
	account, err := db.ForeseePeriod(ctx, orgID, at)
	if err != nil {
		return nil, fmt.Errorf("summarize usage: %w", err)
	}
	summary := &UsageSummary{Account: account}
	f := UsageFilter{OrgID: orgID, Start: account.Period.UTC().Truncate(time.Hour), End: account.EndsAt}
	if projectID != "" {
		f.ProjectIDs = []string{projectID}
	}
	if summary.Used, err = db.usageSince(ctx, f); err != nil {
		return nil, fmt.Errorf("summarize usage: %w", err)
	}
	summary.Spending, err = one[SpendingPlan](ctx, db, `
		SELECT credits, hard_stop FROM budget
		WHERE org_id = @org_id`, pgx.NamedArgs{"org_id": orgID})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("summarize usage: budget of %s: %w", orgID, err)
	}
	return summary, nil
}

// usageSince sums up hours until the first full day, and days from then on.
func (db *DB) usageSince(ctx context.Context, f UsageFilter) (sums UsageSums, err error) {
	days := f
	days.Daily = true
	if days.Start = f.Start.Truncate(24 * time.Hour); days.Start.Before(f.Start) {
		days.Start = days.Start.Add(24 * time.Hour)
	}
	f.End = days.Start
	for _, part := range []UsageFilter{f, days} {
		if !part.Start.Before(part.End) {
			continue
		}
		rows, err := db.Usage(ctx, part)
		if err != nil {
			return sums, err
		}
		for _, r := range rows {
			sums.add(&r.UsageSums)
		}
	}
	return sums, nil
}

func (s *UsageSums) add(more *UsageSums) {
	s.Succeeded += more.Succeeded
	s.Failed += more.Failed
	s.Canceled += more.Canceled
	s.Expired += more.Expired
	s.Images += more.Images
	s.Credits += more.Credits
	s.Micros += more.Micros
	s.ProviderMicros += more.ProviderMicros
}

// ForeseePeriod returns the account of the period that a time is in, or what opening
// it would make, and records nothing: it opens it and takes that back, so that the two
// can not differ. It returns ErrNotFound for an unknown organization.
func (db *DB) ForeseePeriod(ctx context.Context, orgID string, at time.Time) (*CreditAccount, error) {
	account, err := db.CreditAccount(ctx, orgID, at)
	if !errors.Is(err, ErrNotFound) {
		return account, err
	}
	err = db.Transact(ctx, func(tx *DB) error {
		if account, err = tx.OpenPeriod(ctx, orgID, at); err != nil {
			return err
		}
		return errUndone
	})
	if !errors.Is(err, errUndone) {
		return nil, err
	}
	return account, nil
}
