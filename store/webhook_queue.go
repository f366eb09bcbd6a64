package store

import (
	"context"
	"fmt"
	"strconv"
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

// atATime bounds what one statement moves. Limits are part of the text: a plan for
// one that is not known reads far too much.
const atATime = 1000

var limitSQL = `LIMIT ` + strconv.Itoa(atATime)

// lanesSQL are the CTEs that find where deliveries wait without a ticket, the
// places that are free there, and the organizations'. An endpoint is a lane, and
// all of a project's webhook_urls are one. The first looks from lane to lane
// through the index, however many wait in each.
var lanesSQL = `found AS (
			(SELECT endpoint_id, project_id FROM webhook_delivery WHERE due_at IS NOT NULL ORDER BY endpoint_id, project_id LIMIT 1)
			UNION ALL
			SELECT n.* FROM found AS f, LATERAL (
				SELECT d.endpoint_id, d.project_id FROM webhook_delivery AS d
				WHERE d.due_at IS NOT NULL AND (d.endpoint_id, d.project_id) > (f.endpoint_id, f.project_id)
				ORDER BY d.endpoint_id, d.project_id
				LIMIT 1
			) AS n
		), running AS MATERIALIZED (
			SELECT d.org_id, d.endpoint_id, d.project_id, count(*) AS n
			FROM ` + RiverSchema + `.river_job AS j, LATERAL (
				SELECT * FROM webhook_delivery AS w
				WHERE w.endpoint_id = j.args ->> 'endpoint' AND w.event_id = j.args ->> 'event'
				OFFSET 0
			) AS d
			WHERE j.queue = 'webhook' AND j.state IN ('available', 'running')
			GROUP BY 1, 2, 3
		), lane AS MATERIALIZED (
			SELECT f.*, coalesce(r.n, 0) AS busy, coalesce(p.disabled_at IS NOT NULL OR p.deleted_at IS NOT NULL, false) AS stopped,
				CASE WHEN ` + answersSQL("p") + ` THEN @room::bigint ELSE @failing_room::bigint END AS room
			FROM found AS f
			LEFT JOIN running AS r USING (endpoint_id, project_id)
			LEFT JOIN webhook_endpoint AS p ON p.id = f.endpoint_id
		)`

// One of each lane always fits; what is more counts for the organization. Rows that
// are locked are updated where they lie: a join may read the whole table.
var releaseSQL = `
		WITH RECURSIVE ` + lanesSQL + `, next AS MATERIALIZED (
			SELECT d.*, lane.busy, lane.room FROM lane, LATERAL (
				SELECT w.ctid AS place_on_disk, endpoint_id, event_id, org_id, project_id, due_at FROM webhook_delivery AS w
				WHERE w.endpoint_id = lane.endpoint_id AND w.project_id = lane.project_id AND w.due_at <= ` + webhookNow + `
				ORDER BY w.due_at
				LIMIT ` + strconv.Itoa(endpointRoom) + `
				FOR UPDATE SKIP LOCKED
			) AS d
			WHERE NOT lane.stopped AND lane.busy < lane.room
		), lined AS (
			SELECT *, busy + row_number() OVER (PARTITION BY endpoint_id, project_id ORDER BY due_at, event_id) AS place FROM next
		), fit AS MATERIALIZED (
			SELECT * FROM (
				SELECT l.*, coalesce(o.n, 0) + count(*) FILTER (WHERE place > 1) OVER (PARTITION BY l.org_id ORDER BY due_at, l.event_id, l.endpoint_id) AS taken
				FROM lined AS l LEFT JOIN (SELECT org_id, sum(n - 1) AS n FROM running GROUP BY 1) AS o USING (org_id)
				WHERE place <= room
			) AS l
			WHERE place = 1 OR taken <= @org_room
		), errand AS (` + insertErrands("fit", "'available'", "clock_timestamp()") + `
		), moved AS (
			UPDATE webhook_delivery AS d
			SET ticket = errand.id, sender = NULL, due_at = NULL
			FROM errand JOIN fit USING (endpoint_id, event_id)
			WHERE d.ctid = fit.place_on_disk
		), announced AS (` + announceTickets("errand") + `
		)
		SELECT (SELECT count(*) FROM errand) FROM announced`

// What waits for an endpoint that is disabled or deleted is kept for a replay.
var holdLanesSQL = `
		WITH RECURSIVE ` + lanesSQL + `, ended AS MATERIALIZED (
			SELECT d.* FROM lane, LATERAL (
				SELECT w.ctid AS place_on_disk FROM webhook_delivery AS w
				WHERE w.endpoint_id = lane.endpoint_id AND w.project_id = lane.project_id AND w.due_at IS NOT NULL
				ORDER BY w.due_at
				` + limitSQL + `
				FOR UPDATE SKIP LOCKED
			) AS d
			WHERE lane.stopped
		)
		UPDATE webhook_delivery AS d
		SET state = 'held', due_at = NULL, next_attempt_at = NULL, ended_at = now()
		FROM ended
		WHERE d.ctid = ended.place_on_disk`

// ReleaseErrands makes tickets for the waiting deliveries that are due, as far as
// their endpoints and organizations have room, and returns how many. Nets that
// nobody has taken away wait like the others from then on. ahead is as in
// RecordSent. Any number of processes may call it at once.
func (db *DB) ReleaseErrands(ctx context.Context, ahead time.Duration) (int, error) {
	args := pgx.NamedArgs(withDeliveries(map[string]any{
		"ahead": ahead, "room": endpointRoom, "failing_room": failingRoom, "org_room": orgRoom,
	}))
	released := 0
	var batch pgx.Batch // one transaction, one round trip
	batch.Queue(overdueSQL, args)
	batch.Queue(holdLanesSQL, args)
	batch.Queue(releaseSQL, args).QueryRow(func(row pgx.Row) error { return row.Scan(&released) })
	if err := db.q.SendBatch(ctx, &batch).Close(); err != nil {
		return 0, fmt.Errorf("release deliveries: %w", err)
	}
	return released, nil
}

// takeBackSQL returns the CTEs that let the deliveries of tickets wait for the
// watch. which selects the tickets j, and end is the statement that ends those in
// "taken" and what is nobody's, in "stale". Nothing is waited for: whoever holds a
// delivery or a ticket is about to end it. Nobody writes a delivery anew and leaves
// ticket and state as they are: one that was locked under its ticket lies where the
// snapshot has it.
func takeBackSQL(which, end string) string {
	const of = `
				WHERE w.endpoint_id = c.endpoint_id AND w.event_id = c.event_id AND w.ticket = c.id AND w.state = 'pending'`
	return `candidate AS MATERIALIZED (
			SELECT j.id, j.args ->> 'endpoint' AS endpoint_id, j.args ->> 'event' AS event_id
			FROM ` + RiverSchema + `.river_job AS j
			WHERE j.queue = 'webhook' AND ` + which + `
			ORDER BY j.id
			` + limitSQL + `
			FOR UPDATE OF j SKIP LOCKED
		), taken AS MATERIALIZED (
			SELECT d.*, c.id FROM candidate AS c, LATERAL (
				SELECT w.ctid AS place_on_disk FROM webhook_delivery AS w` + of + `
				FOR UPDATE SKIP LOCKED
			) AS d
		), stale AS (
			SELECT c.id FROM candidate AS c
			WHERE NOT EXISTS (SELECT FROM webhook_delivery AS w` + of + ` OFFSET 0)
		), ended AS (` + end + `
			WHERE id = ANY(ARRAY(SELECT id FROM taken UNION ALL SELECT id FROM stale))
		), waits AS (
			UPDATE webhook_delivery AS d
			SET ticket = NULL, due_at = now()
			FROM taken
			WHERE d.ctid = taken.place_on_disk
			RETURNING d.event_id
		)`
}

var overdueSQL = `
		WITH ` + takeBackSQL("j.state = 'pending' AND j.priority = 1 AND j.scheduled_at <= "+webhookNow, `
			DELETE FROM `+RiverSchema+`.river_job`) + `
		SELECT count(*) FROM waits`

// PutBackErrands lets deliveries wait for the watch whose tickets found no place.
// The tickets are the caller's to end, so it waits for whoever holds a delivery: he
// may yet leave it as it was.
func (db *DB) PutBackErrands(ctx context.Context, errands []Errand) error {
	_, err := db.q.Exec(ctx, `
		WITH back AS MATERIALIZED (
			SELECT d.* FROM (
				SELECT * FROM unnest(@endpoints::text[], @events::text[], @tickets::bigint[]) AS t (endpoint_id, event_id, ticket)
				ORDER BY endpoint_id, event_id
			) AS t, LATERAL (
				SELECT w.ctid AS place_on_disk FROM webhook_delivery AS w
				WHERE w.endpoint_id = t.endpoint_id AND w.event_id = t.event_id AND w.ticket = t.ticket AND w.state = 'pending'
				FOR UPDATE
			) AS d
		)
		UPDATE webhook_delivery AS d
		SET ticket = NULL, due_at = now()
		FROM back
		WHERE d.ctid = back.place_on_disk`, errandArgs(errands))
	if err != nil {
		return fmt.Errorf("put back deliveries: %w", err)
	}
	return nil
}

// HoldErrand ends a delivery whose endpoint is disabled or deleted, and keeps it for
// a replay, or whose webhook_url was taken back, and gives it up. It reports whether
// it did: the endpoint may have been enabled meanwhile. The ticket is the caller's
// to end.
func (db *DB) HoldErrand(ctx context.Context, e Errand, state string) (bool, error) {
	tag, err := db.q.Exec(ctx, `
		UPDATE webhook_delivery
		SET state = @state, ticket = NULL, next_attempt_at = NULL, ended_at = now()
		WHERE endpoint_id = @endpoint AND event_id = @event AND ticket = @ticket AND state = 'pending'
			AND (@state <> 'held' OR EXISTS (
				SELECT FROM webhook_endpoint WHERE id = @endpoint AND (disabled_at IS NOT NULL OR deleted_at IS NOT NULL)))`,
		pgx.NamedArgs{"endpoint": e.EndpointID, "event": e.EventID, "ticket": e.Ticket, "state": state})
	if err != nil {
		return false, fmt.Errorf("hold delivery of %s to %s: %w", e.EventID, e.EndpointID, err)
	}
	return tag.RowsAffected() > 0, nil
}

// RescueErrands lets pending deliveries wait for the watch that have neither a live
// ticket nor wait already, which no part of the service leaves behind knowingly, and
// returns how many there were. It reads every delivery that is younger than age.
func (db *DB) RescueErrands(ctx context.Context, age time.Duration) (int, error) {
	tag, err := db.q.Exec(ctx, `
		WITH stranded AS MATERIALIZED (
			SELECT d.endpoint_id, d.event_id, d.ticket FROM webhook_delivery AS d
			WHERE d.created_at > now() - @age::interval AND d.state = 'pending' AND d.due_at IS NULL AND NOT EXISTS (
					SELECT FROM `+RiverSchema+`.river_job AS j
					WHERE j.id = d.ticket AND j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled'))
			`+limitSQL+`
		)
		UPDATE webhook_delivery AS d
		SET ticket = NULL, due_at = now()
		FROM stranded AS s
		WHERE d.endpoint_id = s.endpoint_id AND d.event_id = s.event_id AND d.state = 'pending' AND d.due_at IS NULL
			AND d.ticket IS NOT DISTINCT FROM s.ticket`,
		pgx.NamedArgs{"age": age})
	if err != nil {
		return 0, fmt.Errorf("rescue deliveries: %w", err)
	}
	return int(tag.RowsAffected()), nil
}

// HurryErrands makes due what workers were to attempt at once and have left: they
// are dead, or about to stop. net is how far ahead such tickets are at most.
func (db *DB) HurryErrands(ctx context.Context, workers []string, net time.Duration) (int, error) {
	tag, err := db.q.Exec(ctx, `
		WITH left_behind AS (
			SELECT j.id FROM `+RiverSchema+`.river_job AS j, LATERAL (
				SELECT FROM webhook_delivery AS w
				WHERE w.endpoint_id = j.args ->> 'endpoint' AND w.event_id = j.args ->> 'event' AND w.ticket = j.id AND w.sender = ANY(@workers)
				OFFSET 0
			) AS d
			WHERE j.state = 'pending' AND j.queue = 'webhook' AND j.priority = 1
				AND j.scheduled_at > now() AND j.scheduled_at <= now() + @net::interval
			ORDER BY j.id
			`+limitSQL+`
			FOR UPDATE OF j SKIP LOCKED
		)
		UPDATE `+RiverSchema+`.river_job
		SET scheduled_at = now()
		WHERE id = ANY(ARRAY(SELECT id FROM left_behind))`,
		pgx.NamedArgs{"workers": workers, "net": net})
	if err != nil {
		return 0, fmt.Errorf("hurry deliveries: %w", err)
	}
	return int(tag.RowsAffected()), nil
}

var retakeSQL = `
		WITH ` + takeBackSQL(`j.state = 'running' AND (
				j.attempted_at < now() - @longest::interval
				OR EXISTS (
					SELECT FROM unnest(@silent::text[], @seen::timestamptz[]) AS s (worker, seen_at)
					JOIN worker AS w ON w.id = s.worker AND w.seen_at = s.seen_at
					WHERE s.worker = j.attempted_by[array_upper(j.attempted_by, 1)]))`, `
			UPDATE `+RiverSchema+`.river_job
			SET state = 'cancelled', finalized_at = now(),
				errors = array_append(errors, jsonb_build_object(
					'at', now(), 'attempt', attempt, 'error', 'the worker fell silent; another attempts it', 'trace', ''))`) + `
		SELECT count(*) FROM waits`

// RetakeErrands ends the running tickets of deliveries whose worker is silent, or
// that have run for longer than any does, and lets the deliveries wait for the
// watch: a worker that was only frozen writes to a ticket that is over. It returns
// how many.
func (db *DB) RetakeErrands(ctx context.Context, silent []Silence, longest time.Duration) (int, error) {
	args := silences(silent)
	args["longest"] = longest
	rows, err := db.q.Query(ctx, retakeSQL, args)
	if err != nil {
		return 0, fmt.Errorf("retake deliveries: %w", err)
	}
	n, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int])
	if err != nil {
		return 0, fmt.Errorf("retake deliveries: %w", err)
	}
	return n, nil
}
