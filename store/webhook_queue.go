package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// How many attempts of deliveries the queue lets run at the same time: receivers
// that do not answer keep nobody else's slots, and none is flooded with what has
// piled up.
const (
	endpointRoom = 16 // to one endpoint
	failingRoom  = 2  // to one that has not answered of late
	orgRoom      = 64 // to all of an organization's endpoints, beyond one each
)

// erranded is how many due tickets one statement looks at.
const erranded = 500

// A ticket whose endpoint has no room is put off, the longer the more others wait
// there: what has piled up at one that does not answer is not written again and
// again.
const (
	errandPause = 5 * time.Second
	longestWait = 5 * time.Minute
)

// A delivery to a webhook_url counts for its project.
const laneSQL = `CASE d.endpoint_id WHEN '` + EndpointRequest + `' THEN d.project_id ELSE d.endpoint_id END`

var releaseErrandsSQL = `
		WITH due AS MATERIALIZED (
			SELECT j.id, j.args ->> 'endpoint' AS endpoint_id, j.args ->> 'event' AS event_id, j.scheduled_at
			FROM ` + RiverSchema + `.river_job AS j
			WHERE j.state = 'pending' AND j.queue = 'webhook' AND j.priority = 1 AND j.scheduled_at <= ` + webhookNow + `
			ORDER BY j.scheduled_at, j.id
			LIMIT @limit
			FOR UPDATE SKIP LOCKED
		), running AS MATERIALIZED (
			SELECT d.org_id, ` + laneSQL + ` AS lane, count(*) AS n
			FROM ` + RiverSchema + `.river_job AS j
			JOIN webhook_delivery AS d ON d.endpoint_id = j.args ->> 'endpoint' AND d.event_id = j.args ->> 'event'
			WHERE j.queue = 'webhook' AND j.state IN ('available', 'running')
			GROUP BY 1, 2
		), known AS MATERIALIZED (
			SELECT due.id, due.scheduled_at, d.org_id, ` + laneSQL + ` AS lane,
				d.ticket IS DISTINCT FROM due.id OR d.state <> 'pending' AS stale,
				CASE WHEN ` + answersSQL("p") + ` THEN @room::bigint ELSE @failing_room::bigint END AS room
			FROM due
			LEFT JOIN webhook_delivery AS d USING (endpoint_id, event_id)
			LEFT JOIN webhook_endpoint AS p ON p.id = d.endpoint_id
		), lined AS MATERIALIZED (
			SELECT k.*, coalesce(r.n, 0) + row_number() OVER (PARTITION BY k.lane ORDER BY k.scheduled_at, k.id) AS place
			FROM known AS k LEFT JOIN running AS r ON r.lane = k.lane
			WHERE NOT k.stale
		), placed AS MATERIALIZED (
			-- One of each lane always fits; what is more counts for the organization.
			SELECT l.*, place <= room AND (place = 1 OR @org_room::bigint >= coalesce(o.n, 0)
				+ count(*) FILTER (WHERE place BETWEEN 2 AND room) OVER (PARTITION BY l.org_id ORDER BY l.scheduled_at, l.id)) AS fits
			FROM lined AS l
			LEFT JOIN (SELECT org_id, sum(n - 1) AS n FROM running GROUP BY 1) AS o ON o.org_id = l.org_id
		), gone AS (
			DELETE FROM ` + RiverSchema + `.river_job AS j
			USING known
			WHERE j.id = known.id AND known.stale
		), moved AS (
			UPDATE ` + RiverSchema + `.river_job AS j
			SET state = CASE WHEN fits THEN 'available' ELSE 'pending' END::` + RiverSchema + `.river_job_state,
				scheduled_at = CASE WHEN fits THEN clock_timestamp()
					ELSE ` + webhookNow + ` + least(@pause::interval * greatest(place::float8 / room, 1), @longest_wait::interval) * (0.5 + random()) END
			FROM placed
			WHERE j.id = placed.id
			RETURNING j.queue, j.state
		), announced AS (` + announceTickets("moved WHERE state = 'available'") + `
		)
		SELECT (SELECT count(*) FROM due), (SELECT count(*) FROM moved WHERE state = 'available')
		FROM announced`

// ReleaseErrands makes the tickets of deliveries available that are due, as far as
// their endpoints and organizations have room, and returns how many. The others
// wait some more. ahead is as in RecordSent. Any number of processes may call it at
// once.
func (db *DB) ReleaseErrands(ctx context.Context, ahead time.Duration) (int, error) {
	released := 0
	for {
		var looked, n int
		rows, err := db.q.Query(ctx, releaseErrandsSQL, pgx.NamedArgs{
			"ahead": ahead, "limit": erranded, "room": endpointRoom, "failing_room": failingRoom, "org_room": orgRoom,
			"pause": errandPause, "longest_wait": longestWait,
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
func (db *DB) HoldErrand(ctx context.Context, e Errand, state string) error {
	_, err := db.q.Exec(ctx, `
		UPDATE webhook_delivery
		SET state = @state, ticket = NULL, next_attempt_at = NULL, ended_at = now()
		WHERE endpoint_id = @endpoint AND event_id = @event AND ticket = @ticket AND state = 'pending'`,
		pgx.NamedArgs{"endpoint": e.EndpointID, "event": e.EventID, "ticket": e.Ticket, "state": state})
	if err != nil {
		return fmt.Errorf("hold delivery of %s to %s: %w", e.EventID, e.EndpointID, err)
	}
	return nil
}

// HurryErrands makes due what workers were to attempt at once and have left: they
// are dead, or about to stop. net is how far ahead such tickets are at most.
func (db *DB) HurryErrands(ctx context.Context, workers []string, net time.Duration) (int, error) {
	tag, err := db.q.Exec(ctx, `
		WITH left_behind AS (
			SELECT j.id FROM `+RiverSchema+`.river_job AS j
			JOIN webhook_delivery AS d ON d.endpoint_id = j.args ->> 'endpoint' AND d.event_id = j.args ->> 'event' AND d.ticket = j.id
			WHERE j.state = 'pending' AND j.queue = 'webhook' AND j.priority = 1 AND j.scheduled_at > now() AND j.scheduled_at <= now() + @net::interval
				AND d.sender = ANY(@workers) AND d.tries = 0
			ORDER BY j.id
			FOR UPDATE OF j SKIP LOCKED
		)
		UPDATE `+RiverSchema+`.river_job AS j
		SET scheduled_at = now()
		FROM left_behind
		WHERE j.id = left_behind.id`,
		pgx.NamedArgs{"workers": workers, "net": net})
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
