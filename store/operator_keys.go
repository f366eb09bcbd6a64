package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// OperatorKeys returns a page of the keys of an organization, or of all there are if
// orgID is empty.
func (db *DB) OperatorKeys(ctx context.Context, orgID string, p Page) ([]*APIKey, error) {
	page, err := operatorPage[APIKey](ctx, db, `
			SELECT `+columns[APIKey]("")+` FROM api_key
			WHERE (@org_id = '' OR org_id = @org_id)`, "id", p,
		pgx.NamedArgs{"org_id": orgID})
	if err != nil {
		return nil, fmt.Errorf("list API keys of %s: %w", orgID, err)
	}
	return page, nil
}
