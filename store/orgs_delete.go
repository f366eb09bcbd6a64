package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DeleteOrg ends an organization: its keys are revoked on every process, its projects
// archived, its webhook endpoints disabled and its invitations void, and nobody belongs
// to it any more. What it has made is EraseOrg's to remove. It belongs into a
// transaction, and fails with ErrNotFound if there is none, or none any more.
func (db *DB) DeleteOrg(ctx context.Context, orgID string) error {
	deleted := false
	args := pgx.NamedArgs{"org_id": orgID, "channel": channelKey}
	var batch pgx.Batch
	batch.Queue(`
		UPDATE org
		SET deleted_at = now()
		WHERE id = @org_id AND deleted_at IS NULL`, args).Exec(func(tag pgconn.CommandTag) error {
		deleted = tag.RowsAffected() == 1
		return nil
	})
	batch.Queue(`
		WITH revoked AS (
			UPDATE api_key
			SET revoked_at = now()
			WHERE org_id = @org_id AND revoked_at IS NULL
			RETURNING id
		)
		SELECT pg_notify(@channel, id) FROM revoked`, args)
	batch.Queue(`
		UPDATE project
		SET archived_at = now()
		WHERE org_id = @org_id AND archived_at IS NULL`, args)
	batch.Queue(`
		UPDATE webhook_endpoint
		SET disabled_at = coalesce(disabled_at, now()), disabled_reason = coalesce(disabled_reason, 'asked'), revision = revision + 1
		WHERE org_id = @org_id AND deleted_at IS NULL`, args)
	batch.Queue(`
		UPDATE invitation
		SET revoked_at = now()
		WHERE org_id = @org_id AND accepted_at IS NULL AND revoked_at IS NULL`, args)
	batch.Queue(`
		DELETE FROM membership
		WHERE org_id = @org_id`, args)
	err := db.q.SendBatch(ctx, &batch).Close()
	if err == nil && !deleted {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("delete organization %s: %w", orgID, err)
	}
	return nil
}
