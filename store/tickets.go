package store

import "time"

// The queues of generations.
const (
	QueueGenerate = "generate" // someone waits for each
	QueueBatch    = "batch"    // slots of their own, so that they delay nobody who waits
)

// What a ticket to run a generation is to River.
const (
	// TicketKind is the kind of its job, whose only argument is the id.
	TicketKind = "generate"
	// TicketAttempts is more than any generation's own budget allows: River
	// tells nobody when it discards a job.
	TicketAttempts = 1000
)

// HeadStart is how much each step of a plan's priority is worth in line.
const HeadStart = 150 * time.Millisecond

// queuedNow is when a ticket that is queued now is due, for a relation with priority.
//
// It is the time of the ticket and not of the transaction, which may have
// waited for another that queued earlier ones. A plan's priority is a head start: its
// tickets go before others that were queued up to so much earlier. River's own priorities
// would let the higher ones keep the lower ones waiting for good.
const queuedNow = `(SELECT clock_timestamp()) - (4 - priority) * @head_start::interval`

// insertTickets returns the statement that queues a run of each generation in
// from, a relation with id and queue, as River's client would. due is an expression
// of that relation: when a ticket is due, and so its place in line. It returns each
// ticket's id and generation_id. Tickets are made where generations are written,
// and not by River's client, so that a generation knows its ticket from the start
// and the whole costs one round trip.
func insertTickets(from, due string) string {
	return `
		INSERT INTO ` + RiverSchema + `.river_job (args, kind, max_attempts, priority, queue, scheduled_at)
		SELECT jsonb_build_object('id', id), @ticket_kind, @ticket_attempts, 1, queue, ` + due + `
		FROM ` + from + `
		ORDER BY id
		RETURNING id, args ->> 'id' AS generation_id, queue`
}

// announceTickets returns the query that wakes River's clients for the tickets
// in from, a relation with queue. It has one row.
func announceTickets(from string) string {
	return `
		SELECT count(pg_notify('` + RiverSchema + `.river_insert', jsonb_build_object('queue', queue)::text))
		FROM (SELECT DISTINCT queue FROM ` + from + `) AS q`
}

// withTickets adds the arguments of insertTickets.
func withTickets(args map[string]any) map[string]any {
	args["ticket_kind"], args["ticket_attempts"], args["head_start"] = TicketKind, TicketAttempts, HeadStart
	return args
}
