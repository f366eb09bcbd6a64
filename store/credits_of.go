package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// CreditEntriesOf returns what the ledger says of a generation, in order: its
// reservation, which is its whole batch's where it has one, and how it was settled or
// released. A free one has no entries.
func (db *DB) CreditEntriesOf(ctx context.Context, g *Generation) ([]*CreditEntry, error) {
	reserved := g.ID
	if g.BatchID != nil {
		reserved = *g.BatchID
	}
	entries, err := many[CreditEntry](ctx, db, `
		SELECT `+columns[CreditEntry]("")+` FROM credit_entry
		WHERE org_id = @org_id AND (subject, (kind = 'reserve')) IN ((@reserved, true), (@id, false))
		ORDER BY id`,
		pgx.NamedArgs{"org_id": g.OrgID, "reserved": reserved, "id": g.ID})
	if err != nil {
		return nil, fmt.Errorf("credits of generation %s: %w", g.ID, err)
	}
	return entries, nil
}
