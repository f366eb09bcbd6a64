package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// expiredError says why a generation has expired.
func expiredError() GenerationError {
	return GenerationError{Code: "deadline_exceeded", Message: "it had not begun by its deadline", Retryable: true}
}

// expireLock lets one process at a time look for what is overdue: "nbexpire" in
// ASCII.
const expireLock = 0x6e62657870697265

// maxNotified is how many ids fit into the payload of one notification, which
// Postgres bounds at 8,000 bytes.
const maxNotified = 200

// ExpireOverdue ends up to limit generations, held or with a ticket, that have
// not begun by their deadline, and returns how many. Their tickets end with them
// and their places go to others. Any number of processes may call it at once; one
// that finds another at it returns 0.
func (db *DB) ExpireOverdue(ctx context.Context, limit int) (int, error) {
	limit = min(limit, maxNotified)
	var expired []string
	err := db.Transact(ctx, func(tx *DB) error {
		rows, err := tx.q.Query(ctx, `SELECT pg_try_advisory_xact_lock(@lock)`, pgx.NamedArgs{"lock": int64(expireLock)})
		if err != nil {
			return err
		}
		alone, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool])
		if err != nil || !alone {
			return err
		}
		expired, err = tx.expire(ctx, expireOverdueSQL, map[string]any{"limit": limit})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("expire overdue generations: %w", err)
	}
	return len(expired), nil
}

// ExpireGeneration ends a generation if it has not begun by its deadline, and its place
// goes to its organization's next. It reports whether it has.
func (db *DB) ExpireGeneration(ctx context.Context, id string) (bool, error) {
	args := pgx.NamedArgs{"id": id}
	// Nearly every generation that can not be claimed has ended otherwise.
	late, err := db.number(ctx, `SELECT count(*)::int FROM generation WHERE id = @id AND `+tooLateSQL, args)
	if err != nil {
		return false, fmt.Errorf("expire %s: %w", id, err)
	}
	if late == 0 {
		return false, nil
	}
	var expired []string
	err = db.Transact(ctx, func(tx *DB) (err error) {
		expired, err = tx.expire(ctx, expireOneSQL, args)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("expire %s: %w", id, err)
	}
	return len(expired) > 0, nil
}

// tooLateSQL is true of a generation that has not begun by its deadline.
const tooLateSQL = `finished_at IS NULL AND status = 'queued' AND started_at IS NULL AND deadline_at <= now()`

var (
	// Those that someone is changing are left out: they begin or end.
	expireOverdueSQL = expireSQL(tooLateSQL + ` LIMIT @limit FOR UPDATE SKIP LOCKED`)
	expireOneSQL     = expireSQL(`id = @id AND ` + tooLateSQL + ` FOR UPDATE`)
)

// expireSQL ends the generations that a condition selects and locks.
func expireSQL(which string) string {
	return `
		WITH late AS (
			SELECT id FROM generation
			WHERE ` + which + `
		), expired AS (
			UPDATE generation AS g
			SET status = 'expired', fence = fence + 1, finished_at = now(), error = @expired, charged = credits * 0
			FROM late
			WHERE g.id = late.id
			RETURNING ` + endedColumns + `, g.queue, g.held_at, g.river_job_id, g.test, g.webhook_url, g.webhook_events
		), ` + settleCredits("SELECT * FROM expired", false) + `, freed AS (` + leaveSQL("expired WHERE "+accountsLocked) + `
		), ` + recordEvents(generationEvents("expired", "'"+EventGenerationExpired+"'", "'"+stepEnded+"'"), "freed") + `, told AS (
			SELECT pg_notify(@channel, string_agg(id, ',')) FROM expired HAVING count(*) > 0
		)
		SELECT id FROM expired LEFT JOIN told ON true, errands_announced`
}

// expire runs a statement of expireSQL, and gives the places of what it has ended to
// others.
func (db *DB) expire(ctx context.Context, sql string, args map[string]any) ([]string, error) {
	args["expired"], args["channel"] = expiredError(), channelGeneration
	rows, err := db.q.Query(ctx, sql, pgx.NamedArgs(withDeliveries(args)))
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	// One that was held until a moment ago has a ticket that only a statement of
	// its own sees.
	_, err = db.q.Exec(ctx, `
		UPDATE `+RiverSchema+`.river_job
		SET state = 'cancelled', finalized_at = now()
		WHERE id IN (SELECT river_job_id FROM generation WHERE id = ANY(@ids)) AND state IN ('available', 'scheduled', 'retryable')`,
		pgx.NamedArgs{"ids": ids})
	if err != nil {
		return nil, err
	}
	return ids, db.admitNext(ctx, ids)
}
