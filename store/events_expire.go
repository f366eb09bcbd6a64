package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// ExpireEvents forgets up to limit events that are older than before, of any project,
// and as many deliveries with the tickets that have not begun: the oldest of each. It
// returns how many of the two there were; fewer than limit was all that nobody was
// changing.
func (db *DB) ExpireEvents(ctx context.Context, before time.Time, limit int) (int, error) {
	args := pgx.NamedArgs{"before": before}
	most := 0
	deleted := func(row pgx.Row) error {
		var n int
		err := row.Scan(&n)
		most = max(most, n)
		return err
	}
	oldest := func(table string) string {
		return `
			WHERE ctid = ANY(ARRAY(
				SELECT ctid FROM ` + table + `
				WHERE created_at < @before
				ORDER BY created_at
				LIMIT ` + strconv.Itoa(limit) + `
				FOR UPDATE SKIP LOCKED))`
	}
	var batch pgx.Batch
	batch.Queue(`
		WITH gone AS (
			DELETE FROM webhook_delivery`+oldest("webhook_delivery")+`
			RETURNING ticket
		), dropped AS (
			DELETE FROM `+RiverSchema+`.river_job
			WHERE id = ANY(ARRAY(SELECT ticket FROM gone)) AND state IN ('available', 'pending', 'retryable', 'scheduled')
		)
		SELECT count(*)::int FROM gone`, args).QueryRow(deleted)
	batch.Queue(`
		WITH gone AS (
			DELETE FROM event`+oldest("event")+`
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
