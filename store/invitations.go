package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// What bounds invitations. Each of them is a mail to someone who may not want it.
const (
	MaxOpenInvitations  = 100 // of an organization, at the same time
	MaxDailyInvitations = 200 // made by an organization in 24 hours
	InvitationTTL       = 7 * 24 * time.Hour
	// InvitationPause is how long after an invitation was mailed it may be mailed
	// again.
	InvitationPause = time.Minute
)

// Why there is no invitation.
var (
	ErrInvited            = errors.New("the address has an open invitation")
	ErrTooManyInvitations = errors.New("the organization has as many open invitations as it may have")
	ErrInvitingTooOften   = errors.New("the organization has made as many invitations today as it may make")
)

const prefixInvitation = "inv"

// ValidInvitationID reports whether id could be an invitation's.
func ValidInvitationID(id string) bool { return validID(id, prefixInvitation) }

// NewInvitationID returns an id for an invitation.
func NewInvitationID() string { return NewID(prefixInvitation) }

// An Invitation lets whoever has an e-mail address become a member.
type Invitation struct {
	ID         string
	OrgID      string
	Email      string // as it was typed
	EmailKey   string // as it is compared
	Role       string
	Hash       []byte // SHA-256 of the token that was mailed
	InvitedBy  string // an account or a key
	CreatedAt  time.Time
	ExpiresAt  time.Time
	AcceptedAt *time.Time
	RevokedAt  *time.Time
}

// stillOpen selects invitations that can be accepted.
const stillOpen = `accepted_at IS NULL AND revoked_at IS NULL AND expires_at > @now`

// CreateInvitation records an invitation from its ID, OrgID, Email, EmailKey, Role,
// Hash, InvitedBy and CreatedAt; it is open for InvitationTTL. It fails with
// ErrMember, ErrInvited, ErrTooManyInvitations or ErrInvitingTooOften. It must run in
// a transaction that holds LockOrg.
func (db *DB) CreateInvitation(ctx context.Context, inv Invitation) (*Invitation, error) {
	args := pgx.NamedArgs{
		"id": inv.ID, "org_id": inv.OrgID, "email": inv.Email, "email_key": inv.EmailKey, "role": inv.Role, "hash": inv.Hash,
		"invited_by": inv.InvitedBy, "now": inv.CreatedAt, "expires_at": inv.CreatedAt.Add(InvitationTTL),
	}
	err := db.checkInvitation(ctx, args)
	var made *Invitation
	if err == nil {
		made, err = one[Invitation](ctx, db, `
			INSERT INTO invitation (id, org_id, email, email_key, role, hash, invited_by, created_at, expires_at)
			VALUES (@id, @org_id, @email, @email_key, @role, @hash, @invited_by, @now, @expires_at)
			RETURNING `+columns[Invitation](""), args)
	}
	if err != nil {
		return nil, fmt.Errorf("invite to %s: %w", inv.OrgID, err)
	}
	return made, nil
}

// checkInvitation makes room for an invitation, or says why there is none.
func (db *DB) checkInvitation(ctx context.Context, args pgx.NamedArgs) error {
	// One that has run out does not stand in the way of another.
	if _, err := db.q.Exec(ctx, `
		UPDATE invitation SET revoked_at = expires_at
		WHERE org_id = @org_id AND email_key = @email_key AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at <= @now`, args); err != nil {
		return err
	}
	type found struct {
		Member      bool
		Invited     bool
		Open, Today int
	}
	f, err := one[found](ctx, db, `
		SELECT
			EXISTS (
				SELECT FROM account AS a JOIN membership AS m ON m.account_id = a.id
				WHERE m.org_id = @org_id AND a.email_key = @email_key AND a.verified_at IS NOT NULL AND a.erased_at IS NULL
			) AS member,
			EXISTS (
				SELECT FROM invitation WHERE org_id = @org_id AND email_key = @email_key AND `+stillOpen+`
			) AS invited,
			(SELECT count(*) FROM invitation WHERE org_id = @org_id AND `+stillOpen+`) AS open,
			(SELECT count(*) FROM invitation WHERE org_id = @org_id AND created_at > @now - interval '1 day') AS today`, args)
	switch {
	case err != nil:
		return err
	case f.Member:
		return ErrMember
	case f.Invited:
		return ErrInvited
	case f.Open >= MaxOpenInvitations:
		return ErrTooManyInvitations
	case f.Today >= MaxDailyInvitations:
		return ErrInvitingTooOften
	}
	return nil
}

// OpenInvitation returns an invitation of an organization that can be accepted at a
// time, or ErrNotFound.
func (db *DB) OpenInvitation(ctx context.Context, orgID, id string, now time.Time) (*Invitation, error) {
	return db.invitation(ctx, `org_id = @org_id AND id = @id AND `+stillOpen,
		pgx.NamedArgs{"org_id": orgID, "id": id, "now": now})
}

// InvitationByHash returns the invitation that a token proves, whatever has become of
// it, or ErrNotFound.
func (db *DB) InvitationByHash(ctx context.Context, hash []byte) (*Invitation, error) {
	return db.invitation(ctx, `hash = @hash`, pgx.NamedArgs{"hash": hash})
}

func (db *DB) invitation(ctx context.Context, which string, args pgx.NamedArgs) (*Invitation, error) {
	inv, err := one[Invitation](ctx, db, `
		SELECT `+columns[Invitation]("")+` FROM invitation
		WHERE `+which, args)
	if err != nil {
		return nil, fmt.Errorf("invitation: %w", err)
	}
	return inv, nil
}

// OpenInvitations returns the page of an organization's invitations that can be
// accepted at a time.
func (db *DB) OpenInvitations(ctx context.Context, orgID string, now time.Time, page Page) ([]*Invitation, error) {
	list, err := paged[Invitation](ctx, db, `
		SELECT `+columns[Invitation]("")+` FROM invitation
		WHERE org_id = @org_id AND `+stillOpen,
		"id", page, pgx.NamedArgs{"org_id": orgID, "now": now})
	if err != nil {
		return nil, fmt.Errorf("list invitations of %s: %w", orgID, err)
	}
	return list, nil
}

// RenewInvitation gives an open invitation another token, another sender and all of
// its time again, or fails with ErrNotFound. It must run in a transaction that holds LockOrg, as what
// follows.
func (db *DB) RenewInvitation(ctx context.Context, orgID, id, by string, hash []byte, now time.Time) (*Invitation, error) {
	return db.changeInvitation(ctx, `hash = @hash, invited_by = @by, expires_at = @expires_at`, pgx.NamedArgs{
		"org_id": orgID, "id": id, "by": by, "now": now, "hash": hash, "expires_at": now.Add(InvitationTTL),
	})
}

// RevokeInvitation ends an open invitation, or fails with ErrNotFound.
func (db *DB) RevokeInvitation(ctx context.Context, orgID, id string, now time.Time) (*Invitation, error) {
	return db.changeInvitation(ctx, `revoked_at = @now`, pgx.NamedArgs{"org_id": orgID, "id": id, "now": now})
}

// AcceptInvitation uses an open invitation up and makes an account a member in the
// role it names. It fails with ErrNotFound, ErrMember or ErrTooManyMembers.
func (db *DB) AcceptInvitation(ctx context.Context, orgID, id, accountID string, now time.Time) (*Membership, error) {
	inv, err := db.changeInvitation(ctx, `accepted_at = @now`, pgx.NamedArgs{"org_id": orgID, "id": id, "now": now})
	if err != nil {
		return nil, err
	}
	if err := db.InsertMembership(ctx, orgID, accountID, inv.Role); err != nil {
		return nil, err
	}
	switch n, err := db.Members(ctx, orgID); {
	case err != nil:
		return nil, err
	case n > MaxMembers:
		return nil, fmt.Errorf("accept invitation %s: %w", id, ErrTooManyMembers)
	}
	return db.Membership(ctx, orgID, accountID)
}

func (db *DB) changeInvitation(ctx context.Context, set string, args pgx.NamedArgs) (*Invitation, error) {
	inv, err := one[Invitation](ctx, db, `
		UPDATE invitation SET `+set+`
		WHERE org_id = @org_id AND id = @id AND `+stillOpen+`
		RETURNING `+columns[Invitation](""), args)
	if err != nil {
		return nil, fmt.Errorf("change invitation %v: %w", args["id"], err)
	}
	return inv, nil
}
