package store

import (
	"context"
	"fmt"
	"strconv"
)

// creditChecks are what must always hold of credits, each a query of what is wrong,
// with one text a row.
//
//nolint:gosec // G101: they are queries
var creditChecks = map[string]string{
	"an account is the sum of its entries": `
		SELECT format('%s %s: account %s, entries %s', org_id, period, a.sums, e.sums)
		FROM (
			SELECT org_id, period, ROW(granted, reserved, used, bought)::text AS sums FROM credit_account
		) AS a FULL JOIN (
			SELECT org_id, period, ROW(sum(granted), sum(reserved), sum(used), sum(bought))::text AS sums
			FROM credit_entry GROUP BY org_id, period
		) AS e USING (org_id, period)
		WHERE coalesce(a.sums, '') <> coalesce(e.sums, '(0,0,0,0)') OR a.sums IS NULL`,
	"an organization's periods do not overlap": `
		SELECT format('%s %s: it ends at %s, the next begins at %s', org_id, period, ends_at, next)
		FROM (SELECT *, lead(period) OVER (PARTITION BY org_id ORDER BY period) AS next FROM credit_account) AS a
		WHERE next < ends_at`,
	"nothing is used beyond what there is": `
		SELECT format('%s %s: %s granted, %s reserved, %s used, %s of it billed', org_id, period, granted, reserved, used, reported)
		FROM credit_account AS a
		WHERE NOT metered AND ` + restSQL + ` < 0`,
	"what is billed was used, and paid with nothing else": `
		SELECT format('%s %s: %s granted, %s used, %s of it billed', org_id, period, granted, used, reported) FROM credit_account
		WHERE granted < 0 OR reported < 0 OR reported > used`,
	"what was bought and given is of the granted": `
		SELECT format('%s %s: %s bought, %s given, %s granted', org_id, period, bought, given, granted) FROM credit_account
		WHERE NOT metered AND bought + given > granted`,
	"a budget counts what a change of plan has ended": `
		SELECT format('%s %s: it counts from %s on, and the one before (ended: %s) from %s', org_id, period, budget_since, ended, since)
		FROM (
			SELECT *, lag(closed) OVER w AS ended, lag(coalesce(budget_since, period)) OVER w AS since FROM credit_account
			WINDOW w AS (PARTITION BY org_id ORDER BY period)
		) AS a
		WHERE budget_since IS NOT NULL AND (ended IS NOT TRUE OR since <> budget_since)`,
	"an account that is ended is gone on with": `
		SELECT format('%s %s', org_id, period) FROM credit_account AS a
		WHERE closed AND NOT EXISTS (SELECT FROM credit_account AS b WHERE b.org_id = a.org_id AND b.period = a.ends_at)`,
	"a credit is in one report": `
		SELECT format('%s %s: %s reported, %s in reports', a.org_id, a.period, a.reported, sum(r.credits))
		FROM credit_account AS a JOIN usage_report AS r USING (org_id, period)
		GROUP BY a.org_id, a.period
		HAVING sum(r.credits) > a.reported`,
	"a generation is reserved once": `
		SELECT format('%s: %s reservations', g.id, count(e.id))
		FROM generation AS g LEFT JOIN credit_entry AS e ON e.subject = coalesce(g.batch_id, g.id) AND (e.kind = 'reserve')
		GROUP BY g.id
		HAVING count(e.id) <> (g.credits IS NOT NULL)::int`,
	"a reservation is what its generations cost": `
		SELECT format('%s: %s reserved for %s', subject, e.reserved, g.credits)
		FROM credit_entry AS e LEFT JOIN (
			SELECT coalesce(batch_id, id) AS subject, sum(credits) AS credits FROM generation GROUP BY 1
		) AS g USING (subject)
		WHERE e.kind = 'reserve' AND e.reserved IS DISTINCT FROM g.credits`,
	"an ended generation is settled or released once, a live one never": `
		SELECT format('%s, %s: %s settlements', g.id, g.status, count(e.id))
		FROM generation AS g LEFT JOIN credit_entry AS e ON e.subject = g.id AND (e.kind = 'reserve') = false
		GROUP BY g.id
		HAVING count(e.id) <> (g.credits IS NOT NULL AND g.finished_at IS NOT NULL)::int`,
	"a settlement is of what was delivered": `
		SELECT format('%s, %s: %s charged of %s, entry %s of %s, images %s', g.id, g.status, g.charged, g.credits, e.used, -e.reserved, i.charge)
		FROM generation AS g
		JOIN credit_entry AS e ON e.subject = g.id AND (e.kind = 'reserve') = false
		CROSS JOIN LATERAL (
			SELECT coalesce(sum(least(credits, g.credits / g.n)), 0) AS charge FROM image WHERE image.generation_id = g.id
		) AS i
		WHERE (e.used, -e.reserved) IS DISTINCT FROM (g.charged, g.credits)
			OR g.charged <> CASE WHEN g.status IN ('succeeded', 'canceled') THEN i.charge ELSE 0 END
			OR g.status = 'succeeded' AND g.charged = 0
			OR e.micros <> e.used::bigint * g.credit_micros`,
	"use is what the entries say": `
		SELECT format('%s %s %s %s: counted %s, entries %s', org_id, hour, project_id, model, u.sums, e.sums)
		FROM (
			SELECT org_id, hour, project_id, api_key_id, model, size, kind,
				ROW(succeeded, failed, canceled, expired, images, credits, micros, provider_micros)::text AS sums
			FROM usage_hour
		) AS u FULL JOIN (` + usageOfEntries + `
		) AS e USING (org_id, hour, project_id, api_key_id, model, size, kind)
		WHERE u.sums IS DISTINCT FROM e.sums`,
	"days of use are the sum of their hours": `
		SELECT format('%s %s %s %s: %s, hours %s', org_id, day, project_id, model, d.sums, h.sums)
		FROM (
			SELECT org_id, day, project_id, api_key_id, model, size, kind,
				ROW(succeeded, failed, canceled, expired, images, credits, micros, provider_micros, ` + latencyTotals("", "") + `)::text AS sums
			FROM usage_day
		) AS d FULL JOIN (
			SELECT org_id, date_trunc('day', hour, 'UTC') AS day, project_id, api_key_id, model, size, kind,
				ROW(sum(succeeded), sum(failed), sum(canceled), sum(expired), sum(images), sum(credits), sum(micros), sum(provider_micros),
					` + latencyTotals("sum(", ")") + `)::text AS sums
			FROM usage_hour
			GROUP BY 1, 2, 3, 4, 5, 6, 7
		) AS h USING (org_id, day, project_id, api_key_id, model, size, kind)
		WHERE d.sums IS DISTINCT FROM h.sums`,
	"what succeeded in an hour has a duration": `
		SELECT format('%s %s %s: %s of %s', org_id, hour, model, l.n, succeeded)
		FROM usage_hour, LATERAL (SELECT sum(n) AS n FROM unnest(latency) AS n) AS l
		WHERE l.n <> succeeded`,
}

// latencyTotals is an array of the classes of latency, each within a function.
func latencyTotals(before, after string) string {
	return latencyArrayOf("bigint", func(i int) string { return before + `latency[` + strconv.Itoa(i+1) + `]` + after })
}

// usageOfEntries counts use anew from the entries.
const usageOfEntries = `
			SELECT e.org_id, date_trunc('hour', e.created_at, 'UTC') AS hour, g.project_id, g.api_key_id, g.model_used AS model,
				coalesce(g.params ->> 'resolution', '') AS size, g.kind,
				ROW(
					count(*) FILTER (WHERE status = 'succeeded'), count(*) FILTER (WHERE status = 'failed'),
					count(*) FILTER (WHERE status = 'canceled'), count(*) FILTER (WHERE status = 'expired'),
					sum(CASE WHEN status IN ('succeeded', 'canceled') THEN (SELECT count(*) FROM image WHERE generation_id = g.id) ELSE 0 END),
					sum(e.used), sum(e.micros),
					sum(coalesce((SELECT sum(cost_micros) FROM attempt WHERE generation_id = g.id), 0))
				)::text AS sums
			FROM credit_entry AS e JOIN generation AS g ON g.id = e.subject
			WHERE e.kind IN ('settle', 'release')
			GROUP BY 1, 2, 3, 4, 5, 6, 7`

// CreditFaults compares accounts, entries, generations and use with each other, reads
// all of them, and returns what does not agree: nothing, if nothing has gone wrong. It
// is for tests and operators, on a database where nothing else happens.
func (db *DB) CreditFaults(ctx context.Context) ([]string, error) {
	var faults []string
	for what, sql := range creditChecks {
		rows, err := many[struct{ Format string }](ctx, db, sql, nil)
		if err != nil {
			return nil, fmt.Errorf("check that %s: %w", what, err)
		}
		for _, row := range rows {
			faults = append(faults, what+": "+row.Format)
		}
	}
	return faults, nil
}
