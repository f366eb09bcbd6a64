package main

import (
	"testing"

	"github.com/nanobanana/nanobanana/store"
)

// What the customer of a chaosWorld was told: everything at an endpoint, and the
// end of the good one at its webhook_url as well.
const chaosEventRows = `
	UPDATE generation SET webhook_url = 'http://127.0.0.1:1/request', webhook_events = '{generation.succeeded,generation.failed}'
	WHERE id = 'gen_good';
	INSERT INTO webhook_endpoint (id, org_id, test, url, events, description, api_version, created_at)
	VALUES ('whep_1', 'org_1', false, 'http://127.0.0.1:1/endpoint', '{generation.*}', '', '2026-11-01', now() - interval '2 minutes');
	INSERT INTO event (id, org_id, project_id, sequence, type, test, created_at)
	SELECT 'evt_' || substr(id, 5) || step, org_id, project_id, row_number() OVER (ORDER BY step, id), 'generation.' || type, test, at
	FROM generation, LATERAL (VALUES ('4', 'queued', created_at), ('8', 'started', started_at), ('s', status, finished_at)) AS c (step, type, at)
	WHERE at IS NOT NULL;
	INSERT INTO event_sequence (org_id, last) VALUES ('org_1', 11);
	INSERT INTO webhook_delivery (endpoint_id, event_id, org_id, project_id, state, tries, attempts, created_at, ended_at)
	SELECT endpoint, id, org_id, project_id, 'delivered', 1, 1, created_at, now() FROM event,
		LATERAL (SELECT 'whep_1' UNION ALL SELECT 'request' WHERE id = 'evt_goods') AS d (endpoint);
	WITH ticket AS (
		INSERT INTO river.river_job (kind, args, queue, max_attempts, state, finalized_at)
		SELECT 'webhook', jsonb_build_object('event', event_id, 'endpoint', endpoint_id), 'webhook', 1000, 'completed', now() FROM webhook_delivery
		RETURNING id, args
	)
	UPDATE webhook_delivery SET ticket = t.id FROM ticket AS t WHERE (event_id, endpoint_id) = (t.args ->> 'event', t.args ->> 'endpoint')`

// tell adds the events of what has happened, and their webhooks.
func (w *chaosWorld) tell(t *testing.T) {
	t.Helper()
	w.exec(t, chaosEventRows)
	w.tellAgain(t)
}

// addEvents adds events, told to the endpoint: rows of id, number and type.
func (w *chaosWorld) addEvents(t *testing.T, rows string) {
	t.Helper()
	w.exec(t, `
		INSERT INTO event (id, org_id, project_id, sequence, type, test, created_at)
		SELECT id, 'org_1', 'proj_1', n, type, false, now() FROM (VALUES `+rows+`) AS e (id, n, type);
		INSERT INTO webhook_delivery (endpoint_id, event_id, org_id, project_id, state, created_at)
		SELECT 'whep_1', id, 'org_1', 'proj_1', 'delivered', now() FROM (VALUES `+rows+`) AS e (id, n, type);
		UPDATE event_sequence SET last = (SELECT count(*) FROM event)`)
	w.tellAgain(t)
}

// tellAgain makes what has come what the rows say.
func (w *chaosWorld) tellAgain(t *testing.T) {
	t.Helper()
	all, err := deliveries(t.Context(), w.db)
	if err != nil {
		t.Fatal(err)
	}
	w.receipts = map[chaosArrival]chaosReceipt{}
	for _, d := range all {
		w.receipts[d.arrival()] = chaosReceipt{told: d.telling(), first: w.now, n: 1}
	}
}

// hear changes what has come of an event to the endpoint.
func (w *chaosWorld) hear(event string, change func(*chaosReceipt)) {
	arrival := chaosArrival{"whep_1", event}
	receipt := w.receipts[arrival]
	change(&receipt)
	w.receipts[arrival] = receipt
}

const (
	pendingAgain = `UPDATE webhook_delivery SET state = 'pending', ended_at = NULL WHERE event_id = 'evt_bad4';`
	ticketAgain  = `UPDATE river.river_job SET state = 'pending', finalized_at = NULL WHERE args ->> 'event' = 'evt_bad4';`
	badIsPending = "evt_bad4 to whep_1 is pending after 1 attempts and came 1 times"
)

// chaosEventPlants are ways in which events and deliveries may not be left.
var chaosEventPlants = []chaosPlant{
	{"events not recorded", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `
			DELETE FROM event WHERE id IN ('evt_late4', 'evt_good8', 'evt_bads');
			DELETE FROM webhook_delivery WHERE event_id IN ('evt_late4', 'evt_good8', 'evt_bads');
			UPDATE event SET sequence = r FROM (SELECT id, row_number() OVER (ORDER BY sequence) AS r FROM event) AS o WHERE o.id = event.id;
			UPDATE event_sequence SET last = 8`)
		w.tellAgain(t)
	}, map[string][]string{"events_recorded": {
		"gen_bad has no event generation.failed", "gen_good has no event generation.started", "gen_late has no event generation.queued",
	}}},
	{"another end told", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `UPDATE event SET type = 'generation.failed' WHERE id = 'evt_goods'`)
		w.tellAgain(t)
	}, map[string][]string{
		"events_recorded": {"gen_good has no event generation.succeeded"},
		"events_true":     {"evt_goods tells of generation.failed (project proj_1, test f), which did not happen"},
	}},
	{"one end told twice, and that of nothing", func(t *testing.T, w *chaosWorld) {
		w.addEvents(t, `('evt_goodz', 12, 'generation.succeeded'), ('evt_nevers', 13, 'generation.succeeded')`)
	}, map[string][]string{
		"events_true": {
			"evt_goodz tells of generation.succeeded (project proj_1, test f), which did not happen",
			"evt_nevers tells of generation.succeeded (project proj_1, test f), which did not happen",
		},
		"deliveries_made": {"evt_goodz (generation.succeeded) has no delivery to request"},
	}},
	{"progress of what never began", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `UPDATE event SET sequence = sequence + 2 WHERE id LIKE '%s'`)
		w.addEvents(t, `('evt_goodc', 8, 'generation.progress'), ('evt_latec', 9, 'generation.progress')`)
	}, map[string][]string{"events_true": {"evt_latec tells of generation.progress (project proj_1, test f), which did not happen"}}},
	{"told to another project and mode", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `UPDATE event SET project_id = 'proj_2' WHERE id = 'evt_bads'; UPDATE event SET test = true WHERE id = 'evt_gone4'`)
	}, map[string][]string{
		"events_true": {
			"evt_bads tells of generation.failed (project proj_2, test f), which did not happen",
			"evt_gone4 tells of generation.queued (project proj_1, test t), which did not happen",
		},
		"deliveries_asked": {
			"evt_bads of project proj_1 is to go to whep_1, which did not ask for it",
			"evt_gone4 of project proj_1 is to go to whep_1, which did not ask for it",
		},
	}},
	{"numbers missing, doubled and not counted", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `
			UPDATE event SET sequence = 3 WHERE sequence = 2;
			UPDATE event SET sequence = 13 WHERE sequence = 11;
			UPDATE event_sequence SET last = 12`)
		w.tellAgain(t)
	}, map[string][]string{"events_numbered": {
		"org_1 has 0 events of number 11 and counts 12", "org_1 has 0 events of number 12 and counts 12", "org_1 has 0 events of number 2 and counts 12",
		"org_1 has 1 events of number 13 and counts 12", "org_1 has 2 events of number 3 and counts 12",
	}}},
	{"end before the begin", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `UPDATE event SET sequence = 13 - sequence WHERE sequence IN (5, 8)`) // evt_bad8 and evt_bads
		w.tellAgain(t)
	}, map[string][]string{"events_numbered": {"evt_bads is number 5, before evt_bad8, number 8"}}},
	{"deliveries not made", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `DELETE FROM webhook_delivery WHERE event_id = 'evt_goods' OR event_id = 'evt_late4'`)
		w.tellAgain(t)
	}, map[string][]string{"deliveries_made": {
		"evt_goods (generation.succeeded) has no delivery to request", "evt_goods (generation.succeeded) has no delivery to whep_1",
		"evt_late4 (generation.queued) has no delivery to whep_1",
	}}},
	{"deliveries that nobody asked for", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `
			INSERT INTO webhook_endpoint (id, org_id, project_id, test, url, events, description, api_version, created_at)
			VALUES ('whep_2', 'org_1', NULL, false, '', '{generation.failed}', '', '', now() - interval '45 seconds'),
				('whep_3', 'org_1', NULL, true, '', '{*}', '', '', now() - interval '2 minutes'),
				('whep_4', 'org_1', NULL, false, '', '{*}', '', '', now());
			INSERT INTO webhook_delivery (endpoint_id, event_id, org_id, project_id, state, created_at)
			VALUES ('whep_2', 'evt_goods', 'org_1', 'proj_1', 'delivered', now()), ('whep_3', 'evt_bads', 'org_1', 'proj_1', 'delivered', now()),
				('request', 'evt_good4', 'org_1', 'proj_1', 'delivered', now()), ('request', 'evt_bads', 'org_1', 'proj_1', 'delivered', now())`)
		w.tellAgain(t)
	}, map[string][]string{
		"deliveries_made": {"evt_bads (generation.failed) has no delivery to whep_2"},
		"deliveries_asked": {
			"evt_bads of project proj_1 is to go to request, which did not ask for it", "evt_bads of project proj_1 is to go to whep_3, which did not ask for it",
			"evt_good4 of project proj_1 is to go to request, which did not ask for it", "evt_goods of project proj_1 is to go to whep_2, which did not ask for it",
		},
	}},
	{"pending without a ticket", func(t *testing.T, w *chaosWorld) { w.exec(t, pendingAgain) }, map[string][]string{
		"errands_match":     {"evt_bad4 to whep_1 is pending with 0 live tickets"},
		"webhooks_received": {badIsPending},
	}},
	{"pending with its ticket", func(t *testing.T, w *chaosWorld) { w.exec(t, pendingAgain+ticketAgain) }, map[string][]string{
		"webhooks_received": {badIsPending},
	}},
	{"pending with another ticket", func(t *testing.T, w *chaosWorld) {
		w.exec(t, pendingAgain+ticketAgain+`UPDATE webhook_delivery SET ticket = ticket + 1000`)
	}, map[string][]string{
		"errands_match":     {"evt_bad4 to whep_1 is pending with 1 live tickets, not its own"},
		"webhooks_received": {badIsPending},
	}},
	{"pending with two tickets", func(t *testing.T, w *chaosWorld) {
		w.exec(t, pendingAgain+ticketAgain+`
			INSERT INTO river.river_job (kind, args, queue, max_attempts, state)
			SELECT kind, args, queue, 1000, 'retryable' FROM river.river_job WHERE args ->> 'event' = 'evt_bad4'`)
	}, map[string][]string{
		"errands_match":     {"evt_bad4 to whep_1 is pending with 2 live tickets"},
		"webhooks_received": {badIsPending},
	}},
	{"tickets of what was delivered, and of nothing", func(t *testing.T, w *chaosWorld) {
		w.exec(t, ticketAgain+`
			INSERT INTO river.river_job (kind, args, queue, max_attempts, state)
			VALUES ('webhook', '{"event":"evt_bad4","endpoint":"whep_9"}', 'webhook', 1000, 'available')`)
	}, map[string][]string{"errands_match": {
		"evt_bad4 to whep_1 is delivered with 1 live tickets", "evt_bad4 to whep_9 is unknown with 1 live tickets",
	}}},
	{"given up, and said to be delivered", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `UPDATE webhook_delivery SET state = 'failed', attempts = 10 WHERE event_id = 'evt_late4'`)
		delete(w.receipts, chaosArrival{store.EndpointRequest, "evt_goods"})
	}, map[string][]string{"webhooks_received": {
		"evt_goods to request is delivered after 1 attempts and did not come", "evt_late4 to whep_1 is failed after 10 attempts and came 1 times",
	}}},
	{"nobody told", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `DELETE FROM webhook_delivery; DELETE FROM webhook_endpoint; UPDATE generation SET webhook_url = NULL`)
		w.tellAgain(t)
	}, map[string][]string{"webhooks_received": {"nobody was told of 4 jobs"}}},
	{"signed for another", func(_ *testing.T, w *chaosWorld) {
		w.refused = []string{"to whep_1: no matching signature found (2 times)"}
	}, map[string][]string{
		"webhooks_signed": {"to whep_1: no matching signature found (2 times)"},
	}},
	{"told falsely", func(_ *testing.T, w *chaosWorld) {
		w.hear("evt_goods", func(r *chaosReceipt) { r.told.Status = "processing" })
		w.hear("evt_bad4", func(r *chaosReceipt) { r.told.Sequence = 7 })
		w.hear("evt_never4", func(r *chaosReceipt) { r.n = 1 })
		w.hear("evt_late4", func(r *chaosReceipt) { r.other, r.n = &chaosTold{Type: "generation.expired"}, 2 })
		w.hear("evt_gone4", func(r *chaosReceipt) { r.n = 3 }) // is no fault
	}, map[string][]string{"webhooks_true": {
		"evt_bad4 told whep_1 generation.queued number 7 of gen_bad, which is queued, the rows say generation.queued number 1 of gen_bad, which is queued",
		"evt_goods told whep_1 generation.succeeded number 10 of gen_good, which is processing, the rows say generation.succeeded number 10 of gen_good, which is succeeded",
		"evt_late4 told whep_1 generation.expired number 0 of nothing, which is nothing, the rows say generation.queued number 4 of gen_late, which is queued",
		"evt_never4 came to whep_1, which no delivery is of",
	}}},
}
