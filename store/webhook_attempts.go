package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// DisableAfter is how long an endpoint's attempts may all fail before it is
// disabled.
const DisableAfter = 5 * 24 * time.Hour

// Reasons for which an endpoint is disabled.
const (
	DisabledAsked   = "asked"   // by its owner
	DisabledGone    = "gone"    // it answered 410
	DisabledFailing = "failing" // nothing but failures for DisableAfter
)

// A Sent is what came of one attempt of a delivery.
type Sent struct {
	EndpointID string          `json:"endpoint_id"`
	EventID    string          `json:"event_id"`
	Ticket     int64           `json:"ticket"`
	State      string          `json:"state"`    // DeliveryPending for one that is to be tried again
	RetryAt    *time.Time      `json:"retry_at"` // then
	Gone       bool            `json:"gone"`     // the endpoint wants nothing any more
	Unsent     bool            `json:"unsent"`   // for a fault of the service's, which says nothing about the endpoint
	Attempt    DeliveryAttempt `json:"attempt"`
}

// attemptsLogged is how many attempts of a delivery are kept.
const attemptsLogged = 20

// A success counts even when another ticket is to attempt the delivery by now; a
// failure is then the other's to find. A ticket that has begun to run is its run's
// to end.
var recordAttemptsSQL = `
		WITH sent AS (
			SELECT * FROM json_to_recordset(@sent) AS s (
				endpoint_id text, event_id text, ticket bigint, state text, retry_at timestamptz, attempt jsonb)
		), due AS MATERIALIZED (
			SELECT d.endpoint_id, d.event_id, d.ticket AS ended, s.state, s.retry_at, s.attempt
			FROM webhook_delivery AS d JOIN sent AS s USING (endpoint_id, event_id)
			WHERE d.state = 'pending' AND (d.ticket = s.ticket OR s.state = 'delivered')
			ORDER BY d.endpoint_id, d.event_id
			FOR UPDATE OF d
		), done AS (
			DELETE FROM ` + RiverSchema + `.river_job AS j
			USING due
			WHERE j.id = due.ended AND j.state IN ('available', 'pending', 'scheduled')
		), again AS (` + insertErrands("due WHERE state = 'pending'", "'pending'", "retry_at") + `
		)
		UPDATE webhook_delivery AS d
		SET state = due.state, tries = d.tries + 1, attempts = d.attempts + 1, ticket = again.id,
			next_attempt_at = due.retry_at, ended_at = CASE WHEN due.state <> 'pending' THEN @now::timestamptz END,
			log = CASE WHEN jsonb_array_length(coalesce(d.log, '[]')) >= @logged THEN d.log - 0 ELSE coalesce(d.log, '[]') END || due.attempt
		FROM due LEFT JOIN again USING (endpoint_id, event_id)
		WHERE d.endpoint_id = due.endpoint_id AND d.event_id = due.event_id`

// One success among an endpoint's attempts is enough. Most change nothing.
var recordHealthSQL = `
		WITH sent AS (
			SELECT endpoint_id, bool_or(state = 'delivered') AS good, bool_or(gone) AS gone,
				min((attempt ->> 'at')::timestamptz) AS at
			FROM json_to_recordset(@sent) AS s (endpoint_id text, state text, gone boolean, unsent boolean, attempt jsonb)
			WHERE NOT unsent
			GROUP BY endpoint_id
		), changed AS MATERIALIZED (
			SELECT p.id, s.good, s.at,
				CASE WHEN s.gone THEN '` + DisabledGone + `' WHEN NOT s.good AND p.failing_since <= @disable_before THEN '` + DisabledFailing + `' END AS reason
			FROM webhook_endpoint AS p JOIN sent AS s ON s.endpoint_id = p.id
			WHERE p.disabled_at IS NULL
				AND (s.gone OR s.good = (p.failing_since IS NOT NULL) OR NOT s.good AND p.failing_since <= @disable_before)
			ORDER BY p.id
			FOR UPDATE OF p
		), marked AS (
			UPDATE webhook_endpoint AS p
			SET failing_since = CASE WHEN c.good THEN NULL ELSE coalesce(p.failing_since, c.at) END,
				disabled_at = CASE WHEN c.reason IS NOT NULL THEN @now::timestamptz END, disabled_reason = c.reason
			FROM changed AS c
			WHERE p.id = c.id
			RETURNING p.*
		), ` + recordEvents(`
			SELECT @event_ids::jsonb ->> id AS event_id, org_id, project_id,
				'`+EventEndpointDisabled+`' AS type, test, jsonb_build_object(
					'id', id, 'object', 'webhook_endpoint', 'url', url, 'events', to_jsonb(events), 'description', description,
					'enabled', false, 'disabled_at', disabled_at, 'disabled_reason', disabled_reason, 'failing_since', failing_since
				) AS data, NULL::text AS webhook_url, NULL::text[] AS webhook_events
			FROM marked WHERE disabled_at IS NOT NULL`, "") + `
		SELECT FROM errands_announced`

// RecordSent writes what came of attempts, and of two of one delivery the one that
// succeeded: their states, the tickets of those that are to be tried again, and what they say about
// the endpoints. An endpoint that answered 410, or has failed for DisableAfter, is
// disabled, with an event. All of it happens or none.
func (db *DB) RecordSent(ctx context.Context, now time.Time, sent []*Sent) error {
	sent = oneEach(sent)
	ids := map[string]string{} // of the events, should they become true
	for _, s := range sent {
		ids[s.EndpointID] = NewEventID()
	}
	args, err := jsonArgs(map[string]any{"sent": sent, "event_ids": ids})
	if err != nil {
		return fmt.Errorf("record deliveries: %w", err)
	}
	args["now"], args["logged"], args["disable_before"] = now, attemptsLogged, now.Add(-DisableAfter)
	args = withDeliveries(args)
	var batch pgx.Batch
	batch.Queue(recordAttemptsSQL, args)
	batch.Queue(recordHealthSQL, args)
	if err := db.q.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("record deliveries: %w", err)
	}
	return nil
}

// oneEach leaves one attempt of each delivery: two make two tickets.
func oneEach(sent []*Sent) []*Sent {
	type delivery struct{ endpoint, event string }
	place := make(map[delivery]int, len(sent))
	var list []*Sent
	for _, s := range sent {
		d := delivery{s.EndpointID, s.EventID}
		i, twice := place[d]
		switch {
		case !twice:
			place[d] = len(list)
			list = append(list, s)
		case s.State == DeliveryDelivered:
			list[i] = s
		}
	}
	return list
}
