package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// An OperatorKey is an API key as operators see it.
type OperatorKey struct {
	ID           string
	OrgID        string
	ProjectID    *string // nil of a master key
	Name         string
	Kind         string
	Last4        string
	Scopes       []string
	IPAllowlist  []string
	MonthlyLimit *int
	RateLimit    *int
	Operator     bool
	CreatedAt    time.Time
	CreatedBy    *string
	ExpiresAt    *time.Time
	RevokedAt    *time.Time
	ReplacedBy   *string
	LastUsedAt   *time.Time
}

// OperatorKeys returns a page of the keys of an organization, or of all there are if
// orgID is empty.
func (db *DB) OperatorKeys(ctx context.Context, orgID string, p Page) ([]*OperatorKey, error) {
	page, err := operatorPage[OperatorKey](ctx, db, `
			SELECT `+columns[OperatorKey]("")+` FROM api_key
			WHERE (@org_id = '' OR org_id = @org_id)`, "id", p,
		pgx.NamedArgs{"org_id": orgID})
	if err != nil {
		return nil, fmt.Errorf("list API keys of %s: %w", orgID, err)
	}
	return page, nil
}
