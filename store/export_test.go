package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// SessionStateSQL is what SessionState asks.
const SessionStateSQL = sessionStateSQL

// MigrateTo applies the migrations whose names begin with last or come before.
func (db *DB) MigrateTo(ctx context.Context, last string) error {
	pending, err := db.prepareMigrations(ctx)
	if err != nil {
		return err
	}
	for _, name := range pending {
		if name[:len(last)] > last {
			break
		}
		if err := db.migrateFile(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// ByIndex is what Usage says before it asks.
const ByIndex = byIndex

// UsageSQL is what Usage asks.
func UsageSQL(f UsageFilter) (sql string, args pgx.NamedArgs) { return usageSQL(f) }

// Forget makes the next caller ask the database.
func (b *PlanBook) Forget() {
	b.asking.Lock()
	defer b.asking.Unlock()
	b.askedAt = b.askedAt.Add(-2 * planTTL)
}

// RequestsSQL is what LoggedRequests asks.
func RequestsSQL(f RequestFilter) (sql string, args pgx.NamedArgs) { return requestsSQL(f) }
