package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A Recounted is an organization's counts in a queue that did not match its
// generations.
type Recounted struct {
	OrgID      string
	Queue      string
	WasRunning int
	WasHeld    int
	Running    int // now
	Held       int // now
}

// Recount sets the counts of running and held generations right wherever they
// differ from the generations themselves, and returns what it changed. There is
// nothing to change unless rows were written by other means than this package.
// Any number of processes may call it at once.
func (db *DB) Recount(ctx context.Context) ([]*Recounted, error) {
	// Counts and generations change in the same transactions, so within one
	// statement's snapshot they agree, whatever goes on meanwhile.
	wrong, err := many[Recounted](ctx, db, `
		WITH live AS (
			SELECT org_id, queue, count(*) FILTER (WHERE held_at IS NULL)::int AS running, count(held_at)::int AS held
			FROM generation WHERE finished_at IS NULL
			GROUP BY org_id, queue
		)
		SELECT org_id, queue, coalesce(a.running, 0) AS was_running, coalesce(a.held, 0) AS was_held,
			coalesce(live.running, 0) AS running, coalesce(live.held, 0) AS held
		FROM admission AS a FULL JOIN live USING (org_id, queue)
		WHERE (coalesce(a.running, 0), coalesce(a.held, 0)) <> (coalesce(live.running, 0), coalesce(live.held, 0))
		ORDER BY org_id, queue`, nil)
	if err != nil {
		return nil, fmt.Errorf("recount running generations: %w", err)
	}
	var done []*Recounted
	for _, r := range wrong {
		err := db.Transact(ctx, func(tx *DB) error { return tx.recount(ctx, r) })
		if err != nil {
			return done, fmt.Errorf("recount running generations of %s: %w", r.OrgID, err)
		}
		if r.WasRunning != r.Running || r.WasHeld != r.Held {
			done = append(done, r)
		}
	}
	return done, nil
}

// recount locks the counts first and counts in a second statement: that one sees
// whatever the transactions have done that it waited for, and those that come
// later add to the right counts.
func (db *DB) recount(ctx context.Context, r *Recounted) error {
	args := pgx.NamedArgs{"org_id": r.OrgID, "queue": r.Queue}
	var batch pgx.Batch
	batch.Queue(`
		INSERT INTO admission AS a (org_id, queue) VALUES (@org_id, @queue)
		ON CONFLICT (org_id, queue) DO UPDATE SET running = a.running
		RETURNING running, held`, args).QueryRow(func(row pgx.Row) error {
		return row.Scan(&r.WasRunning, &r.WasHeld)
	})
	batch.Queue(`
		UPDATE admission
		SET (running, held) = (
			SELECT count(*) FILTER (WHERE held_at IS NULL), count(held_at)
			FROM generation WHERE org_id = @org_id AND queue = @queue AND finished_at IS NULL
		)
		WHERE org_id = @org_id AND queue = @queue
		RETURNING running, held`, args).QueryRow(func(row pgx.Row) error {
		return row.Scan(&r.Running, &r.Held)
	})
	return db.q.SendBatch(ctx, &batch).Close()
}
