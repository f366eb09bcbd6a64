package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// An Org pays for what its projects do.
type Org struct {
	ID            string
	Name          string
	Plan          string
	RetentionDays *int // nil keeps images for good
	CreatedAt     time.Time
}

// CreateOrg records an organization on a plan.
func (db *DB) CreateOrg(ctx context.Context, name, plan string, retentionDays *int) (*Org, error) {
	org, err := one[Org](ctx, db, `
		INSERT INTO org (id, name, plan, retention_days)
		VALUES (@id, @name, @plan, @retention_days)
		RETURNING `+columns[Org](""),
		pgx.NamedArgs{"id": NewID("org"), "name": name, "plan": plan, "retention_days": retentionDays})
	if err != nil {
		return nil, fmt.Errorf("create organization %s: %w", name, err)
	}
	return org, nil
}
