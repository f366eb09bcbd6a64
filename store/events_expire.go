package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// OldestEvent returns when the oldest event or delivery of any project was made that
// is older than before; the zero time if there is none. It reads what is older.
func (db *DB) OldestEvent(ctx context.Context, before time.Time) (time.Time, error) {
	rows, err := db.q.Query(ctx, `
		SELECT least(
			(SELECT min(created_at) FROM event WHERE created_at < @before),
			(SELECT min(created_at) FROM webhook_delivery WHERE created_at < @before))`,
		pgx.NamedArgs{"before": before})
	if err != nil {
		return time.Time{}, fmt.Errorf("find oldest event: %w", err)
	}
	oldest, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[*time.Time])
	if err != nil {
		return time.Time{}, fmt.Errorf("find oldest event: %w", err)
	}
	if oldest == nil {
		return time.Time{}, nil
	}
	return *oldest, nil
}

// ExpireEvents forgets up to limit events, and as many deliveries with the tickets
// that have not begun, of any project and of a span of time: from is in it, to is
// not. A short span reads little: the index tells where on disk its rows can be. It
// returns how many of the two there were; fewer than limit was all.
func (db *DB) ExpireEvents(ctx context.Context, from, to time.Time, limit int) (int, error) {
	args := pgx.NamedArgs{"from": from, "to": to, "limit": limit}
	most := 0
	deleted := func(row pgx.Row) error {
		var n int
		err := row.Scan(&n)
		most = max(most, n)
		return err
	}
	var batch pgx.Batch
	batch.Queue(`
		WITH gone AS (
			DELETE FROM webhook_delivery
			WHERE ctid = ANY(ARRAY(
				SELECT ctid FROM webhook_delivery
				WHERE created_at >= @from AND created_at < @to
				LIMIT @limit
				FOR UPDATE SKIP LOCKED))
			RETURNING ticket
		), dropped AS (
			DELETE FROM `+RiverSchema+`.river_job
			WHERE id IN (SELECT ticket FROM gone) AND state IN ('available', 'pending', 'retryable', 'scheduled')
		)
		SELECT count(*)::int FROM gone`, args).QueryRow(deleted)
	batch.Queue(`
		WITH gone AS (
			DELETE FROM event
			WHERE ctid = ANY(ARRAY(
				SELECT ctid FROM event
				WHERE created_at >= @from AND created_at < @to
				LIMIT @limit))
			RETURNING id
		)
		SELECT count(*)::int FROM gone`, args).QueryRow(deleted)
	if err := db.q.SendBatch(ctx, &batch).Close(); err != nil {
		return 0, fmt.Errorf("expire events: %w", err)
	}
	return most, nil
}

// ExpireWebhookSecrets forgets secrets that nothing has been signed with since
// before.
func (db *DB) ExpireWebhookSecrets(ctx context.Context, before time.Time) error {
	_, err := db.q.Exec(ctx, `
		DELETE FROM webhook_secret
		WHERE expires_at < @before`,
		pgx.NamedArgs{"before": before})
	if err != nil {
		return fmt.Errorf("expire webhook secrets: %w", err)
	}
	return nil
}
