package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// An OrgFilter selects organizations. Zero fields select everything.
type OrgFilter struct {
	Page

	Name  string // its beginning, in any case
	ID    string
	Plan  string
	State string
}

// OperatorOrgs returns the page of all organizations that a filter selects.
func (db *DB) OperatorOrgs(ctx context.Context, f OrgFilter) ([]*Org, error) {
	page, err := operatorPage[Org](ctx, db, `
			SELECT `+columns[Org]("")+` FROM `+beginningWith("org", "lower(name) LIKE lower(@beginning)", f.Name)+`
			WHERE (@id = '' OR id = @id)
				AND (@plan = '' OR plan = @plan)
				AND CASE @state
					WHEN 'deleted' THEN deleted_at IS NOT NULL
					WHEN 'suspended' THEN deleted_at IS NULL AND suspended_at IS NOT NULL
					WHEN 'active' THEN deleted_at IS NULL AND suspended_at IS NULL
					ELSE true
				END`, "id", f.Page,
		pgx.NamedArgs{
			"beginning": beginning(strings.TrimSpace(f.Name)), "id": f.ID, "plan": f.Plan, "state": f.State,
		})
	if err != nil {
		return nil, fmt.Errorf("list organizations: %w", err)
	}
	return page, nil
}

// OperatorOrg returns any organization, or ErrNotFound. In a transaction it keeps
// others from changing it.
func (db *DB) OperatorOrg(ctx context.Context, id string) (*Org, error) {
	org, err := one[Org](ctx, db, `
		SELECT `+columns[Org]("")+` FROM org
		WHERE id = @id `+db.forUpdate(),
		pgx.NamedArgs{"id": id})
	if err != nil {
		return nil, fmt.Errorf("organization %s: %w", id, err)
	}
	return org, nil
}

// OrgsNamed returns organizations that are not deleted and have exactly a name, in any
// case, at most limit.
func (db *DB) OrgsNamed(ctx context.Context, name string, limit int) ([]*Org, error) {
	orgs, err := many[Org](ctx, db, `
		SELECT `+columns[Org]("")+` FROM org
		WHERE lower(name) = lower(@name) AND deleted_at IS NULL
		ORDER BY id
		LIMIT @limit`, pgx.NamedArgs{"name": name, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("organizations named %q: %w", name, err)
	}
	return orgs, nil
}

// OverrideOrg gives an organization that is not deleted the Plan, RateLimit and
// RetentionDays of org, and returns it, or ErrNotFound. Every process forgets what it
// knows of the organization's keys when the transaction commits.
func (db *DB) OverrideOrg(ctx context.Context, org Org) (*Org, error) {
	return db.changeOrg(ctx, "override", `plan = @plan, rate_limit = @rate_limit, retention_days = @retention_days`, org.ID,
		pgx.NamedArgs{"plan": org.Plan, "rate_limit": org.RateLimit, "retention_days": org.RetentionDays})
}

// SuspendOrg suspends an organization that is not deleted, or ends that, and returns
// it, or ErrNotFound. Suspending twice keeps the first time. Every process forgets
// what it knows of the organization's keys when the transaction commits. What has
// been accepted goes on to its end.
func (db *DB) SuspendOrg(ctx context.Context, id string, suspended bool) (*Org, error) {
	return db.changeOrg(ctx, "suspend", `suspended_at = CASE WHEN @suspended THEN coalesce(suspended_at, now()) END`, id,
		pgx.NamedArgs{"suspended": suspended})
}

// PutOnPlan is ChangePlan as operators mean it, and returns the accounts before and
// after. An organization that is on the plan already stays as it is, unless its credits
// were set where the plan lets everything in: that ends.
func (db *DB) PutOnPlan(ctx context.Context, c PlanChange, at time.Time) (was, is *CreditAccount, err error) {
	err = db.within(ctx, func(tx *DB) error {
		if was, err = tx.OpenPeriod(ctx, c.OrgID, at); err != nil { // the organization stays locked
			return err
		}
		is = was
		org, err := tx.OperatorOrg(ctx, c.OrgID)
		if err != nil {
			return err
		}
		plan, err := tx.Plan(ctx, c.Plan)
		if err != nil || org.Plan == plan.Name && was.Metered == plan.Metered {
			return err
		}
		if _, err := tx.ChangePlan(ctx, c, at); err != nil {
			return err
		}
		is, err = tx.OpenPeriod(ctx, c.OrgID, at)
		return err
	})
	return was, is, err
}

func (db *DB) changeOrg(ctx context.Context, what, set, id string, args pgx.NamedArgs) (*Org, error) {
	args["id"] = id
	org, err := one[Org](ctx, db, `
		UPDATE org
		SET `+set+`
		WHERE id = @id AND deleted_at IS NULL
		RETURNING `+columns[Org](""), args)
	if err == nil {
		err = db.ForgetKeys(ctx, id)
	}
	if err != nil {
		return nil, fmt.Errorf("%s organization %s: %w", what, id, err)
	}
	return org, nil
}

// An OperatorMembership is who belongs to which organization, with the names that
// operators are shown.
type OperatorMembership struct {
	OrgID       string
	OrgName     string
	OrgDeleted  bool
	AccountID   string
	Email       string
	AccountName string
	Role        string
	CreatedAt   time.Time
}

// OperatorMemberships returns who belongs to an organization, or what an account
// belongs to, in the order they joined, at most limit. One of the two ids is empty.
func (db *DB) OperatorMemberships(ctx context.Context, orgID, accountID string, limit int) ([]*OperatorMembership, error) {
	which := `m.org_id = @org_id`
	if orgID == "" {
		which = `m.account_id = @account_id`
	}
	list, err := planned[OperatorMembership](ctx, db, `
		SELECT m.org_id, org.name AS org_name, org.deleted_at IS NOT NULL AS org_deleted,
			m.account_id, account.email, account.name AS account_name, m.role, m.created_at
		FROM membership AS m
		JOIN org ON org.id = m.org_id
		JOIN account ON account.id = m.account_id
		WHERE `+which+`
		ORDER BY m.created_at, m.org_id, m.account_id
		LIMIT @limit`,
		pgx.NamedArgs{"org_id": orgID, "account_id": accountID, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("list memberships of %s%s: %w", orgID, accountID, err)
	}
	return list, nil
}
