package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// MaxMembers is how many people may belong to an organization.
const MaxMembers = 1000

// RoleOwner is the role of which an organization has at least one.
const RoleOwner = "owner"

// Why a membership can not be changed.
var (
	ErrLastOwner      = errors.New("the organization needs an owner")
	ErrMember         = errors.New("the account belongs to the organization already")
	ErrTooManyMembers = errors.New("the organization has as many members as it may have")
)

const prefixAccount = "usr"

// ValidAccountID reports whether id could be an account's.
func ValidAccountID(id string) bool { return validID(id, prefixAccount) }

// A Membership is what an account may do in an organization.
type Membership struct {
	OrgID      string
	AccountID  string
	Email      string
	Name       string
	VerifiedAt *time.Time // of the address
	Role       string
	CreatedAt  time.Time
}

const membershipSQL = `
		SELECT m.org_id, m.account_id, a.email, a.name, a.verified_at, m.role, m.created_at
		FROM membership AS m
		CROSS JOIN LATERAL (
			SELECT email, name, verified_at FROM account
			WHERE id = m.account_id
			LIMIT 1
		) AS a
		WHERE m.org_id = @org_id`

// LockAccount returns an account that has not been erased, and keeps it from being so
// until the transaction ends; or ErrNotFound. Whoever needs LockOrg as well asks for
// it afterwards.
func (db *DB) LockAccount(ctx context.Context, id string) (*Account, error) {
	a, err := one[Account](ctx, db, `
		SELECT `+columns[Account]("")+` FROM account
		WHERE id = @id AND erased_at IS NULL
		FOR NO KEY UPDATE`,
		pgx.NamedArgs{"id": id})
	if err != nil {
		return nil, fmt.Errorf("account %s: %w", id, err)
	}
	return a, nil
}

// InsertMembership makes an account a member of an organization. It fails with
// ErrMember if it is one.
func (db *DB) InsertMembership(ctx context.Context, orgID, accountID, role string) error {
	tag, err := db.q.Exec(ctx, `
		INSERT INTO membership (org_id, account_id, role)
		VALUES (@org_id, @account_id, @role)
		ON CONFLICT (org_id, account_id) DO NOTHING`,
		pgx.NamedArgs{"org_id": orgID, "account_id": accountID, "role": role})
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrMember
	}
	if err != nil {
		return fmt.Errorf("make %s a member of %s: %w", accountID, orgID, err)
	}
	return nil
}

// Membership returns what an account is in an organization, or ErrNotFound.
func (db *DB) Membership(ctx context.Context, orgID, accountID string) (*Membership, error) {
	m, err := one[Membership](ctx, db, membershipSQL+` AND m.account_id = @account_id`,
		pgx.NamedArgs{"org_id": orgID, "account_id": accountID})
	if err != nil {
		return nil, fmt.Errorf("member %s of %s: %w", accountID, orgID, err)
	}
	return m, nil
}

// Memberships returns the page of an organization's members, by the ids of their
// accounts.
func (db *DB) Memberships(ctx context.Context, orgID string, page Page) ([]*Membership, error) {
	list, err := paged[Membership](ctx, db, membershipSQL, "account_id", page, pgx.NamedArgs{"org_id": orgID})
	if err != nil {
		return nil, fmt.Errorf("list members of %s: %w", orgID, err)
	}
	return list, nil
}

// UpdateMembership gives a member another role. It fails with ErrLastOwner if no
// owner would remain. It must run in the transaction that holds LockOrg and has read
// the member since.
func (db *DB) UpdateMembership(ctx context.Context, m *Membership, role string) error {
	return db.changeMembership(ctx, `
		UPDATE membership SET role = @role
		WHERE org_id = @org_id AND account_id = @account_id`, m, role)
}

// DeleteMembership takes a member out of an organization, on the same terms.
func (db *DB) DeleteMembership(ctx context.Context, m *Membership) error {
	return db.changeMembership(ctx, `
		DELETE FROM membership
		WHERE org_id = @org_id AND account_id = @account_id`, m, "")
}

func (db *DB) changeMembership(ctx context.Context, statement string, m *Membership, role string) error {
	args := pgx.NamedArgs{"org_id": m.OrgID, "account_id": m.AccountID, "role": role}
	tag, err := db.q.Exec(ctx, statement, args)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrNotFound
	}
	if err == nil && m.Role == RoleOwner && role != RoleOwner {
		tag, err = db.q.Exec(ctx, `
			SELECT FROM membership
			WHERE org_id = @org_id AND role = 'owner'
			LIMIT 1`, args)
		if err == nil && tag.RowsAffected() == 0 {
			err = ErrLastOwner
		}
	}
	if err != nil {
		return fmt.Errorf("change member %s of %s: %w", m.AccountID, m.OrgID, err)
	}
	return nil
}

// Members returns how many people belong to an organization.
func (db *DB) Members(ctx context.Context, orgID string) (int, error) {
	n, err := db.number(ctx, `SELECT count(*) FROM membership WHERE org_id = @org_id`, pgx.NamedArgs{"org_id": orgID})
	if err != nil {
		return 0, fmt.Errorf("count members of %s: %w", orgID, err)
	}
	return n, nil
}
