package store

import (
	"context"
	"fmt"
	"time"

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

// CreditAccountOf returns the account of the period that begins at a time, also one that
// a change of plan has ended, or ErrNotFound. It tells nothing of what was spent before.
func (db *DB) CreditAccountOf(ctx context.Context, orgID string, period time.Time) (*CreditAccount, error) {
	account, err := one[CreditAccount](ctx, db, `
		SELECT `+columns[CreditAccount]("")+` FROM credit_account
		WHERE org_id = @org_id AND period = @period`, pgx.NamedArgs{"org_id": orgID, "period": period})
	if err != nil {
		return nil, fmt.Errorf("credits of %s in the period of %v: %w", orgID, period, err)
	}
	return account, nil
}
