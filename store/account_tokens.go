package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// What a mailed link proves.
const (
	TokenVerify = "verify_email"
	TokenReset  = "reset_password"
)

// CreateAccountToken records the SHA-256 of a token that proves something once, within
// a time. It replaces what the account was sent for the purpose before. An account that
// does not exist gets none, which takes as long.
func (db *DB) CreateAccountToken(ctx context.Context, accountID, purpose string, hash []byte, ttl time.Duration) error {
	args := pgx.NamedArgs{"account_id": accountID, "purpose": purpose, "hash": hash, "ttl": ttl}
	var batch pgx.Batch
	batch.Queue(`
		DELETE FROM account_token
		WHERE account_id = @account_id AND purpose = @purpose AND used_at IS NULL`, args)
	batch.Queue(`
		INSERT INTO account_token (hash, account_id, purpose, expires_at)
		SELECT @hash, id, @purpose, now() + @ttl::interval FROM account
		WHERE id = @account_id`, args)
	if err := db.q.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("make token to %s: %w", purpose, err)
	}
	return nil
}

// UseAccountToken spends a token and returns whose it was, or ErrNotFound: it is
// unknown, past its time, or spent.
func (db *DB) UseAccountToken(ctx context.Context, purpose string, hash []byte) (accountID string, err error) {
	rows, err := db.q.Query(ctx, `
		UPDATE account_token
		SET used_at = now()
		WHERE hash = @hash AND purpose = @purpose AND used_at IS NULL AND expires_at > now()
		RETURNING account_id`,
		pgx.NamedArgs{"hash": hash, "purpose": purpose})
	if err != nil {
		return "", fmt.Errorf("use token to %s: %w", purpose, err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err == nil && len(ids) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("use token to %s: %w", purpose, err)
	}
	return ids[0], nil
}

// DropAccountTokens takes back what an account was sent for a purpose.
func (db *DB) DropAccountTokens(ctx context.Context, accountID, purpose string) error {
	_, err := db.q.Exec(ctx, `
		DELETE FROM account_token
		WHERE account_id = @account_id AND purpose = @purpose AND used_at IS NULL`,
		pgx.NamedArgs{"account_id": accountID, "purpose": purpose})
	if err != nil {
		return fmt.Errorf("drop tokens to %s: %w", purpose, err)
	}
	return nil
}

// AccountOfToken returns whose token UseAccountToken would take, or ErrNotFound.
func (db *DB) AccountOfToken(ctx context.Context, purpose string, hash []byte) (accountID string, err error) {
	found, err := one[struct{ AccountID string }](ctx, db, `
		SELECT account_id FROM account_token
		WHERE hash = @hash AND purpose = @purpose AND used_at IS NULL AND expires_at > now()`,
		pgx.NamedArgs{"hash": hash, "purpose": purpose})
	if err != nil {
		return "", fmt.Errorf("look for token to %s: %w", purpose, err)
	}
	return found.AccountID, nil
}
