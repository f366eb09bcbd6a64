package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// RevokeProjectKeys ends every key of a project, as RevokeAPIKey does, and returns
// those that it has ended. It must run in a transaction.
func (db *DB) RevokeProjectKeys(ctx context.Context, orgID, projectID string) ([]*APIKey, error) {
	keys, err := many[struct{ ID string }](ctx, db, `
		SELECT id FROM api_key
		WHERE org_id = @org_id AND project_id = @project_id AND revoked_at IS NULL
		ORDER BY id
		FOR NO KEY UPDATE`,
		pgx.NamedArgs{"org_id": orgID, "project_id": projectID})
	if err != nil {
		return nil, fmt.Errorf("revoke API keys of %s: %w", projectID, err)
	}
	revoked := make([]*APIKey, len(keys))
	for i, key := range keys {
		if revoked[i], err = db.RevokeAPIKey(ctx, orgID, key.ID); err != nil {
			return nil, err
		}
	}
	return revoked, nil
}

// RevokeOrgKeys ends every key of an organization on every process, and returns those
// that it has ended. Of an organization that goes there are no events.
func (db *DB) RevokeOrgKeys(ctx context.Context, orgID string) ([]*APIKey, error) {
	revoked, err := many[APIKey](ctx, db, `
		WITH locked AS MATERIALIZED (
			-- In one order, as whoever records their use does.
			SELECT id FROM api_key
			WHERE org_id = @org_id AND revoked_at IS NULL
			ORDER BY id
			FOR NO KEY UPDATE
		), revoked AS (
			UPDATE api_key AS k
			SET revoked_at = now()
			FROM locked
			WHERE k.id = locked.id
			RETURNING `+columns[APIKey]("k")+`
		), told AS MATERIALIZED (
			SELECT count(pg_notify(@channel, id)) FROM revoked
		)
		SELECT revoked.* FROM revoked, told
		ORDER BY id`,
		pgx.NamedArgs{"org_id": orgID, "channel": channelKey})
	if err != nil {
		return nil, fmt.Errorf("revoke API keys of %s: %w", orgID, err)
	}
	return revoked, nil
}
