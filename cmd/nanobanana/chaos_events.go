package main

import "github.com/nanobanana/nanobanana/store"

// eventInvariants are those of events and of the deliveries that they cause.
func eventInvariants() []invariant {
	return []invariant{
		{"events_recorded", harmLost, "a generation has the event of its acceptance, of its begin and of its end", rowsOf(sqlUnrecordedEvents)},
		{"events_true", harmDoubled, "an event is of a change that happened, and the only one of it", rowsOf(sqlFalseEvents)},
		{"events_numbered", "", "an organization's events are numbered from 1 to as many as are counted, in their order", rowsOf(sqlMisnumberedEvents)},
		{"deliveries_made", harmLost, "an event has a delivery to each endpoint and webhook_url that asked for it", rowsOf(sqlMissingDeliveries)},
		{"deliveries_asked", harmDoubled, "a delivery is of an event that its receiver asked for", rowsOf(sqlUnaskedDeliveries)},
		{"errands_match", harmLeaked, "a pending delivery has its one live ticket or waits for one, any other has none", rowsOf(`
			SELECT what FROM (` + errandsDisagree + `) AS e (what)`)},
		{"webhooks_received", harmLost, "every delivery was made, and its receiver has it", findUndelivered},
		{"webhooks_signed", "", "every webhook is signed for its receiver, and short enough", findRefusedWebhooks},
		{"webhooks_true", "", "a webhook tells of a recorded event what the rows say", findFalseWebhooks},
	}
}

// changesWith begins a query with "change": what may have happened to each
// generation, whether it did and must have its event, and the event's id. Progress
// may be told of what has begun, up to four times.
const changesWith = `
	WITH change AS (
		SELECT g.id AS generation_id, g.org_id, g.project_id, g.test, 'evt_' || substr(g.id, 5, 25) || step AS event_id, type, must
		FROM generation AS g, LATERAL (VALUES
			('4', 'generation.queued', true, true),
			('8', 'generation.started', started_at IS NOT NULL, true),
			('c', 'generation.progress', started_at IS NOT NULL, false),
			('g', 'generation.progress', started_at IS NOT NULL, false),
			('k', 'generation.progress', started_at IS NOT NULL, false),
			('o', 'generation.progress', started_at IS NOT NULL, false),
			('s', 'generation.' || status, status NOT IN ('queued', 'processing'), true)
		) AS c (step, type, happened, must)
		WHERE happened
	)`

const sqlUnrecordedEvents = changesWith + `
	SELECT format('%s has no event %s', generation_id, type) FROM change
	WHERE must AND NOT EXISTS (SELECT FROM event AS e WHERE e.id = change.event_id AND e.type = change.type)
	ORDER BY 1`

const sqlFalseEvents = changesWith + `
	SELECT format('%s tells of %s (project %s, test %s), which did not happen', e.id, e.type, e.project_id, e.test) FROM event AS e
	WHERE e.type LIKE 'generation.%' AND NOT EXISTS (
		SELECT FROM change AS c
		WHERE (c.event_id, c.type, c.org_id, c.project_id, c.test) = (e.id, e.type, e.org_id, e.project_id, e.test))
	ORDER BY 1`

// The ids of a generation's events differ in their last character alone, which is
// in their order.
const sqlMisnumberedEvents = `
	SELECT format('%s has %s events of number %s and counts %s', org_id, count(e.id), number, coalesce(max(c.last), 0))
	FROM (SELECT org_id, generate_series(1, last) AS number FROM event_sequence) AS s
	FULL JOIN (SELECT id, org_id, sequence AS number FROM event) AS e USING (org_id, number)
	LEFT JOIN event_sequence AS c USING (org_id)
	GROUP BY org_id, number
	HAVING count(e.id) <> 1 OR number > coalesce(max(c.last), 0)
	UNION ALL
	SELECT format('%s is number %s, before %s, number %s', b.id, b.sequence, a.id, a.sequence)
	FROM event AS a JOIN event AS b ON left(b.id, -1) = left(a.id, -1) AND b.id > a.id AND b.sequence < a.sequence
	WHERE a.type LIKE 'generation.%' AND b.type LIKE 'generation.%'
	ORDER BY 1`

// Whoever follows an organization's events by their numbers would miss one that
// comes to light later than a higher one.
const sqlUnseenEvents = `
	SELECT format('%s has %s events to be seen, up to number %s, and counts %s', s.org_id, count(e.id), coalesce(max(e.sequence), 0), s.last)
	FROM event_sequence AS s LEFT JOIN event AS e USING (org_id)
	GROUP BY s.org_id, s.last
	HAVING count(e.id) <> s.last OR coalesce(max(e.sequence), 0) <> s.last
	ORDER BY 1`

// asksWith begins a query with "asked": events by who asked for them; those that
// did so before an event are due it.
const asksWith = `
	WITH event_of AS (
		SELECT *, ARRAY['*', split_part(type, '.', 1) || '.*', type] AS patterns FROM event
	), asked AS (
		SELECT e.id AS event_id, w.id AS endpoint_id, e.type, e.project_id, w.created_at < e.created_at AS due
		FROM event_of AS e JOIN webhook_endpoint AS w ON (w.org_id, w.test) = (e.org_id, e.test) AND w.events && e.patterns
		WHERE w.deleted_at IS NULL AND coalesce(w.project_id = e.project_id, true)
		UNION ALL
		SELECT e.id, '` + store.EndpointRequest + `', e.type, e.project_id, true
		FROM event_of AS e JOIN generation AS g ON substr(g.id, 5, 25) = substr(e.id, 5, length(e.id) - 5)
		WHERE g.webhook_url IS NOT NULL AND g.webhook_events && e.patterns AND e.type LIKE 'generation.%'
	)`

const sqlMissingDeliveries = asksWith + `
	SELECT format('%s (%s) has no delivery to %s', event_id, type, endpoint_id) FROM asked
	WHERE due AND NOT EXISTS (SELECT FROM webhook_delivery AS d WHERE (d.endpoint_id, d.event_id) = (asked.endpoint_id, asked.event_id))
	ORDER BY 1`

const sqlUnaskedDeliveries = asksWith + `
	SELECT format('%s of project %s is to go to %s, which did not ask for it', event_id, project_id, endpoint_id) FROM webhook_delivery AS d
	WHERE NOT EXISTS (
		SELECT FROM asked WHERE (asked.endpoint_id, asked.event_id, asked.project_id) = (d.endpoint_id, d.event_id, d.project_id))
	ORDER BY 1`

// errandsDisagree finds each pending delivery without its own ticket, or with
// another one, and live tickets without a pending delivery.
const errandsDisagree = `
	SELECT format('%s to %s is %s with %s live tickets', event_id, endpoint_id, coalesce(state, 'unknown'), coalesce(cardinality(live), 0))
		|| CASE WHEN cardinality(live) = 1 AND state = 'pending' THEN ', not its own' ELSE '' END
	FROM webhook_delivery AS d FULL JOIN (
		SELECT args ->> 'event' AS event_id, args ->> 'endpoint' AS endpoint_id, array_agg(id) AS live FROM ` + store.RiverSchema + `.river_job
		WHERE kind = '` + store.ErrandKind + `' AND state IN ('available', 'pending', 'retryable', 'running', 'scheduled')
		GROUP BY 1, 2
	) AS t USING (event_id, endpoint_id)
	WHERE coalesce(live, '{}') <> CASE WHEN state = 'pending' AND due_at IS NULL THEN ARRAY[ticket] ELSE '{}' END
		OR due_at IS NOT NULL AND (state <> 'pending' OR ticket IS NOT NULL)
	ORDER BY 1`
