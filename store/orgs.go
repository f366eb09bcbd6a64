package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// MaxOwnedOrgs is how many organizations one account may own.
const MaxOwnedOrgs = 20

// ErrTooManyOrgs reports an account that owns MaxOwnedOrgs.
var ErrTooManyOrgs = errors.New("the account owns as many organizations as it may")

const prefixOrg = "org"

// ValidOrgID reports whether id could be an organization's.
func ValidOrgID(id string) bool { return validID(id, prefixOrg) }

// An Org pays for what its projects do.
type Org struct {
	ID            string
	Name          string
	Plan          string
	RetentionDays *int // nil keeps images for good
	CreatedAt     time.Time
	SuspendedAt   *time.Time
	DeletedAt     *time.Time
	RateLimit     *int       // generations an hour in place of the plan's; 0: any number
	PeriodAnchor  *time.Time // when its months begin; nil: with the calendar's (UTC)
}

// CreateOrg records an organization on a plan.
func (db *DB) CreateOrg(ctx context.Context, name, plan string, retentionDays *int) (*Org, error) {
	return db.insertOrg(ctx, Org{ID: NewID(prefixOrg), Name: name, Plan: plan, RetentionDays: retentionDays})
}

func (db *DB) insertOrg(ctx context.Context, o Org) (*Org, error) {
	org, err := one[Org](ctx, db, `
		INSERT INTO org (id, name, plan, retention_days)
		VALUES (@id, @name, @plan, @retention_days)
		RETURNING `+columns[Org](""),
		pgx.NamedArgs{"id": o.ID, "name": o.Name, "plan": o.Plan, "retention_days": o.RetentionDays})
	if err != nil {
		return nil, fmt.Errorf("create organization %s: %w", o.Name, err)
	}
	return org, nil
}

// CreateOwnedOrg records an organization from its ID, Name, Plan and RetentionDays,
// and an account as its owner and founder, for whom one organization has the credits of
// the first plan in a period. It fails with ErrTooManyOrgs, exactly even when asked
// twice at once. It must run in a transaction.
func (db *DB) CreateOwnedOrg(ctx context.Context, o Org, accountID string) (*Org, error) {
	// Two at the same time would both find room for one.
	if _, err := db.LockAccount(ctx, accountID); err != nil {
		return nil, fmt.Errorf("create organization %s: %w", o.Name, err)
	}
	owned, err := db.number(ctx, `
		SELECT count(*)
		FROM membership AS m JOIN org ON org.id = m.org_id
		WHERE m.account_id = @id AND m.role = 'owner' AND org.deleted_at IS NULL`,
		pgx.NamedArgs{"id": accountID})
	if err == nil && owned >= MaxOwnedOrgs {
		err = ErrTooManyOrgs
	}
	if err != nil {
		return nil, fmt.Errorf("create organization %s: %w", o.Name, err)
	}
	org, err := db.insertOrg(ctx, o)
	if err != nil {
		return nil, err
	}
	if _, err := db.q.Exec(ctx, `UPDATE org SET founder = @account WHERE id = @id`, pgx.NamedArgs{"id": org.ID, "account": accountID}); err != nil {
		return nil, fmt.Errorf("create organization %s: %w", o.Name, err)
	}
	return org, db.InsertMembership(ctx, org.ID, accountID, RoleOwner)
}

// NewOrgID returns an id for an organization.
func NewOrgID() string { return NewID(prefixOrg) }

// Org returns an organization that is not deleted, or ErrNotFound.
func (db *DB) Org(ctx context.Context, id string) (*Org, error) {
	return db.org(ctx, id, "")
}

// LockOrg does as Org, and makes transactions that change who belongs to the
// organization, or what does, wait for each other: each decides on what the one
// before has left. It lets the foreign keys of others' inserts pass.
func (db *DB) LockOrg(ctx context.Context, id string) (*Org, error) {
	return db.org(ctx, id, "FOR NO KEY UPDATE")
}

func (db *DB) org(ctx context.Context, id, lock string) (*Org, error) {
	org, err := one[Org](ctx, db, `
		SELECT `+columns[Org]("")+` FROM org
		WHERE id = @id AND deleted_at IS NULL
		`+lock,
		pgx.NamedArgs{"id": id})
	if err != nil {
		return nil, fmt.Errorf("organization %s: %w", id, err)
	}
	return org, nil
}

// UpdateOrg renames an organization and returns it, or ErrNotFound.
func (db *DB) UpdateOrg(ctx context.Context, id, name string) (*Org, error) {
	org, err := one[Org](ctx, db, `
		UPDATE org
		SET name = @name
		WHERE id = @id AND deleted_at IS NULL
		RETURNING `+columns[Org](""),
		pgx.NamedArgs{"id": id, "name": name})
	if err != nil {
		return nil, fmt.Errorf("change organization %s: %w", id, err)
	}
	return org, nil
}

// An OrgOfAccount is an organization with what an account is in it.
type OrgOfAccount struct {
	ID            string
	Name          string
	Plan          string
	RetentionDays *int
	CreatedAt     time.Time
	SuspendedAt   *time.Time
	DeletedAt     *time.Time
	RateLimit     *int
	PeriodAnchor  *time.Time
	Role          string
}

// Org returns the organization alone.
func (o *OrgOfAccount) Org() *Org {
	return &Org{
		ID: o.ID, Name: o.Name, Plan: o.Plan, RetentionDays: o.RetentionDays, CreatedAt: o.CreatedAt,
		SuspendedAt: o.SuspendedAt, DeletedAt: o.DeletedAt, RateLimit: o.RateLimit, PeriodAnchor: o.PeriodAnchor,
	}
}

// OrgsOfAccount returns the page of the organizations that an account belongs to.
func (db *DB) OrgsOfAccount(ctx context.Context, accountID string, page Page) ([]*OrgOfAccount, error) {
	list, err := paged[OrgOfAccount](ctx, db, `
		SELECT `+columns[Org]("org")+`, m.role
		FROM membership AS m
		CROSS JOIN LATERAL (
			SELECT * FROM org
			WHERE id = m.org_id AND deleted_at IS NULL
			LIMIT 1
		) AS org
		WHERE m.account_id = @account_id`,
		"id", page, pgx.NamedArgs{"account_id": accountID})
	if err != nil {
		return nil, fmt.Errorf("list organizations of %s: %w", accountID, err)
	}
	return list, nil
}
