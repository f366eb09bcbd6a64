package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Roles of those who are told of some things beside the owners.
const (
	roleAdmin   = "admin"
	roleBilling = "billing"
)

// A MailRecipient is a person of an organization to whom mail can be sent: their
// address is verified.
type MailRecipient struct {
	AccountID string
	Email     string
	OrgName   string
}

// recipientsSQL are the people of an organization, m, with one of @roles, to whom
// mail can be sent.
const recipientsSQL = `
			SELECT a.id AS account_id, a.email, o.name AS org_name
			FROM membership AS m
			JOIN account AS a ON a.id = m.account_id
			JOIN org AS o ON o.id = m.org_id
			WHERE m.role = ANY(@roles) AND o.deleted_at IS NULL
				AND a.verified_at IS NOT NULL AND a.suspended_at IS NULL AND a.erased_at IS NULL`

// mailsToSQL returns the query for the ids of the mails to an account, or to an
// address that it has shown to be its own, however that is spelt.
func mailsToSQL(account string) string {
	return `
			SELECT id FROM mail WHERE account_id = ` + account + `
			UNION
			SELECT mail.id FROM account AS me, LATERAL (
				SELECT email FROM account WHERE email_key = me.email_key
				UNION
				SELECT email FROM invitation WHERE email_key = me.email_key
			) AS spelt
			JOIN mail ON mail.recipient = spelt.email
			WHERE me.id = ` + account + ` AND me.verified_at IS NOT NULL`
}

// MailRecipients returns the owners and admins of an organization whose address is
// verified.
func (db *DB) MailRecipients(ctx context.Context, orgID string) ([]*MailRecipient, error) {
	rows, err := db.q.Query(ctx, recipientsSQL+` AND m.org_id = @org
			ORDER BY a.id`,
		pgx.NamedArgs{"org": orgID, "roles": []string{RoleOwner, roleAdmin}})
	if err != nil {
		return nil, fmt.Errorf("list people of %s: %w", orgID, err)
	}
	people, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[MailRecipient])
	if err != nil {
		return nil, fmt.Errorf("list people of %s: %w", orgID, err)
	}
	return people, nil
}
