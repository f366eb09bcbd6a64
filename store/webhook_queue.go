package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// How many attempts of deliveries to one endpoint the queue lets run at the same
// time: one that does not answer keeps nobody else's slots, and none is flooded
// with what has piled up.
const (
	endpointRoom = 32
	failingRoom  = 2
)

// erranded is how many due tickets one statement looks at.
const erranded = 500

// errandPause is how long a ticket is put off whose endpoint has no room.
const errandPause = 5 * time.Second

// A delivery to a webhook_url counts for its project.
const laneSQL = `CASE d.endpoint_id WHEN '` + EndpointRequest + `' THEN d.project_id ELSE d.endpoint_id END`

var releaseErrandsSQL = `
		WITH due AS MATERIALIZED (
			SELECT j.id, j.args ->> 'endpoint' AS endpoint_id, j.args ->> 'event' AS event_id, j.scheduled_at
			FROM ` + RiverSchema + `.river_job AS j
			WHERE j.state = 'pending' AND j.queue = 'webhook' AND j.priority = 1 AND j.scheduled_at <= @now
			ORDER BY j.scheduled_at, j.id
			LIMIT @limit
			FOR UPDATE SKIP LOCKED
		), busy AS MATERIALIZED (
			SELECT ` + laneSQL + ` AS lane, count(*) AS n
			FROM ` + RiverSchema + `.river_job AS j
			JOIN webhook_delivery AS d ON d.endpoint_id = j.args ->> 'endpoint' AND d.event_id = j.args ->> 'event'
			WHERE j.queue = 'webhook' AND j.state IN ('available', 'running')
			GROUP BY 1
		), placed AS MATERIALIZED (
			SELECT due.id, d.ticket IS DISTINCT FROM due.id OR d.state <> 'pending' AS stale,
				row_number() OVER (PARTITION BY ` + laneSQL + ` ORDER BY due.scheduled_at, due.id) + coalesce(busy.n, 0)
					<= CASE WHEN ` + answersSQL("p") + ` THEN @room::bigint ELSE @failing_room::bigint END AS fits
			FROM due
			LEFT JOIN webhook_delivery AS d USING (endpoint_id, event_id)
			LEFT JOIN webhook_endpoint AS p ON p.id = d.endpoint_id
			LEFT JOIN busy ON busy.lane = ` + laneSQL + `
		), gone AS (
			DELETE FROM ` + RiverSchema + `.river_job AS j
			USING placed
			WHERE j.id = placed.id AND placed.stale
		), moved AS (
			UPDATE ` + RiverSchema + `.river_job AS j
			SET state = CASE WHEN fits THEN 'available' ELSE 'pending' END::` + RiverSchema + `.river_job_state,
				scheduled_at = CASE WHEN fits THEN clock_timestamp() ELSE @now::timestamptz + @pause::interval * (0.5 + random()) END
			FROM placed
			WHERE j.id = placed.id AND NOT placed.stale
			RETURNING j.queue, j.state
		), announced AS (
			SELECT count(pg_notify('` + RiverSchema + `.river_insert', jsonb_build_object('queue', queue)::text))
			FROM (SELECT DISTINCT queue FROM moved WHERE state = 'available') AS q
		)
		SELECT (SELECT count(*) FROM due), (SELECT count(*) FROM moved WHERE state = 'available')
		FROM announced`

// ReleaseErrands makes the tickets of deliveries available that are due at a
// moment, as far as their endpoints have room, and returns how many. The others
// wait some seconds more, so that they are in nobody's way. Any number of processes
// may call it at once.
func (db *DB) ReleaseErrands(ctx context.Context, now time.Time) (int, error) {
	released := 0
	for {
		var looked, n int
		rows, err := db.q.Query(ctx, releaseErrandsSQL, pgx.NamedArgs{
			"now": now, "limit": erranded, "room": endpointRoom, "failing_room": failingRoom, "pause": errandPause,
		})
		if err == nil {
			_, err = pgx.ForEachRow(rows, []any{&looked, &n}, func() error { return nil })
		}
		if err != nil {
			return released, fmt.Errorf("release deliveries: %w", err)
		}
		released += n
		if looked < erranded {
			return released, nil
		}
	}
}

// HoldErrand ends a delivery whose endpoint is disabled or deleted, or whose
// webhook_url was taken back: it is kept for a replay, or given up. The ticket is
// the caller's to end.
func (db *DB) HoldErrand(ctx context.Context, e Errand, state string, now time.Time) error {
	_, err := db.q.Exec(ctx, `
		UPDATE webhook_delivery
		SET state = @state, ticket = NULL, next_attempt_at = NULL, ended_at = @now
		WHERE endpoint_id = @endpoint AND event_id = @event AND ticket = @ticket AND state = 'pending'`,
		pgx.NamedArgs{"endpoint": e.EndpointID, "event": e.EventID, "ticket": e.Ticket, "state": state, "now": now})
	if err != nil {
		return fmt.Errorf("hold delivery of %s to %s: %w", e.EventID, e.EndpointID, err)
	}
	return nil
}

// HurryErrands makes due what workers were to attempt at once and have left: they
// are dead, or about to stop. net is how far ahead such tickets are at most.
func (db *DB) HurryErrands(ctx context.Context, workers []string, now time.Time, net time.Duration) (int, error) {
	tag, err := db.q.Exec(ctx, `
		WITH left_behind AS (
			SELECT j.id FROM `+RiverSchema+`.river_job AS j
			JOIN webhook_delivery AS d ON d.endpoint_id = j.args ->> 'endpoint' AND d.event_id = j.args ->> 'event' AND d.ticket = j.id
			WHERE j.state = 'pending' AND j.queue = 'webhook' AND j.priority = 1 AND j.scheduled_at > @now AND j.scheduled_at <= @latest
				AND d.sender = ANY(@workers) AND d.tries = 0
			ORDER BY j.id
			FOR UPDATE OF j SKIP LOCKED
		)
		UPDATE `+RiverSchema+`.river_job AS j
		SET scheduled_at = @now
		FROM left_behind
		WHERE j.id = left_behind.id`,
		pgx.NamedArgs{"workers": workers, "now": now, "latest": now.Add(net)})
	if err != nil {
		return 0, fmt.Errorf("hurry deliveries: %w", err)
	}
	return int(tag.RowsAffected()), nil
}

// RetakeErrands ends the running tickets of deliveries whose worker is silent, or
// that have run for longer than any does, and makes fresh ones: a worker that was
// only frozen writes to a ticket that is over. It returns how many.
func (db *DB) RetakeErrands(ctx context.Context, silent []Silence, longest time.Duration) (int, error) {
	args := pgx.NamedArgs(withDeliveries(silences(silent)))
	args["longest"], args["limit"] = longest, maxStranded
	rows, err := db.q.Query(ctx, `
		WITH lost AS (
			SELECT j.id, d.endpoint_id, d.event_id
			FROM `+RiverSchema+`.river_job AS j
			LEFT JOIN webhook_delivery AS d
				ON d.endpoint_id = j.args ->> 'endpoint' AND d.event_id = j.args ->> 'event' AND d.ticket = j.id AND d.state = 'pending'
			WHERE j.state = 'running' AND j.queue = 'webhook' AND (
				j.attempted_at < now() - @longest::interval
				OR EXISTS (
					SELECT FROM unnest(@silent::text[], @seen::timestamptz[]) AS s (worker, seen_at)
					JOIN worker AS w ON w.id = s.worker AND w.seen_at = s.seen_at
					WHERE s.worker = j.attempted_by[array_upper(j.attempted_by, 1)]))
			ORDER BY j.id
			LIMIT @limit
			FOR UPDATE OF j SKIP LOCKED
		), ended AS (
			UPDATE `+RiverSchema+`.river_job AS j
			SET state = 'cancelled', finalized_at = now(),
				errors = array_append(errors, jsonb_build_object(
					'at', now(), 'attempt', attempt, 'error', 'the worker fell silent; a fresh ticket took over', 'trace', ''))
			FROM lost
			WHERE j.id = lost.id
		), again AS (`+insertErrands("lost WHERE event_id IS NOT NULL", "'available'", "clock_timestamp()")+`
		), named AS (
			UPDATE webhook_delivery AS d
			SET ticket = again.id
			FROM again
			WHERE (d.endpoint_id, d.event_id) = (again.endpoint_id, again.event_id)
			RETURNING d.event_id
		), announced AS (`+announceTickets("again")+`
		)
		SELECT (SELECT count(*) FROM named) FROM announced`, args)
	if err != nil {
		return 0, fmt.Errorf("retake deliveries: %w", err)
	}
	n, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int])
	if err != nil {
		return 0, fmt.Errorf("retake deliveries: %w", err)
	}
	return n, nil
}
