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

// failuresApart is how far two failures may lie apart that are counted as one
// after the other: farther than the attempts of one delivery.
const failuresApart = 36 * time.Hour

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
	Revision   int             `json:"revision"`      // of the endpoint that was attempted
	State      string          `json:"state"`         // DeliveryPending for one that is to be tried again
	RetrySecs  float64         `json:"retry_seconds"` // then, from now on
	Gone       bool            `json:"gone"`          // the endpoint wants nothing any more
	Unsent     bool            `json:"unsent"`        // for a reason that says nothing about the endpoint
	Attempt    DeliveryAttempt `json:"attempt"`
}

// attemptsLogged is how many attempts of a delivery are kept.
const attemptsLogged = 20

// lockAttemptsSQL waits for whoever is changing the deliveries. As a statement of
// its own it lets the next one see what they have changed.
const lockAttemptsSQL = `
		SELECT count(*) FROM (
			SELECT * FROM json_to_recordset(@sent) AS s (endpoint_id text, event_id text) ORDER BY endpoint_id, event_id
		) AS s, LATERAL (
			SELECT FROM webhook_delivery AS w
			WHERE w.endpoint_id = s.endpoint_id AND w.event_id = s.event_id
			FOR UPDATE
		) AS d`

// A success counts even when another ticket is to attempt the delivery by now; a
// failure is then the other's to find. A ticket that has begun to run is its run's
// to end. Each row is looked up by itself: a plan made while the table was young
// would read it whole for long after.
const recordAttemptsSQL = `
		WITH sent AS (
			SELECT s.*, p.id IS NOT NULL AS moved FROM json_to_recordset(@sent) AS s (
				endpoint_id text, event_id text, ticket bigint, revision int, state text, retry_seconds float8, gone boolean, attempt jsonb)
			LEFT JOIN webhook_endpoint AS p ON p.id = s.endpoint_id AND p.revision <> s.revision
			ORDER BY endpoint_id, event_id
		), due AS MATERIALIZED (
			-- What an address before a change said of itself does not end the delivery.
			SELECT d.*, CASE WHEN s.gone AND s.moved THEN 'pending' ELSE s.state END AS state, s.attempt,
				CASE WHEN s.gone AND s.moved THEN ` + webhookNow + `
					WHEN s.state = 'pending' THEN ` + webhookNow + ` + s.retry_seconds * interval '1 second' END AS retry_at
			FROM sent AS s, LATERAL (
				SELECT w.ctid AS place_on_disk, w.ticket AS ended FROM webhook_delivery AS w
				WHERE w.endpoint_id = s.endpoint_id AND w.event_id = s.event_id AND w.state = 'pending'
					AND (w.ticket = s.ticket OR s.state = 'delivered')
				FOR UPDATE
			) AS d
		), done AS (
			DELETE FROM ` + RiverSchema + `.river_job
			WHERE id = ANY(ARRAY(SELECT ended FROM due)) AND state IN ('available', 'pending', 'scheduled')
		)
		UPDATE webhook_delivery AS d
		SET state = due.state, tries = d.tries + 1, attempts = d.attempts + 1, ticket = NULL,
			due_at = due.retry_at, next_attempt_at = due.retry_at, ended_at = CASE WHEN due.state <> 'pending' THEN ` + webhookNow + ` END,
			log = CASE WHEN jsonb_array_length(coalesce(d.log, '[]')) >= @logged THEN d.log - 0 ELSE coalesce(d.log, '[]') END || due.attempt
		FROM due
		WHERE d.ctid = due.place_on_disk`

// webhookNow is the time that deliveries go by: the database's, so that workers with
// clocks apart agree, or one that is ahead of it.
const webhookNow = `(now() + @ahead::interval)`

// One success among an endpoint's attempts is enough. Attempts of what the endpoint
// was before it changed say nothing about it. Most change nothing.
var recordHealthSQL = `
		WITH sent AS (
			SELECT p.id, bool_or(s.state = 'delivered') AS good, bool_or(s.gone) AS gone
			FROM json_to_recordset(@sent) AS s (endpoint_id text, revision int, state text, gone boolean, unsent boolean)
			JOIN webhook_endpoint AS p ON p.id = s.endpoint_id AND p.revision = s.revision
			WHERE NOT s.unsent
			GROUP BY p.id
		), changed AS MATERIALIZED (
			SELECT p.id, s.good, f.since,
				CASE WHEN s.gone THEN '` + DisabledGone + `' WHEN NOT s.good AND f.since <= ` + webhookNow + ` - @disable_after::interval THEN '` + DisabledFailing + `' END AS reason
			FROM webhook_endpoint AS p JOIN sent AS s USING (id), LATERAL (
				-- Failures that lie far apart are not one after the other.
				SELECT CASE WHEN p.failed_at > ` + webhookNow + ` - @failures_apart::interval THEN p.failing_since END AS since
			) AS f
			WHERE p.disabled_at IS NULL AND (s.gone OR s.good = (p.failing_since IS NOT NULL)
				OR NOT s.good AND p.failed_at <= ` + webhookNow + ` - interval '1 hour'
				OR NOT s.good AND f.since <= ` + webhookNow + ` - @disable_after::interval)
			ORDER BY p.id
			FOR UPDATE OF p
		), marked AS (
			UPDATE webhook_endpoint AS p
			SET failing_since = CASE WHEN c.good THEN NULL ELSE coalesce(c.since, ` + webhookNow + `) END,
				failed_at = CASE WHEN NOT c.good THEN ` + webhookNow + ` END,
				disabled_at = CASE WHEN c.reason IS NOT NULL THEN ` + webhookNow + ` END, disabled_reason = c.reason
			FROM changed AS c
			WHERE p.id = c.id
			RETURNING p.*
		), mailed AS (
			INSERT INTO mail (id, kind, recipient, account_id, org_id, data)
			SELECT 'mail_' || substr(@event_ids::jsonb ->> p.id, 5) || '_' || row_number() OVER (PARTITION BY p.id ORDER BY r.account_id),
				'` + MailEndpointDisabled + `', r.email, r.account_id, p.org_id,
				jsonb_build_object('organization', r.org_name, 'endpoint', p.id, 'url', p.url, 'reason', p.disabled_reason)
			FROM marked AS p, LATERAL (` + recipientsSQL + ` AND m.org_id = p.org_id
			) AS r
			WHERE p.disabled_at IS NOT NULL
			RETURNING id
		), audited AS (
			INSERT INTO audit_entry (id, org_id, project_id, actor_kind, actor_id, ip, user_agent, request_id, action, target_kind, target_id, before, after)
			SELECT '` + prefixAudit + `_' || substr(@event_ids::jsonb ->> id, 5), org_id, project_id, '` + ActorService + `', '-', '-', '-', '-',
				'webhook_endpoint.disable', 'webhook_endpoint', id, jsonb_build_object('enabled', true),
				jsonb_build_object('enabled', false, 'disabled_reason', disabled_reason, 'failing_since', failing_since)
			FROM marked WHERE disabled_at IS NOT NULL
		), ` + queueMails("mailed") + `, ` + recordEvents(`
			SELECT @event_ids::jsonb ->> id AS event_id, org_id, project_id,
				'`+EventEndpointDisabled+`' AS type, test, jsonb_build_object(
					'id', id, 'object', 'webhook_endpoint', 'url', url, 'events', to_jsonb(events), 'description', description,
					'enabled', false, 'disabled_at', disabled_at, 'disabled_reason', disabled_reason, 'failing_since', failing_since
				) AS data, NULL::text AS webhook_url, NULL::text[] AS webhook_events
			FROM marked WHERE disabled_at IS NOT NULL`, "") + `
		SELECT FROM errands_announced, mail_announced`

// RecordSent writes what came of attempts, and of two of one delivery the one that
// succeeded, or else the later ticket's: their states, when to try again, and what
// they say about the endpoints. An endpoint that answered 410, or has failed for
// DisableAfter, is disabled, with an event and a mail to each owner of the
// organization. All of it happens or none.
//
// ahead is how far the time that deliveries go by is ahead of the database's.
func (db *DB) RecordSent(ctx context.Context, ahead time.Duration, sent []*Sent) error {
	sent = oneEach(sent)
	ids := map[string]string{} // of the events, should they become true
	for _, s := range sent {
		ids[s.EndpointID] = NewEventID()
	}
	args, err := jsonArgs(map[string]any{"sent": sent, "event_ids": ids})
	if err != nil {
		return fmt.Errorf("record deliveries: %w", err)
	}
	args["ahead"], args["logged"] = ahead, attemptsLogged
	args["disable_after"], args["failures_apart"] = DisableAfter, failuresApart
	args["roles"] = []string{RoleOwner}
	args = withMails(withDeliveries(args))
	var batch pgx.Batch
	batch.Queue(lockAttemptsSQL, hot(args))
	batch.Queue(recordAttemptsSQL, hot(args))
	batch.Queue(recordHealthSQL, hot(args))
	if err := db.q.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("record deliveries: %w", err)
	}
	return nil
}

// oneEach leaves one attempt of each delivery, the one that counts.
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
		case s.State == DeliveryDelivered, list[i].State != DeliveryDelivered && s.Ticket > list[i].Ticket:
			list[i] = s
		}
	}
	return list
}
