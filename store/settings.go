package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Secret returns the random secret made with the database, from which keys'
// peppers and URL signatures are derived unless one is configured.
func (db *DB) Secret(ctx context.Context) (string, error) {
	rows, err := db.q.Query(ctx, `SELECT value FROM setting WHERE name = 'secret'`)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	secret, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	return secret, nil
}
