package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// maxStranded bounds one transaction that takes tickets back.
const maxStranded = 500

// A Silence is a worker that has not been heard of since a heartbeat.
type Silence struct {
	Worker string
	SeenAt time.Time
}

// SilentTickets returns the running tickets of silent workers.
func (db *DB) SilentTickets(ctx context.Context, silent []Silence) ([]int64, error) {
	args := silences(silent)
	args["limit"] = maxStranded
	return db.tickets(ctx, `
		SELECT j.id FROM `+RiverSchema+`.river_job AS j
		WHERE j.state = 'running' AND j.kind = 'generate'
			AND j.attempted_by[array_upper(j.attempted_by, 1)] = ANY(@silent::text[])
		ORDER BY j.id
		LIMIT @limit`, args)
}

func silences(silent []Silence) pgx.NamedArgs {
	workers, seen := make([]string, len(silent)), make([]time.Time, len(silent))
	for i, s := range silent {
		workers[i], seen[i] = s.Worker, s.SeenAt
	}
	return pgx.NamedArgs{"silent": workers, "seen": seen}
}

// OwnTickets returns the tickets that a worker is running as far as the queue
// knows.
func (db *DB) OwnTickets(ctx context.Context, worker string) ([]int64, error) {
	return db.tickets(ctx, `
		SELECT id FROM `+RiverSchema+`.river_job
		WHERE state = 'running' AND kind = 'generate' AND attempted_by[array_upper(attempted_by, 1)] = @worker`,
		pgx.NamedArgs{"worker": worker})
}

func (db *DB) tickets(ctx context.Context, sql string, args pgx.NamedArgs) ([]int64, error) {
	rows, err := db.q.Query(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("list running tickets: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("list running tickets: %w", err)
	}
	return ids, nil
}

// TakeTickets ends running tickets that nobody works on, and queues a fresh one
// for each generation that it was to run. The old ticket is never run again, so
// that a worker that was only frozen writes to a ticket that is over, and not to
// that of the run which took its place. It returns how many generations got one.
// A ticket whose run has ended its generation is completed instead: only the word of
// it was lost. Tickets that another process is taking are left to it, and so are
// those of a worker that has been heard of after all; own are the caller's.
func (db *DB) TakeTickets(ctx context.Context, silent []Silence, tickets, own []int64) (int, error) {
	taken := 0
	args := silences(silent)
	args["tickets"] = tickets
	err := db.Transact(ctx, func(tx *DB) error {
		still, err := tx.tickets(ctx, `
			SELECT j.id FROM `+RiverSchema+`.river_job AS j
			JOIN unnest(@silent::text[], @seen::timestamptz[]) AS s (worker, seen_at)
				ON s.worker = j.attempted_by[array_upper(j.attempted_by, 1)]
			JOIN worker AS w ON w.id = s.worker AND w.seen_at = s.seen_at
			WHERE j.id = ANY(@tickets) AND j.state = 'running'`, args)
		if err != nil {
			return err
		}
		tickets := append(still, own...)
		// Generations are locked before tickets, as a cancel does.
		stranded, err := tx.stranded(ctx, `
			SELECT g.id FROM `+RiverSchema+`.river_job AS j
			JOIN generation AS g ON g.id = j.args ->> 'id'
			WHERE j.id = ANY(@tickets) AND j.state = 'running'
				AND g.finished_at IS NULL AND g.held_at IS NULL AND (g.river_job_id IS NULL OR g.river_job_id = j.id)
			ORDER BY g.id
			FOR UPDATE OF g SKIP LOCKED`,
			pgx.NamedArgs{"tickets": tickets})
		if err != nil {
			return err
		}
		ended, err := tx.endTickets(ctx, tickets, stranded)
		if err != nil {
			return err
		}
		stranded = slices.DeleteFunc(stranded, func(id string) bool { return !ended[id] })
		taken = len(stranded)
		return tx.freshTickets(ctx, stranded)
	})
	if err != nil {
		return 0, fmt.Errorf("take %d tickets: %w", len(tickets), err)
	}
	return taken, nil
}

// stranded returns the ids of live generations whose ticket leads nowhere.
func (db *DB) stranded(ctx context.Context, sql string, args pgx.NamedArgs) ([]string, error) {
	rows, err := db.q.Query(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// freshTickets queues a run of each generation, in line where its last ticket was: it
// has waited already. One that was claimed more than once goes to the end of the line:
// if it is what ends its workers, it must not keep all others waiting.
func (db *DB) freshTickets(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := db.q.Exec(ctx, `
		WITH stranded AS (
			SELECT g.id, g.queue, `+prioritySQL+` AS priority,
				CASE WHEN g.fence <= 1 THEN last.scheduled_at END AS place
			FROM generation AS g LEFT JOIN org ON org.id = g.org_id
				LEFT JOIN `+RiverSchema+`.river_job AS last ON last.id = g.river_job_id
			WHERE g.id = ANY(@ids)
		), ticket AS (`+insertTickets("stranded", "least(place, "+queuedNow+")")+`
		), named AS (
			UPDATE generation AS g
			SET river_job_id = ticket.id
			FROM ticket
			WHERE g.id = ticket.generation_id
		)`+announceTickets("ticket"),
		pgx.NamedArgs(withTickets(map[string]any{"ids": ids})))
	return err
}

// endTickets ends the tickets of the generations given, and those whose
// generation has ended or is not theirs to run. It returns the generations of the
// ended.
func (db *DB) endTickets(ctx context.Context, tickets []int64, generations []string) (map[string]bool, error) {
	rows, err := db.q.Query(ctx, `
		WITH idle AS (
			SELECT j.id, coalesce(g.finished_at IS NOT NULL AND g.river_job_id = j.id, false) AS done, g.status
			FROM `+RiverSchema+`.river_job AS j
			LEFT JOIN generation AS g ON g.id = j.args ->> 'id'
			WHERE j.id = ANY(@tickets) AND j.state = 'running' AND (
				g.id = ANY(@generations) OR g.id IS NULL OR g.finished_at IS NOT NULL OR g.river_job_id <> j.id)
			ORDER BY j.id
			FOR UPDATE OF j SKIP LOCKED
		)
		UPDATE `+RiverSchema+`.river_job AS j
		SET state = CASE WHEN done AND idle.status <> 'canceled' THEN 'completed' ELSE 'cancelled' END::`+RiverSchema+`.river_job_state,
			finalized_at = now(),
			errors = CASE WHEN done THEN errors ELSE array_append(errors, jsonb_build_object(
				'at', now(), 'attempt', attempt, 'error', 'the worker fell silent; a fresh ticket took over', 'trace', '')) END
		FROM idle
		WHERE j.id = idle.id
		RETURNING j.args ->> 'id'`,
		pgx.NamedArgs{"tickets": tickets, "generations": generations})
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	ended := make(map[string]bool, len(ids))
	for _, id := range ids {
		ended[id] = true
	}
	return ended, nil
}

// TicketTicketless queues a run of live generations that are not held and have no
// live ticket, which no part of the service leaves behind knowingly, and returns
// how many there were. It reads every live ticket, so it is for each minute.
func (db *DB) TicketTicketless(ctx context.Context) (int, error) {
	found := 0
	err := db.Transact(ctx, func(tx *DB) error {
		stranded, err := tx.ticketless(ctx)
		if err != nil {
			return err
		}
		found = len(stranded)
		return tx.freshTickets(ctx, stranded)
	})
	if err != nil {
		return 0, fmt.Errorf("queue generations without a ticket: %w", err)
	}
	return found, nil
}

// ticketless locks and returns generations without a live ticket.
func (db *DB) ticketless(ctx context.Context) ([]string, error) {
	const without = `
		g.finished_at IS NULL AND g.held_at IS NULL AND NOT EXISTS (
			SELECT FROM ` + RiverSchema + `.river_job AS j
			WHERE j.kind = 'generate' AND j.args ->> 'id' = g.id
				AND j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled')
		)`
	candidates, err := db.stranded(ctx, `
		SELECT g.id FROM generation AS g
		WHERE `+without+`
		LIMIT @limit`,
		pgx.NamedArgs{"limit": maxStranded})
	if err != nil {
		return nil, err
	}
	if len(candidates) == 0 {
		return nil, nil
	}
	locked, err := db.stranded(ctx, `
		SELECT id FROM generation
		WHERE id = ANY(@ids) AND finished_at IS NULL
		ORDER BY id
		FOR UPDATE SKIP LOCKED`, pgx.NamedArgs{"ids": candidates})
	if err != nil {
		return nil, err
	}
	// A statement after the lock sees the tickets that came before it.
	return db.stranded(ctx, `
		SELECT g.id FROM generation AS g
		WHERE g.id = ANY(@ids) AND `+without, pgx.NamedArgs{"ids": locked})
}
