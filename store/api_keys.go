package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Kinds of API key.
const (
	KeyLive = "live" // runs on the configured providers
	KeyTest = "test" // runs on the simulator, free
)

// An APIKey lets its bearer act for one project. The key itself is not kept.
type APIKey struct {
	ID            string
	OrgID         string
	ProjectID     string
	Name          string
	Kind          string
	Hash          []byte // HMAC-SHA256(pepper, key)
	PepperVersion int16
	Last4         string
	Scopes        []string // and patterns of them
	CreatedAt     time.Time
	ExpiresAt     *time.Time
	RevokedAt     *time.Time
}

// CreateAPIKey records a key from its OrgID, ProjectID, Name, Kind, Hash,
// PepperVersion, Last4 and ExpiresAt.
func (db *DB) CreateAPIKey(ctx context.Context, key APIKey) (*APIKey, error) {
	created, err := one[APIKey](ctx, db, `
		INSERT INTO api_key (id, org_id, project_id, name, kind, hash, pepper_version, last4, expires_at)
		VALUES (@id, @org_id, @project_id, @name, @kind, @hash, @pepper_version, @last4, @expires_at)
		RETURNING `+columns[APIKey](""),
		pgx.NamedArgs{
			"id": NewID("key"), "org_id": key.OrgID, "project_id": key.ProjectID, "name": key.Name,
			"kind": key.Kind, "hash": key.Hash, "pepper_version": key.PepperVersion,
			"last4": key.Last4, "expires_at": key.ExpiresAt,
		})
	if err != nil {
		return nil, fmt.Errorf("create API key %s: %w", key.Name, err)
	}
	return created, nil
}

// APIKeyByHash returns the key with any of the hashes, or ErrNotFound. Expired
// and revoked keys are returned too: callers are told why they are refused.
func (db *DB) APIKeyByHash(ctx context.Context, hashes [][]byte) (*APIKey, error) {
	key, err := one[APIKey](ctx, db, `
		SELECT `+columns[APIKey]("")+` FROM api_key
		WHERE hash = ANY(@hashes)`,
		pgx.NamedArgs{"hashes": hashes})
	if err != nil {
		return nil, fmt.Errorf("look up API key: %w", err)
	}
	return key, nil
}

// APIKeys returns a project's keys, oldest first.
func (db *DB) APIKeys(ctx context.Context, projectID string) ([]*APIKey, error) {
	keys, err := many[APIKey](ctx, db, `
		SELECT `+columns[APIKey]("")+` FROM api_key
		WHERE project_id = @project_id
		ORDER BY id`,
		pgx.NamedArgs{"project_id": projectID})
	if err != nil {
		return nil, fmt.Errorf("list API keys of %s: %w", projectID, err)
	}
	return keys, nil
}

// RevokeAPIKey ends a key of a project and tells every process, or returns
// ErrNotFound. Revoking twice keeps the first time.
func (db *DB) RevokeAPIKey(ctx context.Context, projectID, id string) (*APIKey, error) {
	key, err := one[APIKey](ctx, db, `
		WITH revoked AS (
			UPDATE api_key
			SET revoked_at = coalesce(revoked_at, now())
			WHERE project_id = @project_id AND id = @id
			RETURNING `+columns[APIKey]("")+`
		), told AS (
			SELECT pg_notify(@channel, id) FROM revoked
		)
		SELECT revoked.* FROM revoked, told`,
		pgx.NamedArgs{"project_id": projectID, "id": id, "channel": channelKey})
	if err != nil {
		return nil, fmt.Errorf("revoke API key %s: %w", id, err)
	}
	return key, nil
}
