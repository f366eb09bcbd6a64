package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ExpireSessions forgets up to limit sessions, and as many mailed links, of any account
// whose time was over before the one given. It returns how many of the more frequent of
// the two there were.
func (db *DB) ExpireSessions(ctx context.Context, before time.Time, limit int) (int, error) {
	most := 0
	var batch pgx.Batch
	for _, table := range []string{"session", "account_token"} {
		batch.Queue(`
			WITH gone AS (
				DELETE FROM `+table+`
				WHERE ctid = ANY(ARRAY(
					SELECT ctid FROM `+table+`
					WHERE expires_at < @before
					LIMIT @limit
					FOR UPDATE SKIP LOCKED))
				RETURNING 1
			)
			SELECT count(*)::int FROM gone`, pgx.NamedArgs{"before": before, "limit": limit}).QueryRow(func(row pgx.Row) error {
			var n int
			err := row.Scan(&n)
			most = max(most, n)
			return err
		})
	}
	if err := db.q.SendBatch(ctx, &batch).Close(); err != nil {
		return 0, fmt.Errorf("expire sessions: %w", err)
	}
	return most, nil
}
