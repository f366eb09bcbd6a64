package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Kinds of API key.
const (
	KeyLive   = "live"   // runs on the configured providers
	KeyTest   = "test"   // runs on the simulator, free
	KeyMaster = "master" // administers its organization
)

// An APIKey lets its bearer act for one project, or administer an organization. The
// key itself is not kept.
type APIKey struct {
	ID            string
	OrgID         string
	ProjectID     *string // nil of a master key
	Name          string
	Kind          string
	Hash          []byte // HMAC-SHA256(pepper, key)
	PepperVersion int16
	Last4         string
	Scopes        []string // and patterns of them
	IPAllowlist   []string // addresses and CIDR ranges it may be used from; nil: any
	MonthlyLimit  *int     // generations a calendar month (UTC)
	RateLimit     *int     // generations an hour
	Operator      bool     // administers the service
	CreatedAt     time.Time
	CreatedBy     *string // an account or a key; nil: the command line
	ExpiresAt     *time.Time
	RevokedAt     *time.Time
	ReplacedBy    *string // the key that rotation made
	UsageID       *string // see Usage
	LastUsedAt    *time.Time
	WarnedAt      *time.Time // that it will expire
}

// Usage is the id under which the key is counted, together with those that rotation
// made it of: that of the first.
func (k *APIKey) Usage() string {
	if k.UsageID != nil {
		return *k.UsageID
	}
	return k.ID
}

// NewAPIKeyID returns an id for a key.
func NewAPIKeyID() string { return NewID(prefixAPIKey[:len(prefixAPIKey)-1]) }

// ValidAPIKeyID reports whether id could be a key's.
func ValidAPIKeyID(id string) bool {
	_, err := decodeID(id, prefixAPIKey)
	return err == nil
}

const prefixAPIKey = "key_"

// CreateAPIKey records a key, with what of it is decided by who makes it. An empty
// ID is chosen here; nil Scopes are all.
func (db *DB) CreateAPIKey(ctx context.Context, key APIKey) (*APIKey, error) {
	if key.ID == "" {
		key.ID = NewAPIKeyID()
	}
	if key.Scopes == nil {
		key.Scopes = []string{"*"}
	}
	created, err := one[APIKey](ctx, db, `
		INSERT INTO api_key (
			id, org_id, project_id, name, kind, hash, pepper_version, last4, scopes, ip_allowlist, monthly_limit, rate_limit,
			operator, created_by, expires_at, usage_id)
		VALUES (
			@id, @org_id, @project_id, @name, @kind, @hash, @pepper_version, @last4, @scopes, @ip_allowlist, @monthly_limit, @rate_limit,
			@operator, @created_by, @expires_at, @usage_id)
		RETURNING `+columns[APIKey](""),
		pgx.NamedArgs{
			"id": key.ID, "org_id": key.OrgID, "project_id": key.ProjectID, "name": key.Name,
			"kind": key.Kind, "hash": key.Hash, "pepper_version": key.PepperVersion, "last4": key.Last4,
			"scopes": key.Scopes, "ip_allowlist": key.IPAllowlist, "monthly_limit": key.MonthlyLimit, "rate_limit": key.RateLimit,
			"operator": key.Operator, "created_by": key.CreatedBy, "expires_at": key.ExpiresAt, "usage_id": key.UsageID,
		})
	if err != nil {
		return nil, fmt.Errorf("create API key %s: %w", key.Name, err)
	}
	return created, nil
}

// An APIKeyBearer is whom a key speaks for: the key, and what of its organization
// and project decides about it.
type APIKeyBearer struct {
	APIKey
	Plan              string // of the organization
	OrgRateLimit      *int
	OrgSuspendedAt    *time.Time
	OrgDeletedAt      *time.Time
	ProjectRateLimit  *int
	ProjectArchivedAt *time.Time
	Downgrades        bool // the organization's budget may lower the quality of its pictures
}

// APIKeyByHash returns whom the key with any of the hashes speaks for, or
// ErrNotFound. Expired and revoked keys are returned too, and those of who may do
// nothing: callers are told why they are refused.
func (db *DB) APIKeyByHash(ctx context.Context, hashes [][]byte) (*APIKeyBearer, error) {
	key, err := one[APIKeyBearer](ctx, db, apiKeyByHashSQL, pgx.NamedArgs{"hashes": hashes})
	if err != nil {
		return nil, fmt.Errorf("look up API key: %w", err)
	}
	return key, nil
}

// Look-ups one by one, each of which has an index: a join would read young tables
// whole.
var apiKeyByHashSQL = `
		SELECT ` + columns[APIKey]("k") + `,
			o.plan, o.rate_limit AS org_rate_limit, o.suspended_at AS org_suspended_at, o.deleted_at AS org_deleted_at,
			p.rate_limit AS project_rate_limit, p.archived_at AS project_archived_at,
			EXISTS (SELECT FROM budget AS b WHERE b.org_id = k.org_id AND b.downgrade_at IS NOT NULL) AS downgrades
		FROM unnest(@hashes::bytea[]) AS mine (hash),
			LATERAL (SELECT * FROM api_key AS a WHERE a.hash = mine.hash OFFSET 0) AS k,
			LATERAL (SELECT * FROM org WHERE org.id = k.org_id OFFSET 0) AS o
			LEFT JOIN LATERAL (SELECT * FROM project WHERE project.id = k.project_id OFFSET 0) AS p ON true`

// An APIKeyFilter selects keys of an organization. Zero fields select everything.
type APIKeyFilter struct {
	ProjectID string
	Kind      string
	Active    *bool // those that are neither revoked nor expired, or the others
}

// APIKeys returns the page of an organization's keys that a filter selects.
func (db *DB) APIKeys(ctx context.Context, orgID string, f APIKeyFilter, p Page) ([]*APIKey, error) {
	page, err := paged[APIKey](ctx, db, `
				SELECT `+columns[APIKey]("")+` FROM api_key
				WHERE org_id = @org_id
					AND (@project_id = '' OR project_id = @project_id)
					AND (@kind = '' OR kind = @kind)
					AND (@active::boolean IS NULL OR @active = `+isInUseSQL+`)`, "id", p,
		pgx.NamedArgs{"org_id": orgID, "project_id": f.ProjectID, "kind": f.Kind, "active": f.Active})
	if err != nil {
		return nil, fmt.Errorf("list API keys of %s: %w", orgID, err)
	}
	return page, nil
}

// isInUseSQL tells whether a key still opens something.
const isInUseSQL = `(revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()))`

// APIKey returns a key of an organization, or ErrNotFound.
func (db *DB) APIKey(ctx context.Context, orgID, id string) (*APIKey, error) {
	key, err := one[APIKey](ctx, db, `
		SELECT `+columns[APIKey]("")+` FROM api_key
		WHERE org_id = @org_id AND id = @id`,
		pgx.NamedArgs{"org_id": orgID, "id": id})
	if err != nil {
		return nil, fmt.Errorf("API key %s: %w", id, err)
	}
	return key, nil
}

// AnyAPIKey returns a key of whatever organization, for operators, or ErrNotFound.
func (db *DB) AnyAPIKey(ctx context.Context, id string) (*APIKey, error) {
	key, err := one[APIKey](ctx, db, `
		SELECT `+columns[APIKey]("")+` FROM api_key
		WHERE id = @id`,
		pgx.NamedArgs{"id": id})
	if err != nil {
		return nil, fmt.Errorf("API key %s: %w", id, err)
	}
	return key, nil
}
