package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// An Identity is who an issuer of single sign-on says that someone is.
type Identity struct {
	Issuer    string
	Subject   string
	AccountID string
	CreatedAt time.Time
}

// LockIdentity makes others who sign in with an identity wait for the end of the
// transaction, so that two first sign-ins at once make one account.
func (db *DB) LockIdentity(ctx context.Context, issuer, subject string) error {
	_, err := db.q.Exec(ctx, `
		SELECT pg_advisory_xact_lock(hashtextextended(@issuer || chr(10) || @subject, 0))`,
		pgx.NamedArgs{"issuer": issuer, "subject": subject})
	if err != nil {
		return fmt.Errorf("lock identity: %w", err)
	}
	return nil
}

// Identity returns an identity whose account is not erased, or ErrNotFound.
func (db *DB) Identity(ctx context.Context, issuer, subject string) (*Identity, error) {
	identity, err := one[Identity](ctx, db, `
		SELECT `+columns[Identity]("i")+`
		FROM account_identity i JOIN account ON account.id = i.account_id
		WHERE i.issuer = @issuer AND i.subject = @subject AND account.erased_at IS NULL`,
		pgx.NamedArgs{"issuer": issuer, "subject": subject})
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return identity, nil
}

// LinkIdentity makes an identity that of an account. It replaces only one whose
// account is erased: anyone else's is left as it is, and ErrNotFound returned.
func (db *DB) LinkIdentity(ctx context.Context, issuer, subject, accountID string) error {
	_, err := one[Identity](ctx, db, `
		INSERT INTO account_identity AS i (issuer, subject, account_id)
		VALUES (@issuer, @subject, @account_id)
		ON CONFLICT (issuer, subject) DO UPDATE
		SET account_id = excluded.account_id, created_at = now()
		WHERE EXISTS (SELECT FROM account WHERE account.id = i.account_id AND account.erased_at IS NOT NULL)
		RETURNING `+columns[Identity]("i"),
		pgx.NamedArgs{"issuer": issuer, "subject": subject, "account_id": accountID})
	if err != nil {
		return fmt.Errorf("link identity to %s: %w", accountID, err)
	}
	return nil
}
