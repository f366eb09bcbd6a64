package store

// recordEvents returns the CTEs that record an event for each row of from, number
// it, and queue its deliveries; withDeliveries has their arguments. from is a
// query with event_id, org_id, project_id, type, test, data, webhook_url and
// webhook_events. What comes of it is in "delivery", with event_id, endpoint_id,
// ticket and at_once; the caller's query must read "errands_announced", which has
// one row. after is that of numberEvents.
func recordEvents(from, after string) string {
	return numberEvents(from, after) + `, addressed AS MATERIALIZED (
			SELECT o.event_id, o.org_id, o.project_id, e.id AS endpoint_id,
				e.disabled_at IS NULL AS sends, ` + answersSQL("e") + ` AS healthy
			FROM occurrence AS o, LATERAL (
				SELECT * FROM webhook_endpoint AS p WHERE p.project_id = o.project_id AND p.org_id = o.org_id
				UNION ALL
				SELECT * FROM webhook_endpoint AS p WHERE p.project_id IS NULL AND p.org_id = o.org_id
			) AS e
			WHERE e.deleted_at IS NULL AND e.test = o.test AND ` + matchesSQL("e.events", "o.type") + `
			UNION ALL
			SELECT event_id, org_id, project_id, '` + EndpointRequest + `', true, true
			FROM occurrence
			WHERE webhook_url IS NOT NULL AND ` + matchesSQL("webhook_events", "type") + `
		), ` + queueDeliveries
}

// numberEvents returns the CTEs that record an event for each row of from, a query
// with event_id, org_id, project_id, type, test and data. The rows are then in
// "occurrence", and the last number of each organization in "numbered".
//
// Numbering locks the organization's row to the end of the transaction. All
// transactions lock generations, then admission, then this: after names the CTE
// that locks admission in the same statement, whose parts run in no fixed order
// otherwise.
func numberEvents(from, after string) string {
	order := ""
	if after != "" {
		order = `, (SELECT count(*) FROM ` + after + `) AS earlier`
	}
	return `occurrence AS MATERIALIZED (
			SELECT o.* FROM (` + from + `) AS o` + order + `
		), numbered AS (
			INSERT INTO event_sequence AS s (org_id, last)
			SELECT org_id, count(*) FROM occurrence GROUP BY org_id ORDER BY org_id
			ON CONFLICT (org_id) DO UPDATE SET last = s.last + EXCLUDED.last
			RETURNING org_id, last
		), recorded AS (
			INSERT INTO event (id, org_id, project_id, sequence, type, test, created_at, data)
			SELECT event_id, org_id, project_id, last + 1 - row_number() OVER (PARTITION BY org_id ORDER BY event_id DESC),
				type, test, now(), data
			FROM occurrence JOIN numbered USING (org_id)
		)`
}

// answersSQL tells whether an endpoint has answered of late: a failure or two are
// no reason to keep it waiting for what else happens.
func answersSQL(endpoint string) string {
	return `(` + endpoint + `.failing_since IS NULL OR ` + endpoint + `.failing_since > now() - interval '1 minute')`
}

// matchesSQL tells whether patterns select a type.
func matchesSQL(patterns, eventType string) string {
	return patterns + ` && ARRAY['*', split_part(` + eventType + `, '.', 1) || '.*', ` + eventType + `]`
}

// queueDeliveries are the CTEs that queue what "addressed" lists: events by
// endpoint, whether the endpoint is sent anything at all, and whether it has
// answered of late.
//
// @sender, if not empty, is the worker that will attempt healthy ones at once; the
// tickets are there @net later in case it does not. What is for an endpoint that
// does not answer gets no ticket: it waits until the watch lets it through.
var queueDeliveries = `errand AS (` + insertErrands("addressed WHERE sends AND healthy",
	"CASE WHEN @sender = '' THEN 'available' ELSE 'pending' END",
	"clock_timestamp() + CASE WHEN @sender <> '' THEN @net::interval ELSE interval '0' END") + `
		), delivery AS (
			INSERT INTO webhook_delivery (endpoint_id, event_id, org_id, project_id, state, ticket, sender, due_at, next_attempt_at, created_at)
			SELECT a.endpoint_id, a.event_id, a.org_id, a.project_id, CASE WHEN a.sends THEN 'pending' ELSE 'held' END,
				errand.id, CASE WHEN errand.id IS NOT NULL THEN nullif(@sender, '') END,
				CASE WHEN a.sends AND NOT a.healthy THEN now() END,
				CASE WHEN a.sends THEN coalesce(errand.scheduled_at, now()) END, now()
			FROM addressed AS a LEFT JOIN errand USING (event_id, endpoint_id)
			RETURNING endpoint_id, event_id, ticket, sender IS NOT NULL AS at_once
		), errands_announced AS (` + announceTickets("errand WHERE state = 'available'") + `
		)`

// insertErrands returns the statement that makes a ticket for each delivery in
// from, a relation with event_id and endpoint_id, in a state and at a time that are
// SQL. It returns id, event_id, endpoint_id, queue, state and scheduled_at.
func insertErrands(from, state, at string) string {
	return `
			INSERT INTO ` + RiverSchema + `.river_job (args, kind, max_attempts, priority, queue, state, scheduled_at)
			SELECT jsonb_build_object('event', event_id, 'endpoint', endpoint_id), @errand_kind, @ticket_attempts, 1, @errand_queue,
				(` + state + `)::` + RiverSchema + `.river_job_state, ` + at + `
			FROM ` + from + `
			ORDER BY event_id, endpoint_id
			RETURNING id, args ->> 'event' AS event_id, args ->> 'endpoint' AS endpoint_id, queue, state, scheduled_at`
}

// withDeliveries adds the arguments of recordEvents for events that nobody
// attempts to deliver at once.
func withDeliveries(args map[string]any) map[string]any {
	return withDeliveriesBy(args, Sender{})
}

func withDeliveriesBy(args map[string]any, by Sender) map[string]any {
	args["errand_kind"], args["errand_queue"], args["ticket_attempts"] = ErrandKind, QueueWebhook, TicketAttempts
	args["sender"], args["net"] = by.Worker, by.Net
	return args
}

// generationEvents returns a query for recordEvents: the events of the generations
// in from, of a type and a step that are SQL. from has id, org_id, project_id,
// test, webhook_url and webhook_events.
func generationEvents(from, eventType, step string) string {
	return `
			SELECT ` + eventOf("id", step) + ` AS event_id, org_id, project_id, ` + eventType + ` AS type,
				test, NULL::jsonb AS data, webhook_url, webhook_events
			FROM ` + from
}
