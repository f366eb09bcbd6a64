package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// EraseAccount forgets a person: the account keeps its id alone, and what signed them
// in, their memberships, and the mails and invitations to them are gone, those to their
// verified address included, as are the requests that they made. Invitations by them
// stay, without their name in the mail. It returns the organizations that nobody belongs to then, for DeleteOrg. It belongs
// into a transaction, and fails with ErrLastOwner, before anything is changed, or with
// ErrNotFound.
func (db *DB) EraseAccount(ctx context.Context, id string) (alone []string, err error) {
	args := pgx.NamedArgs{"id": id, "mail_kind": MailTicketKind, "invited": MailInvitation}
	if _, err = db.LockAccountAndOrgs(ctx, id); err == nil {
		alone, err = db.leaveAll(ctx, args)
	}
	if err != nil {
		return nil, fmt.Errorf("erase account %s: %w", id, err)
	}
	var batch pgx.Batch
	for _, sql := range []string{
		`DELETE FROM membership WHERE account_id = @id`,
		`UPDATE org SET founder = NULL WHERE founder = @id`,
		`DELETE FROM account_identity WHERE account_id = @id`,
		`DELETE FROM account_token WHERE account_id = @id`,
		`DELETE FROM session WHERE account_id = @id`,
		`DELETE FROM idempotency_key WHERE project_id = @id`,
		`DELETE FROM request_log WHERE account_id = @id`,
		// What was sent to an address that is not known to be theirs may be another's.
		eraseMails(mailsToSQL("@id")),
		`UPDATE mail
		SET data = data - 'inviter_id' || jsonb_build_object('inviter', data -> 'organization')
		WHERE kind = @invited AND data ->> 'inviter_id' = @id`,
		`DELETE FROM invitation
		WHERE email_key = (SELECT email_key FROM account WHERE id = @id AND verified_at IS NOT NULL)`,
		`UPDATE account
		SET email = '', email_key = '', name = '', password = NULL, operator = false,
			created_at = now(), verified_at = NULL, suspended_at = NULL, erased_at = now()
		WHERE id = @id`,
	} {
		batch.Queue(sql, args)
	}
	if err := db.q.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, fmt.Errorf("erase account %s: %w", id, err)
	}
	return alone, nil
}

// LockAccountAndOrgs locks an account's organizations and then the account, in the
// order of everyone who changes memberships, so that nobody else leaves them, gives up
// owning them or signs in meanwhile. It returns the account, or ErrNotFound.
func (db *DB) LockAccountAndOrgs(ctx context.Context, id string) (*Account, error) {
	args := pgx.NamedArgs{"id": id}
	if _, err := db.q.Exec(ctx, `
		SELECT FROM org
		WHERE id IN (SELECT org_id FROM membership WHERE account_id = @id) AND deleted_at IS NULL
		ORDER BY id
		FOR UPDATE`, args); err != nil {
		return nil, fmt.Errorf("lock organizations of %s: %w", id, err)
	}
	a, err := one[Account](ctx, db, `
		SELECT `+columns[Account]("")+` FROM account
		WHERE id = @id AND erased_at IS NULL
		FOR UPDATE`, args)
	if err != nil {
		return nil, fmt.Errorf("account %s: %w", id, err)
	}
	return a, nil
}

// leaveAll returns the organizations that an account, locked with them, is alone in, or
// ErrLastOwner.
func (db *DB) leaveAll(ctx context.Context, args pgx.NamedArgs) (alone []string, err error) {
	rows, err := many[struct {
		OrgID  string
		Others int
		Owners int // of the others
		Role   string
	}](ctx, db, `
		SELECT mine.org_id, mine.role, others.others, others.owners
		FROM membership AS mine
		JOIN org ON org.id = mine.org_id AND org.deleted_at IS NULL
		CROSS JOIN LATERAL (
			SELECT count(*) AS others, count(*) FILTER (WHERE role = 'owner') AS owners FROM membership
			WHERE org_id = mine.org_id AND account_id <> @id
		) AS others
		WHERE mine.account_id = @id
		ORDER BY mine.org_id`, args)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		switch {
		case row.Others == 0:
			alone = append(alone, row.OrgID)
		case row.Role == "owner" && row.Owners == 0:
			return nil, fmt.Errorf("organization %s: %w", row.OrgID, ErrLastOwner)
		}
	}
	return alone, nil
}
