package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// An IdempotencyKey binds a client's key to the generation it made first. Keys
// of one project never meet another's, nor a test key's a live key's.
type IdempotencyKey struct {
	ProjectID    string    `json:"project_id"`
	Test         bool      `json:"test"`
	Route        string    `json:"route"`
	Key          string    `json:"key"`
	OrgID        string    `json:"org_id"`
	Fingerprint  Bytes     `json:"fingerprint"` // SHA-256 of the request
	GenerationID string    `json:"generation_id"`
	ExpiresAt    time.Time `json:"expires_at"`
}

// Bytes is a bytea that travels in JSON in Postgres' hexadecimal form.
type Bytes []byte

// MarshalText returns the bytes as \x and hexadecimal digits.
func (b Bytes) MarshalText() ([]byte, error) { return fmt.Appendf(nil, `\x%x`, []byte(b)), nil }

// ClaimIdempotencyKeys takes the keys, which must differ from each other, and
// returns those that were taken before, as they were taken. It waits for
// transactions that are just taking one of them.
func (db *DB) ClaimIdempotencyKeys(ctx context.Context, keys []*IdempotencyKey) ([]*IdempotencyKey, error) {
	text, err := json.Marshal(keys)
	if err != nil {
		return nil, fmt.Errorf("claim idempotency keys: %w", err)
	}
	// Sorted, so that two transactions wait for each other in one direction only.
	_, err = db.q.Exec(ctx, `
		INSERT INTO idempotency_key (project_id, test, route, key, org_id, fingerprint, generation_id, expires_at)
		SELECT project_id, test, route, key, org_id, fingerprint, generation_id, expires_at
		FROM json_populate_recordset(NULL::idempotency_key, @keys)
		ORDER BY project_id, test, route, key
		ON CONFLICT DO NOTHING`,
		pgx.NamedArgs{"keys": string(text)})
	if err != nil {
		return nil, fmt.Errorf("claim idempotency keys: %w", err)
	}
	taken, err := many[IdempotencyKey](ctx, db, `
		SELECT `+columns[IdempotencyKey]("k")+`
		FROM idempotency_key AS k
		JOIN json_populate_recordset(NULL::idempotency_key, @keys) AS mine
			USING (project_id, test, route, key)
		WHERE k.generation_id <> mine.generation_id`,
		pgx.NamedArgs{"keys": string(text)})
	if err != nil {
		return nil, fmt.Errorf("read claimed idempotency keys: %w", err)
	}
	return taken, nil
}

// LapseIdempotencyKeys forgets up to limit keys past their time whose
// generation has ended, and returns how many.
func (db *DB) LapseIdempotencyKeys(ctx context.Context, limit int) (int, error) {
	tag, err := db.q.Exec(ctx, `
		DELETE FROM idempotency_key
		WHERE ctid = ANY(ARRAY(
			SELECT k.ctid FROM idempotency_key AS k
			LEFT JOIN generation AS g ON g.id = k.generation_id
			WHERE k.expires_at <= now() AND (g.id IS NULL OR g.status NOT IN ('queued', 'processing'))
			LIMIT @limit))`,
		pgx.NamedArgs{"limit": limit})
	if err != nil {
		return 0, fmt.Errorf("lapse idempotency keys: %w", err)
	}
	return int(tag.RowsAffected()), nil
}
