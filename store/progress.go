package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A Progress is how far a run is: Step of ProgressSteps, from 1, each a fifth of
// the way.
type Progress struct {
	GenerationID string
	Fence        int
	Step         int
}

var progressSQL = `
		WITH told AS (
			SELECT id, fence, max(step) AS step
			FROM unnest(@ids::text[], @fences::int[], @steps::int[]) AS t (id, fence, step)
			GROUP BY id, fence
		), live AS MATERIALIZED (
			SELECT g.id, g.org_id, g.project_id, g.test, g.webhook_url, g.webhook_events, told.step,
				` + eventOf("g.id", "substr('"+stepProgress+"', told.step, 1)") + ` AS event_id
			FROM told JOIN generation AS g ON g.id = told.id AND g.fence = told.fence
			WHERE g.status = 'processing'
			FOR NO KEY UPDATE OF g SKIP LOCKED
		), ` + recordEvents(`
			SELECT event_id, org_id, project_id, '`+EventGenerationProgress+`' AS type, test,
				jsonb_build_object('progress', step / 5.0::float8) AS data, webhook_url, webhook_events
			FROM live
			WHERE NOT EXISTS (
				SELECT FROM event
				WHERE event.id BETWEEN live.event_id AND `+eventOf("live.id", "'"+stepEnded+"'")+`
			)`, "") + `
		SELECT pg_notify(@channel, string_agg(id, ','))
		FROM occurrence JOIN live USING (event_id), errands_announced
		HAVING count(*) > 0`

// RecordProgress records an event for each run that is further than was told
// before, with its deliveries. Runs that have lost their claim or whose row
// someone is changing, as at their end, are left out: who follows them learns
// something better at once.
func (db *DB) RecordProgress(ctx context.Context, runs []Progress) error {
	for len(runs) > 0 {
		part := runs[:min(len(runs), maxNotified)]
		runs = runs[len(part):]
		ids, fences, steps := make([]string, len(part)), make([]int, len(part)), make([]int, len(part))
		for i, r := range part {
			if r.Step < 1 || r.Step > ProgressSteps {
				return fmt.Errorf("record progress of %s: there is no step %d", r.GenerationID, r.Step)
			}
			ids[i], fences[i], steps[i] = r.GenerationID, r.Fence, r.Step
		}
		_, err := db.q.Exec(ctx, progressSQL, pgx.NamedArgs(withDeliveries(map[string]any{
			"ids": ids, "fences": fences, "steps": steps, "channel": channelEvent,
		})))
		if err != nil {
			return fmt.Errorf("record progress: %w", err)
		}
	}
	return nil
}
