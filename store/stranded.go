package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Stranded is a live generation whose ticket leads nowhere. Queue is where a
// fresh one belongs.
type Stranded struct {
	ID    string
	Queue string
}

// maxStranded bounds one transaction that takes tickets back.
const maxStranded = 500

// SilentTickets returns running tickets of workers that have been silent for the
// time given.
func (db *DB) SilentTickets(ctx context.Context, silence time.Duration) ([]int64, error) {
	return db.tickets(ctx, `
		SELECT j.id FROM `+RiverSchema+`.river_job AS j
		JOIN worker AS w ON w.id = j.attempted_by[array_upper(j.attempted_by, 1)]
		WHERE j.state = 'running' AND j.kind = 'generate' AND w.seen_at < now() - @silence::interval
		ORDER BY j.id
		LIMIT @limit`,
		pgx.NamedArgs{"silence": silence, "limit": maxStranded})
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

// TakeTickets ends running tickets that nobody works on and returns the live
// generations that are left without one: in the same transaction the caller
// queues a fresh ticket for each and names it with SetTickets. The old ticket is
// never run again, so that a worker that was only frozen writes to a ticket that
// is over, and not to that of the run which took its place. Tickets that another
// process is taking are left to it.
func (db *DB) TakeTickets(ctx context.Context, tickets []int64) ([]*Stranded, error) {
	if db.tx == nil {
		return nil, fmt.Errorf("take tickets: %w", errNoTx)
	}
	// Generations are locked before tickets, as a cancel does.
	stranded, err := many[Stranded](ctx, db, `
		SELECT g.id, g.queue FROM `+RiverSchema+`.river_job AS j
		JOIN generation AS g ON g.id = j.args ->> 'id'
		WHERE j.id = ANY(@tickets) AND j.state = 'running'
			AND g.finished_at IS NULL AND g.held_at IS NULL AND (g.river_job_id IS NULL OR g.river_job_id = j.id)
		ORDER BY g.id
		FOR UPDATE OF g SKIP LOCKED`,
		pgx.NamedArgs{"tickets": tickets})
	if err != nil {
		return nil, fmt.Errorf("take tickets: %w", err)
	}
	ids := make([]string, len(stranded))
	for i, s := range stranded {
		ids[i] = s.ID
	}
	taken, err := db.endTickets(ctx, tickets, ids)
	if err != nil {
		return nil, fmt.Errorf("take tickets: %w", err)
	}
	left := stranded[:0]
	for _, s := range stranded {
		if taken[s.ID] {
			left = append(left, s)
		}
	}
	return left, nil
}

// endTickets ends the tickets of the generations given, and those whose
// generation is not theirs to run. It returns the generations of the ended.
func (db *DB) endTickets(ctx context.Context, tickets []int64, generations []string) (map[string]bool, error) {
	rows, err := db.q.Query(ctx, `
		WITH idle AS (
			SELECT j.id FROM `+RiverSchema+`.river_job AS j
			LEFT JOIN generation AS g ON g.id = j.args ->> 'id'
			WHERE j.id = ANY(@tickets) AND j.state = 'running' AND (
				g.id = ANY(@generations) OR g.id IS NULL OR g.finished_at IS NOT NULL OR g.river_job_id <> j.id)
			ORDER BY j.id
			FOR UPDATE OF j SKIP LOCKED
		)
		UPDATE `+RiverSchema+`.river_job AS j
		SET state = 'cancelled', finalized_at = now(),
			errors = array_append(errors, jsonb_build_object(
				'at', now(), 'attempt', attempt, 'error', 'the worker fell silent; a fresh ticket took over', 'trace', ''))
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

// Ticketless locks and returns live generations that are not held and have no
// live ticket, which no part of the service leaves behind knowingly. Within the
// same transaction the caller queues a ticket for each. It reads every live
// ticket, so it is for each minute.
func (db *DB) Ticketless(ctx context.Context) ([]*Stranded, error) {
	if db.tx == nil {
		return nil, fmt.Errorf("find generations without a ticket: %w", errNoTx)
	}
	const without = `
		g.finished_at IS NULL AND g.held_at IS NULL AND NOT EXISTS (
			SELECT FROM ` + RiverSchema + `.river_job AS j
			WHERE j.kind = 'generate' AND j.args ->> 'id' = g.id
				AND j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled')
		)`
	candidates, err := many[Stranded](ctx, db, `
		SELECT g.id, g.queue FROM generation AS g
		WHERE `+without+`
		LIMIT @limit`,
		pgx.NamedArgs{"limit": maxStranded})
	if err != nil {
		return nil, fmt.Errorf("find generations without a ticket: %w", err)
	}
	if len(candidates) == 0 {
		return nil, nil
	}
	ids := make([]string, len(candidates))
	for i, c := range candidates {
		ids[i] = c.ID
	}
	locked, err := many[Stranded](ctx, db, `
		SELECT id, queue FROM generation
		WHERE id = ANY(@ids) AND finished_at IS NULL
		ORDER BY id
		FOR UPDATE SKIP LOCKED`, pgx.NamedArgs{"ids": ids})
	if err != nil {
		return nil, fmt.Errorf("lock generations without a ticket: %w", err)
	}
	ids = ids[:0]
	for _, l := range locked {
		ids = append(ids, l.ID)
	}
	// A statement after the lock sees the tickets that came before it.
	stranded, err := many[Stranded](ctx, db, `
		SELECT g.id, g.queue FROM generation AS g
		WHERE g.id = ANY(@ids) AND `+without, pgx.NamedArgs{"ids": ids})
	if err != nil {
		return nil, fmt.Errorf("find generations without a ticket: %w", err)
	}
	return stranded, nil
}

// SetTickets records the tickets that were queued for stranded generations.
func (db *DB) SetTickets(ctx context.Context, stranded []*Stranded, tickets []int64) error {
	ids := make([]string, len(stranded))
	for i, s := range stranded {
		ids[i] = s.ID
	}
	_, err := db.q.Exec(ctx, `
		UPDATE generation AS g
		SET river_job_id = t.ticket
		FROM unnest(@ids::text[], @tickets::bigint[]) AS t (id, ticket)
		WHERE g.id = t.id AND g.finished_at IS NULL`,
		pgx.NamedArgs{"ids": ids, "tickets": tickets})
	if err != nil {
		return fmt.Errorf("record fresh tickets: %w", err)
	}
	return nil
}
