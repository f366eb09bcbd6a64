package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// WarnKind is the kind of the ticket that is queued when an organization's use passes
// what someone wants to hear of. Its arguments are "org" and "period".
const WarnKind = "warn_spending"

// endedColumns lists what settleCredits reads of ended generations, for the RETURNING of what
// ends them.
const endedColumns = `g.id, g.org_id, g.project_id, g.api_key_id, g.kind, g.model_used, g.params, g.n, g.status,
	g.error, g.image_errors, g.created_at, g.finished_at, g.credits, g.charged, g.credit_micros, g.credit_period`

// accountsLocked is a condition that is true once settleCredits has locked the
// accounts.
const accountsLocked = `(SELECT count(*) FROM settled) >= 0`

// deliveredSQL is how many images a generation that has succeeded has: those that are
// missing are in image_errors.
func deliveredSQL(n, imageErrors string) string {
	return `(` + n + ` - CASE jsonb_typeof(` + imageErrors + `) WHEN 'array' THEN jsonb_array_length(` + imageErrors + `) ELSE 0 END)`
}

// chargedSQL is what an ended generation is charged of the credits that are reserved
// for it: its delivered images alone, each at its share of the reserved, or charge where
// that is less, which may be NULL. One that was canceled has delivered what its earlier
// runs have stored. It is NULL for a free one.
func chargedSQL(g, status, imageErrors, charge string) string {
	return `CASE
				WHEN ` + g + `.credits IS NULL THEN NULL
				WHEN ` + status + ` = 'succeeded' THEN least(` + g + `.credits, ` +
		deliveredSQL(g+".n", imageErrors) + ` * (` + g + `.credits / ` + g + `.n), ` + charge + `)
				WHEN ` + status + ` = 'canceled' THEN ` + storedChargeSQL(g) + `
				ELSE 0
			END`
}

// storedChargeSQL is what a generation's stored images cost.
func storedChargeSQL(g string) string {
	return `(stored_images(` + g + `.id, ` + g + `.credits / ` + g + `.n)).credits`
}

// settleCredits are the CTEs that take what ended generations cost out of what was
// reserved for it, write that down, and count it as use. ended is a query of them with
// endedColumns. attempts is whether @attempts ends some of their attempts in the same
// statement. Accounts are locked in order: whatever locks admission in the same
// statement must read "settled" before.
func settleCredits(ended string, attempts bool) string {
	billed, paid := "", `paid_micros(e.id)`
	if attempts {
		// Parsed once, and not once for each generation.
		billed = `billed AS MATERIALIZED (
			SELECT generation_id, n, cost_micros FROM json_populate_recordset(NULL::attempt, @attempts)
		), `
		paid = `(
				SELECT coalesce(sum(cost_micros), 0) FROM attempt AS a
				WHERE a.generation_id = e.id AND (generation_id, n) NOT IN (SELECT generation_id, n FROM billed)
			) + coalesce((
				SELECT sum(cost_micros) FROM billed AS b WHERE b.generation_id = e.id), 0)`
	}
	return billed + `due AS MATERIALIZED (
			SELECT e.*, coalesce(params ->> 'resolution', '') AS size, ` + paid + ` AS provider_micros,
				CASE status
					WHEN 'succeeded' THEN ` + deliveredSQL("n", "image_errors") + `
					WHEN 'canceled' THEN (stored_images(e.id, 0)).images
					ELSE 0
				END AS images
			FROM (` + ended + `) AS e
			WHERE credits IS NOT NULL
		), settled AS (
			INSERT INTO credit_account AS a (org_id, period, ends_at, plan)
			SELECT org_id, credit_period, credit_period + interval '1 second', '' FROM due
			GROUP BY org_id, credit_period
			ORDER BY org_id, credit_period
			ON CONFLICT (org_id, period) DO UPDATE
			SET (reserved, used) = (
				SELECT a.reserved - sum(credits), a.used + sum(charged) FROM due
				WHERE (due.org_id, due.credit_period) = (a.org_id, a.period)
			)
			RETURNING org_id, period, used, warn_at
		), settlement AS (
			INSERT INTO credit_entry (org_id, period, kind, subject, reserved, used, micros, reason)
			SELECT org_id, credit_period, CASE WHEN charged > 0 THEN 'settle' ELSE 'release' END, id,
				-credits, charged, charged::bigint * credit_micros,
				CASE
					WHEN charged = credits THEN NULL
					WHEN status = 'canceled' THEN 'canceled' -- whatever its earlier runs have met
					ELSE coalesce(error ->> 'code', image_errors -> 0 -> 'error' ->> 'code',
						CASE status WHEN 'succeeded' THEN 'substituted' ELSE status END)
				END
			FROM due
			ORDER BY org_id, id
		), warning AS (
			INSERT INTO ` + RiverSchema + `.river_job (args, kind, max_attempts, priority, queue)
			SELECT jsonb_build_object('org', org_id, 'period', period), '` + WarnKind + `', 25, 1, 'maintenance'
			FROM settled AS s
			WHERE used >= warn_at AND used - (
				SELECT sum(charged) FROM due WHERE (due.org_id, due.credit_period) = (s.org_id, s.period)
			) < warn_at
		), counted AS (` + countedSQL + `
		), counted_hours AS (` + countUsage("usage_hour", "hour") + `
		), counted_days AS (` + countUsage("usage_day", "day") + `
		)`
}

// latencyClasses is how many classes of duration use is counted in, and
// latencyFirst the upper bound of the first in milliseconds; each has the square root
// of two times that of the one before, and the last has none.
const (
	latencyClasses = 24
	latencyFirst   = 250
)

// usageKey is what use is counted by, beside its hour or day, and usageCounts is what of
// it is counted.
const (
	usageKey    = `org_id, project_id, api_key_id, model, size, kind`
	usageCounts = `succeeded, failed, canceled, expired, images, credits, micros, provider_micros, latency`
)

// countedSQL counts what "due" has, once for hours and days alike.
var countedSQL = `
			SELECT ` + usageKey + `,
				count(*) FILTER (WHERE status = 'succeeded') AS succeeded, count(*) FILTER (WHERE status = 'failed') AS failed,
				count(*) FILTER (WHERE status = 'canceled') AS canceled, count(*) FILTER (WHERE status = 'expired') AS expired,
				sum(images) AS images, sum(charged) AS credits, sum(charged::bigint * credit_micros) AS micros,
				sum(provider_micros) AS provider_micros,
				` + latencyArray(func(i int) string {
	return fmt.Sprintf(`count(*) FILTER (WHERE status = 'succeeded' AND class = %d)`, i)
}) + ` AS latency
			FROM (
				SELECT org_id, project_id, api_key_id, model_used AS model, size, kind, status,
					images, charged, credit_micros, provider_micros, ` + latencyClassSQL + ` AS class
				FROM due
			) AS d
			GROUP BY ` + usageKey

// countUsage writes what "counted" has into the present hour's or day's rows, which the
// accounts' locks protect.
func countUsage(table, unit string) string {
	return `
			INSERT INTO ` + table + ` AS u (` + unit + `, ` + usageKey + `, ` + usageCounts + `)
			SELECT date_trunc('` + unit + `', now(), 'UTC'), ` + usageKey + `, ` + usageCounts + `
			FROM (SELECT count(*) FROM settled) AS locked, counted
			ORDER BY ` + usageKey + `
			ON CONFLICT (org_id, ` + unit + `, project_id, api_key_id, model, size, kind) DO UPDATE
			SET succeeded = u.succeeded + EXCLUDED.succeeded, failed = u.failed + EXCLUDED.failed,
				canceled = u.canceled + EXCLUDED.canceled, expired = u.expired + EXCLUDED.expired,
				images = u.images + EXCLUDED.images, credits = u.credits + EXCLUDED.credits,
				micros = u.micros + EXCLUDED.micros, provider_micros = u.provider_micros + EXCLUDED.provider_micros,
				latency = ` + latencyArray(func(i int) string {
		n := strconv.Itoa(i + 1)
		return `u.latency[` + n + `] + EXCLUDED.latency[` + n + `]`
	})
}

// latencyClassSQL is the class of a generation's duration, from 0.
var latencyClassSQL = fmt.Sprintf(
	`least(%d, ceil(2 * ln(greatest(1, extract(epoch FROM finished_at - created_at)::float8 * 1000 / %d)) / ln(2::float8)))`,
	latencyClasses-1, latencyFirst)

func latencyArray(element func(i int) string) string { return latencyArrayOf("int", element) }

func latencyArrayOf(kind string, element func(i int) string) string {
	elements := make([]string, latencyClasses)
	for i := range elements {
		elements[i] = element(i)
	}
	return `ARRAY[` + strings.Join(elements, ", ") + `]::` + kind + `[]`
}

// SettleUnsettled charges up to limit generations that have ended without: a program
// of a version that knows no credits has ended them. It returns how many. Any number
// of processes may call it at once.
func (db *DB) SettleUnsettled(ctx context.Context, limit int) (int, error) {
	n, err := db.number(ctx, `
		WITH noted AS MATERIALIZED (
			SELECT generation_id AS id FROM unsettled
			LIMIT @limit
			FOR UPDATE SKIP LOCKED
		), forgotten AS (
			DELETE FROM unsettled
			WHERE generation_id = ANY(ARRAY(SELECT id FROM noted))
		), late AS MATERIALIZED (
			SELECT id FROM generation
			WHERE id = ANY(ARRAY(SELECT id FROM noted)) AND credits IS NOT NULL AND charged IS NULL AND finished_at IS NOT NULL
			ORDER BY id
			FOR UPDATE
		), ended AS (
			UPDATE generation AS g
			SET charged = `+chargedSQL("g", "g.status", "g.image_errors", "nullif("+storedChargeSQL("g")+", 0)")+`
			FROM late
			WHERE g.id = late.id
			RETURNING `+endedColumns+`
		), `+settleCredits("SELECT * FROM ended", false)+`
		SELECT count(*)::int FROM due, (SELECT count(*) FROM settled) AS locked`, pgx.NamedArgs{"limit": limit})
	if err != nil {
		return 0, fmt.Errorf("settle what has ended: %w", err)
	}
	return n, nil
}
