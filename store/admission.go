package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// DefaultCapacity is how many generations of a queue may run at the same time
// while no worker has said how many it takes.
const DefaultCapacity = 50

// admissionArgs adds the arguments of fleetSQL and insertTickets.
func (db *DB) admissionArgs(args pgx.NamedArgs) pgx.NamedArgs {
	args["default_capacity"] = DefaultCapacity
	return withTickets(args)
}

// fleetSQL is how many generations of each queue the workers that are alive can
// run at the same time.
const fleetSQL = `
		SELECT queue, coalesce(capacity, @default_capacity)::int AS capacity
		FROM (
			SELECT sum(slots) AS generate, sum(batch_slots) AS batch
			FROM worker WHERE seen_at > now() - interval '5 seconds'
		) AS w, LATERAL (VALUES ('generate', generate), ('batch', batch)) AS q (queue, capacity)`

// capSQL is how many generations an organization may have running, given org
// and fleet.
const capSQL = `least(nullif((SELECT concurrency FROM plan WHERE plan.name = org.plan), 0), fleet.capacity)`

// prioritySQL is that of an organization's tickets, given org.
const prioritySQL = `coalesce((SELECT priority FROM plan WHERE plan.name = org.plan), 1)`

// admitSQL returns the statement that hands the free places of organizations to
// their longest held generations, for the rows a of admission that which selects.
// It returns how many it handed out, by org and queue.
//
// Whoever waits for a row of admission holds rows of generation. So this, which
// has them in the other order, waits for none: a row that someone has locked is
// left to him, and what he leaves undone to AdmitHeld.
func admitSQL(which string) string {
	return `
		WITH fleet AS MATERIALIZED (` + fleetSQL + `
		), room AS (
			SELECT a.org_id, a.queue, least(a.held, ` + capSQL + ` - a.running) AS free, ` + prioritySQL + ` AS priority
			FROM admission AS a
			JOIN fleet ON fleet.queue = a.queue
			LEFT JOIN org ON org.id = a.org_id
			WHERE a.held > 0 AND a.running < ` + capSQL + ` AND ` + which + `
			ORDER BY a.org_id, a.queue
			LIMIT @orgs
			FOR UPDATE OF a SKIP LOCKED
		), next AS (
			SELECT g.id, room.queue, room.priority
			FROM room, LATERAL (
				SELECT id FROM generation
				WHERE org_id = room.org_id AND queue = room.queue AND finished_at IS NULL AND held_at IS NOT NULL
				ORDER BY id
				LIMIT room.free
				FOR UPDATE SKIP LOCKED
			) AS g
		), ticket AS (` + insertTickets("next", queuedNow) + `
		), admitted AS (
			UPDATE generation AS g
			SET held_at = NULL, river_job_id = ticket.id
			FROM ticket
			WHERE g.id = ticket.generation_id
			RETURNING g.org_id, g.queue
		), counted AS (
			UPDATE admission AS a
			SET running = a.running + s.n, held = a.held - s.n
			FROM (SELECT org_id, queue, count(*)::int AS n FROM admitted GROUP BY org_id, queue) AS s
			WHERE (a.org_id, a.queue) = (s.org_id, s.queue)
			RETURNING a.org_id, a.queue, s.n
		), announced AS (` + announceTickets("ticket") + `
		)
		SELECT room.org_id, room.queue, coalesce(counted.n, 0) AS n
		FROM room LEFT JOIN counted USING (org_id, queue), announced
		ORDER BY room.org_id, room.queue`
}

// admitNextSQL is the part that follows the end of generations. As a statement of
// its own it sees those that were held by a transaction which the one before it
// has waited for. Each is looked up by itself: a plan made while the table was
// young would read it whole for long after.
var admitNextSQL = admitSQL(`(a.org_id, a.queue) IN (
				SELECT g.org_id, g.queue
				FROM unnest(@ids::text[]) AS ended (id), LATERAL (
					SELECT org_id, queue FROM generation WHERE id = ended.id OFFSET 0
				) AS g
			)`)

// admitRound is how many organizations one statement serves.
const admitRound = 100

// admitNextArgs are the arguments of admitNextSQL.
func (db *DB) admitNextArgs(ids []string) pgx.NamedArgs {
	return db.admissionArgs(pgx.NamedArgs{"ids": ids, "orgs": max(len(ids), 1)})
}

// admitNext fills the places that generations have left by their end.
func (db *DB) admitNext(ctx context.Context, ids []string) error {
	if _, err := db.q.Exec(ctx, admitNextSQL, db.admitNextArgs(ids)); err != nil {
		return fmt.Errorf("admit held generations: %w", err)
	}
	return nil
}

// An admission is what one organization was given in a queue.
type admission struct {
	OrgID string
	Queue string
	N     int
}

var admitHeldSQL = admitSQL(`(a.org_id, a.queue) > (@after_org, @after_queue)`)

// AdmitHeld gives held generations a ticket wherever their organization has
// room, and returns how many it gave. It makes good what no end of a generation
// does: more workers, a larger plan, a change that met a locked row. Any number
// of processes may call it at once; it waits for nobody.
func (db *DB) AdmitHeld(ctx context.Context) (int, error) {
	total := 0
	var last admission
	for {
		round, err := many[admission](ctx, db, admitHeldSQL, db.admissionArgs(pgx.NamedArgs{
			"after_org": last.OrgID, "after_queue": last.Queue, "orgs": admitRound,
		}))
		if err != nil {
			return total, fmt.Errorf("admit held generations: %w", err)
		}
		for _, a := range round {
			total += a.N
		}
		if len(round) < admitRound {
			return total, nil
		}
		last = *round[len(round)-1]
	}
}

// leaveSQL returns the statement that takes ended generations out of their
// organizations' counts. from has org_id, queue and held_at, the last as it was
// before. It returns how many each count still has held. Rows are taken in order, so
// that two transactions wait for each other in one direction only; an update would
// take them in any.
func leaveSQL(from string) string {
	return `
		INSERT INTO admission AS a (org_id, queue, running, held)
		SELECT org_id, queue, -count(*) FILTER (WHERE held_at IS NULL), -count(held_at)
		FROM ` + from + `
		GROUP BY org_id, queue
		ORDER BY org_id, queue
		ON CONFLICT (org_id, queue) DO UPDATE
		SET running = a.running + EXCLUDED.running, held = a.held + EXCLUDED.held
		RETURNING a.org_id, a.held`
}
