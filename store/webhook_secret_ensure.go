package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// EnsureSecret records a sealed secret as an owner's first, unless it has one, and
// returns the newest that has not expired.
func (db *DB) EnsureSecret(ctx context.Context, orgID, owner string, sealed []byte) ([]byte, error) {
	args := pgx.NamedArgs{"owner": owner, "org_id": orgID, "sealed": sealed}
	if _, err := db.q.Exec(ctx, `
		INSERT INTO webhook_secret (owner, n, org_id, sealed) VALUES (@owner, 1, @org_id, @sealed)
		ON CONFLICT DO NOTHING`, args); err != nil {
		return nil, fmt.Errorf("make secret of %s: %w", owner, err)
	}
	newest, err := one[secretRow](ctx, db, `
		SELECT owner, sealed FROM webhook_secret
		WHERE org_id = @org_id AND owner = @owner AND (expires_at IS NULL OR expires_at > now())
		ORDER BY n DESC
		LIMIT 1`, args)
	if err != nil {
		return nil, fmt.Errorf("secret of %s: %w", owner, err)
	}
	return newest.Sealed, nil
}
