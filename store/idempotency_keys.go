package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// An IdempotencyKey binds a client's key to what it made first: a generation, or
// on another route what is made there: an endpoint, an API key of the organization
// that stands for the project. Keys of one project never meet
// another's, nor a test key's a live key's.
type IdempotencyKey struct {
	ProjectID    string    `json:"project_id"`
	Test         bool      `json:"test"`
	Route        string    `json:"route"`
	Key          string    `json:"key"`
	OrgID        string    `json:"org_id"`
	Fingerprint  Bytes     `json:"fingerprint"`   // SHA-256 of the request
	GenerationID string    `json:"generation_id"` // or that of what else it made
	ExpiresAt    time.Time `json:"expires_at"`
}

// Bytes is a bytea that travels in JSON in Postgres' hexadecimal form.
type Bytes []byte

// MarshalText returns the bytes as \x and hexadecimal digits.
func (b Bytes) MarshalText() ([]byte, error) { return fmt.Appendf(nil, `\x%x`, []byte(b)), nil }

// ErrKeyBusy reports an idempotency key that an open transaction is taking.
var ErrKeyBusy = errors.New("the idempotency key is being taken")

// ClaimIdempotencyKeys takes the keys, which must differ from each other, and
// returns those that someone holds already, as they are held. A key past its
// time whose generation has ended is free. It waits a quarter of a second for a
// transaction that is just taking one of them, and then fails with ErrKeyBusy,
// lest one stalled process hold up everyone's submissions. It must run in a
// transaction.
func (db *DB) ClaimIdempotencyKeys(ctx context.Context, keys []*IdempotencyKey) ([]*IdempotencyKey, error) {
	var held []*IdempotencyKey
	var batch pgx.Batch
	text, err := json.Marshal(keys)
	if err != nil {
		return nil, fmt.Errorf("claim idempotency keys: %w", err)
	}
	claimKeys(&batch, string(text), &held)
	err = db.q.SendBatch(ctx, &batch).Close()
	if isLockTimeout(err) {
		err = ErrKeyBusy
	}
	if err != nil {
		return nil, fmt.Errorf("claim idempotency keys: %w", err)
	}
	return othersKeys(keys, held), nil
}

// claimKeys queues the statements that take the keys, given as JSON. Those that
// someone holds already, and those that were taken, go to held.
func claimKeys(batch *pgx.Batch, keys string, held *[]*IdempotencyKey) {
	args := pgx.NamedArgs{"keys": keys}
	// SET LOCAL would do, and warn outside BEGIN and COMMIT.
	batch.Queue(`
		SELECT set_config('nanobanana.lock_timeout', current_setting('lock_timeout'), true),
			set_config('lock_timeout', '250ms', true)`)
	batch.Queue(`
		DELETE FROM idempotency_key AS k
		USING json_populate_recordset(NULL::idempotency_key, @keys) AS mine
		WHERE (k.project_id, k.test, k.route, k.key) = (mine.project_id, mine.test, mine.route, mine.key)
			AND k.expires_at <= now()
			AND NOT EXISTS (
				SELECT FROM generation AS g
				WHERE g.id = k.generation_id AND g.status IN ('queued', 'processing'))`, args)
	// Sorted, so that two transactions wait for each other in one direction
	// only. A key that is held is updated to what it was: that locks and
	// returns it, so that nobody can free it before this transaction has ended.
	batch.Queue(`
		INSERT INTO idempotency_key (project_id, test, route, key, org_id, fingerprint, generation_id, expires_at)
		SELECT project_id, test, route, key, org_id, fingerprint, generation_id, expires_at
		FROM json_populate_recordset(NULL::idempotency_key, @keys)
		ORDER BY project_id, test, route, key
		ON CONFLICT (project_id, test, route, key) DO UPDATE SET key = EXCLUDED.key
		RETURNING `+columns[IdempotencyKey]("idempotency_key"), args).Query(func(rows pgx.Rows) error {
		var err error
		*held, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[IdempotencyKey])
		return err
	})
	batch.Queue(`SELECT set_config('lock_timeout', current_setting('nanobanana.lock_timeout'), true)`)
}

func isLockTimeout(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == codeLockTimeout
}

// othersKeys returns those of the held keys that name none of mine's generations.
func othersKeys(mine, held []*IdempotencyKey) []*IdempotencyKey {
	own := make(map[string]bool, len(mine))
	for _, k := range mine {
		own[k.GenerationID] = true
	}
	return slices.DeleteFunc(held, func(k *IdempotencyKey) bool { return own[k.GenerationID] })
}

// IdempotencyKeyHeld reports whether a key is held, so that a request with it would
// make nothing new.
func (db *DB) IdempotencyKeyHeld(ctx context.Context, projectID string, test bool, route, key string) (bool, error) {
	rows, err := db.q.Query(ctx, `
		SELECT EXISTS (
			SELECT FROM idempotency_key AS k
			WHERE (k.project_id, k.test, k.route, k.key) = (@project_id, @test, @route, @key)
				AND (k.expires_at > now() OR EXISTS (
					SELECT FROM generation AS g
					WHERE g.id = k.generation_id AND g.status IN ('queued', 'processing'))))`,
		pgx.NamedArgs{"project_id": projectID, "test": test, "route": route, "key": key})
	if err != nil {
		return false, fmt.Errorf("look up idempotency key: %w", err)
	}
	held, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool])
	if err != nil {
		return false, fmt.Errorf("look up idempotency key: %w", err)
	}
	return held, nil
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
