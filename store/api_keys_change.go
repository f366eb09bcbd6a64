package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// MaxAPIKeys is how many keys an organization may have that are neither revoked nor
// expired.
const MaxAPIKeys = 500

// ErrTooManyAPIKeys reports an organization that has MaxAPIKeys.
var ErrTooManyAPIKeys = errors.New("the organization has as many API keys as it may have")

// RoomForAPIKey fails with ErrTooManyAPIKeys if an organization has MaxAPIKeys. In a
// transaction, what it says holds to its end.
func (db *DB) RoomForAPIKey(ctx context.Context, orgID string) error {
	var n int
	args := pgx.NamedArgs{"org_id": orgID}
	var batch pgx.Batch
	// Two at the same time would both find room for one. The foreign keys of others'
	// inserts pass.
	batch.Queue(`SELECT FROM org WHERE id = @org_id FOR NO KEY UPDATE`, args)
	batch.Queue(`SELECT count(*) FROM api_key WHERE org_id = @org_id AND `+isInUseSQL, args).QueryRow(func(row pgx.Row) error {
		return row.Scan(&n)
	})
	err := db.q.SendBatch(ctx, &batch).Close()
	if err == nil && n >= MaxAPIKeys {
		err = ErrTooManyAPIKeys
	}
	if err != nil {
		return fmt.Errorf("room for an API key of %s: %w", orgID, err)
	}
	return nil
}

// LockAPIKey returns a key of an organization as it stays to the end of the
// transaction but for its changes there, or ErrNotFound.
func (db *DB) LockAPIKey(ctx context.Context, orgID, id string) (*APIKey, error) {
	key, err := one[APIKey](ctx, db, `
		SELECT `+columns[APIKey]("")+` FROM api_key
		WHERE org_id = @org_id AND id = @id
		FOR NO KEY UPDATE`,
		pgx.NamedArgs{"org_id": orgID, "id": id})
	if err != nil {
		return nil, fmt.Errorf("lock API key %s: %w", id, err)
	}
	return key, nil
}

// An APIKeyChange is what to change of a key; nil fields stay, and pointers to nil
// take away.
type APIKeyChange struct {
	Name         *string
	Scopes       []string
	IPAllowlist  *[]string
	MonthlyLimit **int
	RateLimit    **int
	ExpiresAt    **time.Time
}

// UpdateAPIKey changes a key of an organization, tells every process, and returns
// it, or ErrNotFound. A key with another end is warned of anew.
func (db *DB) UpdateAPIKey(ctx context.Context, orgID, id string, c APIKeyChange) (*APIKey, error) {
	set := []string{}
	args := pgx.NamedArgs{"org_id": orgID, "id": id, "channel": channelKey}
	put := func(column string, value any) {
		set = append(set, column+" = @"+column)
		args[column] = value
	}
	if c.Name != nil {
		put("name", *c.Name)
	}
	if c.Scopes != nil {
		put("scopes", c.Scopes)
	}
	if c.IPAllowlist != nil {
		put("ip_allowlist", *c.IPAllowlist)
	}
	if c.MonthlyLimit != nil {
		put("monthly_limit", *c.MonthlyLimit)
	}
	if c.RateLimit != nil {
		put("rate_limit", *c.RateLimit)
	}
	if c.ExpiresAt != nil {
		put("expires_at", *c.ExpiresAt)
		set = append(set, "warned_at = CASE WHEN expires_at IS NOT DISTINCT FROM @expires_at THEN warned_at END")
	}
	if len(set) == 0 {
		return db.APIKey(ctx, orgID, id)
	}
	key, err := one[APIKey](ctx, db, `
		WITH changed AS (
			UPDATE api_key
			SET `+strings.Join(set, ", ")+`
			WHERE org_id = @org_id AND id = @id
			RETURNING `+columns[APIKey]("")+`
		), told AS (
			SELECT pg_notify(@channel, id) FROM changed
		)
		SELECT changed.* FROM changed, told`, args)
	if err != nil {
		return nil, fmt.Errorf("change API key %s: %w", id, err)
	}
	return key, nil
}

// ReplaceAPIKey says which key takes the place of one that goes on for a while, and
// tells every process. It ends then, or when it would have anyway. ErrNotFound reports
// one that has ended already, or has been replaced.
func (db *DB) ReplaceAPIKey(ctx context.Context, orgID, id, byID string, grace time.Duration) (*APIKey, error) {
	key, err := one[APIKey](ctx, db, `
		WITH replaced AS (
			UPDATE api_key
			SET replaced_by = @by, expires_at = least(expires_at, now() + @grace::interval), warned_at = coalesce(warned_at, now())
			WHERE org_id = @org_id AND id = @id AND replaced_by IS NULL AND `+isInUseSQL+`
			RETURNING `+columns[APIKey]("")+`
		), told AS (
			SELECT pg_notify(@channel, id) FROM replaced
		)
		SELECT replaced.* FROM replaced, told`,
		pgx.NamedArgs{"org_id": orgID, "id": id, "by": byID, "grace": grace, "channel": channelKey})
	if err != nil {
		return nil, fmt.Errorf("replace API key %s: %w", id, err)
	}
	return key, nil
}

// RevokeAPIKey ends a key of an organization, tells every process, and records the
// event if it is a project's, or returns ErrNotFound. Revoking twice keeps the first
// time.
func (db *DB) RevokeAPIKey(ctx context.Context, orgID, id string) (*APIKey, error) {
	key, err := one[APIKey](ctx, db, revokeAPIKeySQL, withDeliveries(pgx.NamedArgs{
		"org_id": orgID, "id": id, "event_id": NewEventID(), "channel": channelKey,
	}))
	if err != nil {
		return nil, fmt.Errorf("revoke API key %s: %w", id, err)
	}
	return key, nil
}

var revokeAPIKeySQL = `
		WITH found AS MATERIALIZED (
			SELECT id, revoked_at AS earlier FROM api_key
			WHERE org_id = @org_id AND id = @id
			FOR NO KEY UPDATE
		), revoked AS (
			UPDATE api_key AS k
			SET revoked_at = coalesce(k.revoked_at, now())
			FROM found
			WHERE k.id = found.id
			RETURNING ` + columns[APIKey]("k") + `, found.earlier
		), told AS (
			SELECT pg_notify(@channel, id) FROM revoked
		), ` + recordEvents(apiKeyEvents(`SELECT *, @event_id::text AS event_id FROM revoked WHERE earlier IS NULL`, EventKeyRevoked), "") + `
		SELECT ` + columns[APIKey]("revoked") + ` FROM revoked, told, errands_announced`

// apiKeyEvents returns a query for recordEvents: an event of each of the projects'
// keys in from, a query that has event_id too.
func apiKeyEvents(from, eventType string) string {
	return `
			SELECT event_id, org_id, project_id, '` + eventType + `' AS type, kind = '` + KeyTest + `' AS test, jsonb_build_object(
				'id', id, 'object', 'api_key', 'name', name, 'kind', kind, 'last4', last4,
				'expires_at', expires_at, 'revoked_at', revoked_at, 'replaced_by', replaced_by
			) AS data, NULL::text AS webhook_url, NULL::text[] AS webhook_events
			FROM (` + from + `) AS k
			WHERE project_id IS NOT NULL`
}

// ForgetKeys tells every process to ask the database again about the keys with these
// ids, and about all keys of the organizations and projects with these ids. In a
// transaction, they are told when it commits.
func (db *DB) ForgetKeys(ctx context.Context, ids ...string) error {
	const most = 200 // of a notification, which has less than 8,000 bytes
	for len(ids) > 0 {
		n := min(len(ids), most)
		if _, err := db.q.Exec(ctx, `SELECT pg_notify(@channel, @ids)`, pgx.NamedArgs{
			"channel": channelKey, "ids": strings.Join(ids[:n], ","),
		}); err != nil {
			return fmt.Errorf("forget API keys: %w", err)
		}
		ids = ids[n:]
	}
	return nil
}

// RecordKeyUse remembers when keys were used last, to the minute. What is known to
// be later stays.
func (db *DB) RecordKeyUse(ctx context.Context, used map[string]time.Time) error {
	ids, times := make([]string, 0, len(used)), make([]time.Time, 0, len(used))
	for id, at := range used {
		ids, times = append(ids, id), append(times, at.Truncate(time.Minute))
	}
	// Locked in one order, so that two processes do not wait for each other.
	_, err := db.q.Exec(ctx, `
		WITH used AS MATERIALIZED (
			SELECT * FROM unnest(@ids::text[], @times::timestamptz[]) AS u (id, at)
		), locked AS MATERIALIZED (
			SELECT id FROM api_key
			WHERE id = ANY(@ids)
			ORDER BY id
			FOR NO KEY UPDATE
		)
		UPDATE api_key AS k
		SET last_used_at = used.at
		FROM locked JOIN used ON used.id = locked.id
		WHERE k.id = locked.id AND (k.last_used_at IS NULL OR k.last_used_at < used.at)`,
		pgx.NamedArgs{"ids": ids, "times": times})
	if err != nil {
		return fmt.Errorf("record the use of %d API keys: %w", len(ids), err)
	}
	return nil
}
