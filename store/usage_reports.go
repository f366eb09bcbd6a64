package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A UsageReport tells Stripe of metered use. It is written before it is sent.
type UsageReport struct {
	Identifier string // the same for every repetition
	OrgID      string
	Period     time.Time // names the account
	Customer   string
	Credits    int64
	At         time.Time  // when it was written
	ToldAt     *time.Time // as of when Stripe was told of it at last; nil: never
	CreatedAt  time.Time
	SentAt     *time.Time
	Error      *string // of the last try
}

// reportFor is for how long after a period its use is still reported: generations that
// were accepted in it end within hours.
const reportFor = 30 * 24 * time.Hour

// lastMinutes is how long after a period Stripe still takes use of it into the period's
// invoice for sure: it keeps that open for an hour.
const lastMinutes = 30 * time.Minute

// reportEach is how long an account waits for its next report. Where its period or its
// subscription is about to end, or has ended, it does not wait: what Stripe is told
// later may be on no invoice.
const reportEach = 5 * time.Minute

// An UnreportedUse names an account with metered use that Stripe is not told of.
type UnreportedUse struct {
	OrgID  string
	Period time.Time
}

// billable is what of an account's use is billed: what was reported stays so, and takes
// nothing of what is bought or given afterwards; of the other, what goes beyond the granted.
const billable = `(a.reported + greatest(0, a.used - a.reported - a.granted))`

// DueUse returns accounts of subscribers with metered use that no report names and that a
// report is due of, at most limit: every five minutes, and at once where something ends.
// What an account that was not opened by a subscription has used is nobody's to pay.
func (db *DB) DueUse(ctx context.Context, at time.Time, limit int) ([]*UnreportedUse, error) {
	list, err := many[UnreportedUse](ctx, db, `
		SELECT a.org_id, a.period
		FROM subscription AS s JOIN credit_account AS a ON a.org_id = s.org_id
		WHERE s.subscription IS NOT NULL AND a.subscription IS NOT NULL AND a.metered AND a.credit_micros > 0 AND a.ends_at > @since AND `+billable+` > a.reported
			AND (coalesce(a.reported_at <= @earlier, true) OR a.ends_at <= @soon OR s.status = ANY (@ended)
				OR s.cancel_at_period_end AND s.period_end <= @soon OR EXISTS (SELECT FROM org WHERE org.id = a.org_id AND org.deleted_at IS NOT NULL))
		ORDER BY a.org_id, a.period
		LIMIT @limit`, pgx.NamedArgs{
		"since": at.Add(-reportFor), "earlier": at.Add(-reportEach), "soon": at.Add(reportEach), "ended": statusesEnded, "limit": limit,
	})
	if err != nil {
		return nil, fmt.Errorf("list metered use: %w", err)
	}
	return list, nil
}

// ReportUse writes a report of what of a subscriber's account no report names. It returns
// nil if there is nothing. Any number of processes may call it at once: each credit is in one
// report.
func (db *DB) ReportUse(ctx context.Context, u UnreportedUse, at time.Time) (report *UsageReport, err error) {
	err = db.within(ctx, func(tx *DB) error {
		args := pgx.NamedArgs{"org_id": u.OrgID, "period": u.Period, "at": at}
		// Whoever else reports of the account waits here.
		if _, err := tx.q.Exec(ctx, `SELECT FROM credit_account WHERE org_id = @org_id AND period = @period FOR NO KEY UPDATE`, args); err != nil {
			return err
		}
		rows, err := many[UsageReport](ctx, tx, `
			WITH named AS (
				UPDATE credit_account AS a
				SET reported = `+billable+`, reported_at = @at
				FROM subscription AS s
				WHERE a.org_id = @org_id AND a.period = @period AND a.metered AND a.subscription IS NOT NULL AND `+billable+` > a.reported
					AND s.org_id = a.org_id AND s.subscription IS NOT NULL
			)
			INSERT INTO usage_report (identifier, org_id, period, customer, credits, at)
			SELECT format('%s:%s:%s-%s', a.org_id, (extract(epoch FROM a.period) * 1000000)::bigint, a.reported, `+billable+`),
				a.org_id, a.period, s.customer, `+billable+` - a.reported, @at
			FROM credit_account AS a
			JOIN subscription AS s ON s.org_id = a.org_id
			WHERE a.org_id = @org_id AND a.period = @period AND a.metered AND a.subscription IS NOT NULL AND `+billable+` > a.reported
				AND s.subscription IS NOT NULL
			RETURNING `+columns[UsageReport](""), args)
		if err == nil && len(rows) > 0 {
			report = rows[0]
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("report use of %s: %w", u.OrgID, err)
	}
	return report, nil
}

// AimUsageReport decides as of when Stripe is told of a report now, and returns it, or
// ErrNotFound once it is sent. While Stripe takes use into the invoice of the period it
// is of, that is a time in the period; later it is now, which the next invoice has.
// Repetitions have the time of the first as long as that is so.
func (db *DB) AimUsageReport(ctx context.Context, identifier string, now time.Time) (*UsageReport, error) {
	r, err := one[UsageReport](ctx, db, `
		UPDATE usage_report AS r
		SET told_at = CASE
			WHEN EXISTS (
				SELECT FROM credit_account AS a
				WHERE a.org_id = r.org_id AND a.period <= r.told_at AND r.told_at < a.ends_at AND @now <= a.ends_at + @last_minutes
			) THEN r.told_at
			WHEN @now <= own.ends_at + @last_minutes THEN least(r.at, own.ends_at - interval '1 second')
			ELSE @now
		END
		FROM credit_account AS own
		WHERE r.identifier = @identifier AND r.sent_at IS NULL AND own.org_id = r.org_id AND own.period = r.period
		RETURNING `+columns[UsageReport]("r"),
		pgx.NamedArgs{"identifier": identifier, "now": now, "last_minutes": lastMinutes})
	if err != nil {
		return nil, fmt.Errorf("aim report %s: %w", identifier, err)
	}
	return r, nil
}

// UnsentReports returns reports that Stripe has not taken, at most limit: those that it
// has refused come last, and of these those that it was asked for last.
func (db *DB) UnsentReports(ctx context.Context, limit int) ([]*UsageReport, error) {
	list, err := many[UsageReport](ctx, db, `
		SELECT `+columns[UsageReport]("")+` FROM usage_report
		WHERE sent_at IS NULL
		ORDER BY error IS NOT NULL, tried_at NULLS FIRST, created_at
		LIMIT @limit`, pgx.NamedArgs{"limit": limit})
	if err != nil {
		return nil, fmt.Errorf("list unsent reports: %w", err)
	}
	return list, nil
}

// NoteUsageReport notes that Stripe has taken a report, or, with a reason, why not.
func (db *DB) NoteUsageReport(ctx context.Context, identifier, reason string) error {
	_, err := db.q.Exec(ctx, `
		UPDATE usage_report
		SET sent_at = CASE WHEN @reason::text IS NULL THEN now() END, error = @reason, tried_at = clock_timestamp()
		WHERE identifier = @identifier AND sent_at IS NULL`,
		pgx.NamedArgs{"identifier": identifier, "reason": textOrNil(reason)})
	if err != nil {
		return fmt.Errorf("note what came of report %s: %w", identifier, err)
	}
	return nil
}

// ForgetUsageReports deletes reports that were sent before a time, at most limit, and
// returns how many. The accounts know how much was reported.
func (db *DB) ForgetUsageReports(ctx context.Context, before time.Time, limit int) (n int, err error) {
	tag, err := db.q.Exec(ctx, `
		DELETE FROM usage_report
		WHERE identifier IN (SELECT identifier FROM usage_report WHERE sent_at < @before LIMIT @limit FOR UPDATE SKIP LOCKED)`,
		pgx.NamedArgs{"before": before, "limit": limit})
	if err != nil {
		return 0, fmt.Errorf("forget reports of use: %w", err)
	}
	return int(tag.RowsAffected()), nil
}
