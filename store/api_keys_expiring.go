package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// KeyWarning is how long before its end a key is warned of, or a tenth of its life if
// that is shorter.
const KeyWarning = 7 * 24 * time.Hour

// An ExpiringKey is a key that will expire.
type ExpiringKey struct {
	APIKey
	OrgName string
}

// WarnExpiringKeys returns up to limit keys that will expire within KeyWarning and
// records the events of those of projects. Each is returned once, to one process: it
// belongs into the transaction that tells of them.
func (db *DB) WarnExpiringKeys(ctx context.Context, limit int) ([]*ExpiringKey, error) {
	ids := make([]string, limit) // of the events, as far as they become true
	for i := range ids {
		ids[i] = NewEventID()
	}
	keys, err := many[ExpiringKey](ctx, db, warnExpiringKeysSQL, withDeliveries(pgx.NamedArgs{
		"limit": limit, "warning": KeyWarning, "event_ids": ids,
	}))
	if err != nil {
		return nil, fmt.Errorf("warn of expiring API keys: %w", err)
	}
	return keys, nil
}

// The keys of organizations and projects that are gone open nothing, whenever they
// expire.
var warnExpiringKeysSQL = `
		WITH due AS MATERIALIZED (
			SELECT k.id, o.name AS org_name FROM api_key AS k JOIN org AS o ON o.id = k.org_id
			WHERE k.revoked_at IS NULL AND k.warned_at IS NULL
				AND k.expires_at > now() AND k.expires_at <= now() + @warning::interval
				AND k.expires_at - now() <= (k.expires_at - k.created_at) / 10
				AND o.deleted_at IS NULL
				AND NOT EXISTS (SELECT FROM project AS p WHERE p.id = k.project_id AND p.archived_at IS NOT NULL)
			ORDER BY k.expires_at
			LIMIT @limit
			FOR NO KEY UPDATE OF k SKIP LOCKED
		), warned AS (
			UPDATE api_key AS k
			SET warned_at = now()
			FROM due
			WHERE k.id = due.id
			RETURNING ` + columns[APIKey]("k") + `, due.org_name
		), ` + recordEvents(apiKeyEvents(`SELECT *, (@event_ids::text[])[row_number() OVER (ORDER BY id)] AS event_id FROM warned`, EventKeyExpiring), "") + `
		SELECT ` + columns[APIKey]("warned") + `, org_name
		FROM warned, errands_announced
		ORDER BY warned.expires_at, warned.id`
