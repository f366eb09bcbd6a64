package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// MaxReplay is the most deliveries that one Replay queues.
const MaxReplay = 1000

// requeueDeliveries are the CTEs that queue deliveries once more, from the start of
// the schedule: those of @endpoint_id in "chosen", which has locked them, by
// event_id and with their ticket, where at_once says that a worker may begin now;
// the others wait until the watch lets them through, a few at a time. A ticket that
// has begun is left to find out that it is no longer the rightful one. The caller's
// query must read "errands_announced", which has one row.
var requeueDeliveries = `dropped AS (
			DELETE FROM ` + RiverSchema + `.river_job
			WHERE id = ANY(ARRAY(SELECT ticket FROM chosen)) AND state IN ('available', 'pending', 'retryable', 'scheduled')
		), errand AS (` + insertErrands("(SELECT event_id, @endpoint_id::text AS endpoint_id FROM chosen WHERE at_once) AS c",
	"'available'", "clock_timestamp()") + `
		), requeued AS (
			UPDATE webhook_delivery AS d
			SET state = 'pending', tries = 0, ticket = errand.id, sender = NULL,
				due_at = CASE WHEN errand.id IS NULL THEN now() END, next_attempt_at = coalesce(errand.scheduled_at, now()), ended_at = NULL
			FROM chosen LEFT JOIN errand USING (event_id)
			WHERE d.endpoint_id = @endpoint_id AND d.event_id = chosen.event_id
			RETURNING d.*
		), errands_announced AS (` + announceTickets("errand") + `
		)`

// Redeliver queues a delivery once more, whatever its state, from the start of the
// schedule, and returns it. Its earlier ticket is no longer good. It returns
// ErrNotFound without such a delivery, and ErrEndpointDisabled or
// ErrEndpointDeleted where nothing can be sent.
func (db *DB) Redeliver(ctx context.Context, scope Scope, endpointID, eventID string) (*KnownDelivery, error) {
	args := pgx.NamedArgs(withDeliveries(deliveryArgs(scope, endpointID, eventID)))
	var standing []*endpointStanding
	var queued []*KnownDelivery
	// The lock is a statement of its own: the next sees the ticket of whoever held
	// it before, and takes it away.
	var batch pgx.Batch
	batch.Queue(`
		SELECT w.deleted, w.disabled
		FROM webhook_delivery AS d, (`+endpointSQL+`) AS w
		WHERE d.endpoint_id = @endpoint_id AND d.event_id = @event_id AND d.project_id = @project_id
		FOR UPDATE OF d`, args).Query(func(rows pgx.Rows) (err error) {
		standing, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[endpointStanding])
		return err
	})
	batch.Queue(`
		WITH chosen AS MATERIALIZED (
			SELECT d.event_id, d.ticket, w.healthy AS at_once
			FROM webhook_delivery AS d, (`+endpointSQL+`) AS w
			WHERE d.endpoint_id = @endpoint_id AND d.event_id = @event_id AND d.project_id = @project_id
				AND NOT w.deleted AND NOT w.disabled
		), `+requeueDeliveries+`
		SELECT `+knownColumns+` FROM requeued AS d JOIN event AS e ON e.id = d.event_id, errands_announced`,
		args).Query(func(rows pgx.Rows) (err error) {
		queued, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[KnownDelivery])
		return err
	})
	err := db.q.SendBatch(ctx, &batch).Close()
	if err == nil {
		err = standingError(standing)
	}
	if err == nil && len(queued) == 0 {
		err = ErrEndpointDisabled // between the two statements
	}
	if err != nil {
		return nil, fmt.Errorf("redeliver %s to %s: %w", eventID, endpointID, err)
	}
	return queued[0], nil
}

// endpointStanding says whether an endpoint is sent anything.
type endpointStanding struct{ Deleted, Disabled bool }

// standingError is nil for one endpoint that is sent something.
func standingError(found []*endpointStanding) error {
	switch {
	case len(found) == 0:
		return ErrNotFound
	case found[0].Deleted:
		return ErrEndpointDeleted
	case found[0].Disabled:
		return ErrEndpointDisabled
	}
	return nil
}

// A ReplayRange selects deliveries to be queued once more.
type ReplayRange struct {
	Since  *time.Time // of events of this time or later; nil: all that are kept
	Until  *time.Time // of events before this time; nil: all
	States []string   // any of these; a pending one is never selected
	Types  []string   // of the event: any of these; none: all
	After  string     // behind the delivery of this event
}

// A Replay is what came of queueing a range once more.
type Replay struct {
	Queued int
	Last   string // the event of the last one queued; empty without any
	More   bool   // there are more behind it
}

// receives is the SQL for whether the delivery "d" can be sent to an endpoint; with
// EndpointRequest, to the webhook_url of its generation.
func receives(endpointID string) string {
	if endpointID == EndpointRequest {
		return `EXISTS (
					SELECT FROM generation AS g
					WHERE g.id = ` + generationOf("d.event_id") + ` AND g.webhook_url IS NOT NULL)`
	}
	return `EXISTS (SELECT FROM (` + endpointSQL + `) AS w WHERE NOT deleted AND NOT disabled)`
}

// Replay queues up to MaxReplay of an endpoint's deliveries once more, in the order
// of their events' ids, each from the start of the schedule. They wait until the
// watch lets them through, a few at a time. EndpointRequest stands for all
// webhook_urls of the scope that have not been deleted. It returns ErrNotFound
// without such an endpoint, and ErrEndpointDisabled or ErrEndpointDeleted where
// nothing can be sent.
func (db *DB) Replay(ctx context.Context, scope Scope, endpointID string, r ReplayRange) (*Replay, error) {
	args := pgx.NamedArgs(withDeliveries(deliveryArgs(scope, endpointID, "")))
	args["since"], args["until"], args["after"], args["max"] = r.Since, r.Until, r.After, MaxReplay
	args["states"], args["types"] = append([]string{}, r.States...), append([]string{}, r.Types...)
	var standing []*endpointStanding
	var replay *Replay
	var batch pgx.Batch
	batch.Queue(`SELECT deleted, disabled FROM (`+receiverSQL(endpointID)+`) AS w`, args).Query(func(rows pgx.Rows) (err error) {
		standing, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[endpointStanding])
		return err
	})
	// One that someone has queued since is pending once its lock is had, and left out.
	batch.Queue(`
		WITH locked AS MATERIALIZED (
			SELECT d.event_id, d.ticket
			FROM webhook_delivery AS d JOIN event AS e ON e.id = d.event_id
			WHERE `+deliveriesTo(endpointID)+` AND `+receives(endpointID)+` AND d.event_id > @after
				AND d.state <> 'pending' AND d.state = ANY(@states)
				AND (@since::timestamptz IS NULL OR d.created_at >= @since)
				AND (@until::timestamptz IS NULL OR d.created_at < @until)
				AND (cardinality(@types::text[]) = 0 OR e.type = ANY(@types))
			ORDER BY d.event_id
			LIMIT @max + 1
			FOR UPDATE OF d
		), chosen AS MATERIALIZED (
			SELECT event_id, ticket, false AS at_once FROM locked ORDER BY event_id LIMIT @max
		), `+requeueDeliveries+`
		SELECT count(*)::int AS queued, coalesce(max(event_id), '') AS last, (SELECT count(*) FROM locked) > @max AS more
		FROM requeued, errands_announced`, args).Query(func(rows pgx.Rows) (err error) {
		replay, err = pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[Replay])
		return err
	})
	err := db.q.SendBatch(ctx, &batch).Close()
	if err == nil {
		err = standingError(standing)
	}
	if err != nil {
		return nil, fmt.Errorf("replay to %s: %w", endpointID, err)
	}
	return replay, nil
}
