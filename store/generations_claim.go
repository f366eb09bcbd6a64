package store

import (
	"context"
	"encoding/json"
	"fmt"
)

// A Ticket asks to run a generation.
type Ticket struct {
	GenerationID string
	RiverJobID   int64
}

// A Claim is the right to run a generation until someone claims it again: its
// Fence names the run in every later write.
type Claim struct {
	Generation

	// Paid lists the image index of each earlier call that was paid, or may
	// have been: its outcome is unknown, or its picture was made.
	Paid []int

	// Told reports whether a webhook endpoint, or the generation's own, may be told
	// of it.
	Told bool
}

// Claimer names who claims and which calls they are about to make.
type Claimer struct {
	Worker string
	Calls  map[string]NewAttempt // by CallKey
}

// CallKey names the calls for a model, simulated or not, in Claimer.Calls.
func CallKey(simulated bool, model string) string {
	if simulated {
		return "test:" + model
	}
	return "live:" + model
}

var claimSQL = `
		WITH ticket AS (
			SELECT DISTINCT id, job FROM unnest(@ids::text[], @jobs::bigint[]) AS t (id, job)
		), claimed AS (
			UPDATE generation AS g
			SET status = 'processing',
				started_at = coalesce(g.started_at, now()),
				attempts = g.attempts + (g.fence = 0)::int,
				fence = g.fence + 1,
				worker = @worker,
				river_job_id = t.job
			FROM ticket AS t
			WHERE g.id = t.id AND g.status IN ('queued', 'processing') AND g.held_at IS NULL
				AND (g.river_job_id IS NULL OR g.river_job_id = t.job)
				AND (g.started_at IS NOT NULL OR g.deadline_at > now())
			RETURNING ` + columns[Generation]("g") + `
		), begun AS (
			INSERT INTO attempt (generation_id, n, org_id, project_id, fence, image_index, route, provider, model, started_at)
			SELECT id, 1, org_id, project_id, fence, 0,
				coalesce(call ->> 'Route', 'none'), call ->> 'Provider', coalesce(call ->> 'Model', model_used), now()
			FROM claimed,
				LATERAL (SELECT @calls::jsonb -> (CASE WHEN simulated THEN 'test:' ELSE 'live:' END || model_used) AS call) AS c
			WHERE fence = 1
		), lost AS (
			UPDATE attempt AS a
			SET outcome = 'ambiguous', finished_at = now()
			FROM claimed
			WHERE claimed.fence > 1 AND a.generation_id = claimed.id AND a.outcome IS NULL
			RETURNING a.generation_id, a.image_index
		), ` + recordEvents(generationEvents("claimed WHERE fence = 1", "'"+EventGenerationStarted+"'", "'"+stepStarted+"'"), "") + `, told AS (
			SELECT pg_notify(@event_channel, string_agg(id, ',')) FROM claimed
			WHERE fence = 1 HAVING count(*) > 0
		)
		SELECT claimed.*,
			CASE WHEN fence > 1 THEN ARRAY(
				SELECT image_index FROM lost WHERE generation_id = id
				UNION ALL
				SELECT image_index FROM attempt WHERE generation_id = id AND outcome IN ('ambiguous', 'succeeded')
			) END AS paid,
			webhook_url IS NOT NULL
				OR EXISTS (SELECT FROM webhook_endpoint AS p WHERE p.project_id = claimed.project_id AND p.deleted_at IS NULL)
				OR EXISTS (SELECT FROM webhook_endpoint AS p WHERE p.org_id = claimed.org_id AND p.project_id IS NULL AND p.deleted_at IS NULL) AS told
		FROM claimed LEFT JOIN told ON true, errands_announced`

// ClaimGenerations gives each ticket's generation a new fence and marks it
// processing, in one statement. The first claim also records the attempt for its
// first image, number 1; the runs before a later claim leave unfinished attempts,
// which become ambiguous.
//
// The result has one entry per ticket, nil where there is nothing to run: the
// generation has ended, is held or is unknown, or its deadline passed before it began,
// which is ExpireGeneration's to write.
func (db *DB) ClaimGenerations(ctx context.Context, by Claimer, tickets []Ticket) ([]*Claim, error) {
	ids, jobs := make([]string, len(tickets)), make([]int64, len(tickets))
	for i, t := range tickets {
		ids[i], jobs[i] = t.GenerationID, t.RiverJobID
	}
	calls, err := json.Marshal(by.Calls)
	if err != nil {
		return nil, fmt.Errorf("claim generations: %w", err)
	}
	claimed, err := manyHot[Claim](ctx, db, claimSQL,
		withDeliveries(map[string]any{
			"ids": ids, "jobs": jobs, "worker": by.Worker, "calls": string(calls), "event_channel": channelEvent,
		}))
	if err != nil {
		return nil, fmt.Errorf("claim generations: %w", err)
	}
	return byTicket(tickets, claimed), nil
}

// byTicket puts claims in the order of the tickets that made them. Another ticket
// for one generation has nothing to run.
func byTicket(tickets []Ticket, claimed []*Claim) []*Claim {
	made := make(map[Ticket]*Claim, len(claimed))
	for _, c := range claimed {
		made[Ticket{GenerationID: c.ID, RiverJobID: *c.RiverJobID}] = c
	}
	claims := make([]*Claim, len(tickets))
	for i, t := range tickets {
		claims[i] = made[t]
		delete(made, t)
	}
	return claims
}
