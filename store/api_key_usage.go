package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// MonthOf returns the calendar month (UTC) that a time is in, for which keys have a
// limit: when it began, and when it is over.
func MonthOf(t time.Time) (begins, ends time.Time) {
	t = t.UTC()
	begins = time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	return begins, begins.AddDate(0, 1, 0)
}

// APIKeyUsage returns how many generations keys with a monthly limit that are counted
// together (APIKey.Usage) have asked for in the month of a time.
func (db *DB) APIKeyUsage(ctx context.Context, id string, at time.Time) (used int, err error) {
	month, _ := MonthOf(at)
	rows, err := db.q.Query(ctx, `
		SELECT coalesce(sum(used), 0)::int FROM api_key_usage
		WHERE usage_id = @id AND month = @month`,
		pgx.NamedArgs{"id": id, "month": month})
	if err == nil {
		used, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[int])
	}
	if err != nil {
		return 0, fmt.Errorf("usage of API key %s: %w", id, err)
	}
	return used, nil
}

// LapseAPIKeyUsage forgets up to limit counts of months that began more than 13 months
// before this one (UTC) or whose organization has been deleted, and returns how many.
func (db *DB) LapseAPIKeyUsage(ctx context.Context, limit int) (int, error) {
	tag, err := db.q.Exec(ctx, `
		DELETE FROM api_key_usage
		WHERE ctid = ANY(ARRAY(
			SELECT ctid FROM api_key_usage
			WHERE month < date_trunc('month', now() AT TIME ZONE 'UTC') - interval '13 months'
				OR usage_id IN (SELECT k.id FROM org JOIN api_key AS k ON k.org_id = org.id WHERE org.deleted_at IS NOT NULL)
			LIMIT @limit
			FOR UPDATE SKIP LOCKED))`,
		pgx.NamedArgs{"limit": limit})
	if err != nil {
		return 0, fmt.Errorf("lapse the usage of API keys: %w", err)
	}
	return int(tag.RowsAffected()), nil
}

// haveMonthly reports whether any of the generations is asked with a key that has a
// monthly limit.
func haveMonthly(rows []*NewGeneration) bool {
	return slices.ContainsFunc(rows, func(n *NewGeneration) bool { return n.KeyMonthly != nil })
}

// takeUsage are CTEs that count the generations of keys with a monthly limit as far as
// that reaches: those beyond it are in "refused". Each is counted in the month it is
// made in, and an idempotent replay is not. Keys that are counted together may have
// different limits: those with the largest come first, so that what one is refused no
// smaller one has. Whoever locks admission has to read "refused" first: usage is
// locked before it.
const takeUsage = `limited AS MATERIALIZED (
			SELECT id, batch_id, usage_id, key_monthly, month,
				row_number() OVER (PARTITION BY usage_id, month ORDER BY key_monthly DESC, id) AS place
			FROM json_to_recordset(@rows) AS r (id text, batch_id text, api_key_id text, key_usage text, key_monthly int, created_at timestamptz),
				LATERAL (SELECT coalesce(key_usage, api_key_id) AS usage_id, date_trunc('month', created_at AT TIME ZONE 'UTC')::date AS month) AS m
			WHERE key_monthly IS NOT NULL AND id NOT IN (SELECT generation_id FROM taken)
		), granted AS (
			INSERT INTO api_key_usage AS u (usage_id, month, used, granted)
			SELECT usage_id, month, n, n
			FROM (
				SELECT usage_id, month, count(*) FILTER (WHERE place <= key_monthly)::int AS n
				FROM limited GROUP BY usage_id, month
			) AS asked
			ORDER BY usage_id, month
			ON CONFLICT (usage_id, month) DO UPDATE
			SET (used, granted) = (
				SELECT u.used + count(*)::int, count(*)::int
				FROM limited AS l
				WHERE (l.usage_id, l.month) = (u.usage_id, u.month) AND u.used + l.place <= l.key_monthly
			)
			RETURNING usage_id, month, granted
		), refused AS MATERIALIZED (
			SELECT limited.id, limited.batch_id FROM limited JOIN granted USING (usage_id, month)
			WHERE place > granted
		), `

// giveBackUsageSQL takes those out of the count that their keys' limits let in, and
// that their organization's credits did not. It follows the statement that counted
// them, in its transaction: what that granted is still in the rows.
const giveBackUsageSQL = `
		UPDATE api_key_usage AS u
		SET used = u.used - (u.granted - m.recorded), granted = m.recorded
		FROM (
			SELECT coalesce(key_usage, api_key_id) AS usage_id, date_trunc('month', created_at AT TIME ZONE 'UTC')::date AS month,
				(count(*) FILTER (WHERE EXISTS (SELECT FROM generation AS g WHERE g.id = r.id)))::int AS recorded
			FROM json_to_recordset(@rows) AS r (id text, api_key_id text, key_usage text, key_monthly int, created_at timestamptz)
			WHERE key_monthly IS NOT NULL AND id NOT IN (` + takenSQL + `)
			GROUP BY 1, 2
		) AS m
		WHERE (u.usage_id, u.month) = (m.usage_id, m.month) AND u.granted > m.recorded`
