package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// MaxWebhookSecrets is how many secrets may sign one owner's deliveries at a time.
const MaxWebhookSecrets = 5

// ErrTooManySecrets reports that MaxWebhookSecrets are valid already.
var ErrTooManySecrets = errors.New("as many webhook secrets are valid as may be")

// A SealedSecret is a new secret to be kept.
type SealedSecret struct {
	Sealed []byte // encrypted for its owner
	Last4  string // of the secret itself
}

// A WebhookSecret signs the deliveries of its owner: an endpoint, or for the
// webhook_url of generations that of Scope.SecretOwner.
type WebhookSecret struct {
	Owner     string
	N         int // the owner's later ones have higher numbers
	Sealed    []byte
	Last4     string
	CreatedAt time.Time
	ExpiresAt *time.Time // nil: the present one
}

const stillSigns = `(expires_at IS NULL OR expires_at > now())`

// WebhookSecrets returns what signs the deliveries of some of an organization's
// secret owners: the newest first, owner by owner.
func (db *DB) WebhookSecrets(ctx context.Context, orgID string, owners ...string) ([]*WebhookSecret, error) {
	secrets, err := many[WebhookSecret](ctx, db, `
		SELECT `+columns[WebhookSecret]("")+` FROM webhook_secret
		WHERE owner = ANY(@owners) AND org_id = @org_id AND `+stillSigns+`
		ORDER BY owner, n DESC`,
		pgx.NamedArgs{"org_id": orgID, "owners": owners})
	if err != nil {
		return nil, fmt.Errorf("read webhook secrets: %w", err)
	}
	return secrets, nil
}

// EnsureProjectSecret returns the secrets of a scope's SecretOwner as WebhookSecrets
// does. One that has none gets the secret given; of several given at the same time
// one is kept, and everyone is told that one.
func (db *DB) EnsureProjectSecret(ctx context.Context, scope Scope, first SealedSecret) ([]*WebhookSecret, error) {
	owner := scope.SecretOwner()
	secrets, err := db.WebhookSecrets(ctx, scope.OrgID, owner)
	if err != nil || len(secrets) > 0 {
		return secrets, err
	}
	args := scope.args(pgx.NamedArgs{"owner": owner, "sealed": first.Sealed, "last4": first.Last4})
	var batch pgx.Batch
	batch.Queue(lockProjectSQL, args)
	batch.Queue(`
		INSERT INTO webhook_secret (owner, n, org_id, sealed, last4)
		SELECT @owner, 1, org_id, @sealed, @last4 FROM project
		WHERE id = @project_id AND org_id = @org_id AND NOT EXISTS (SELECT FROM webhook_secret WHERE owner = @owner)`, args)
	if err := db.q.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, fmt.Errorf("make webhook secret of %s: %w", owner, err)
	}
	secrets, err = db.WebhookSecrets(ctx, scope.OrgID, owner)
	if err == nil && len(secrets) == 0 {
		err = fmt.Errorf("project %s: %w", scope.ProjectID, ErrNotFound)
	}
	return secrets, err
}

// RotateWebhookSecret gives an endpoint of a scope a new secret, and lets the
// others sign for the time of the overlap, unless they end sooner. It returns all
// that are valid then, the newest first, and fails with ErrNotFound, or with
// ErrTooManySecrets if the overlap leaves too many.
func (db *DB) RotateWebhookSecret(ctx context.Context, scope Scope, endpointID string, overlap time.Duration, next SealedSecret) ([]*WebhookSecret, error) {
	return db.rotate(ctx, `SELECT id FROM webhook_endpoint WHERE id = @owner AND `+inScope+` FOR NO KEY UPDATE`,
		scope.args(pgx.NamedArgs{"owner": endpointID}), overlap, next)
}

// RotateProjectSecret does with the secret of a scope's SecretOwner what
// RotateWebhookSecret does with an endpoint's.
func (db *DB) RotateProjectSecret(ctx context.Context, scope Scope, overlap time.Duration, next SealedSecret) ([]*WebhookSecret, error) {
	return db.rotate(ctx, lockProjectSQL, scope.args(pgx.NamedArgs{"owner": scope.SecretOwner()}), overlap, next)
}

// rotate runs lock, a query that finds and locks the owner, and replaces its
// secret: rotations of one owner happen one after the other.
func (db *DB) rotate(ctx context.Context, lock string, args pgx.NamedArgs, overlap time.Duration, next SealedSecret) ([]*WebhookSecret, error) {
	args["overlap"], args["sealed"], args["last4"], args["most"] = overlap, next.Sealed, next.Last4, MaxWebhookSecrets
	var secrets []*WebhookSecret
	err := db.within(ctx, func(tx *DB) error {
		found, err := tx.q.Exec(ctx, lock, args)
		if err != nil {
			return err
		}
		if found.RowsAffected() == 0 {
			return ErrNotFound
		}
		secrets, err = many[WebhookSecret](ctx, tx, rotateSQL, args)
		if err == nil && len(secrets) == 0 {
			return ErrTooManySecrets
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("rotate webhook secret of %s: %w", args["owner"], err)
	}
	return secrets, nil
}

// An overlap of nothing leaves only the new one.
var rotateSQL = `
		WITH next AS (
			INSERT INTO webhook_secret (owner, n, org_id, sealed, last4)
			SELECT @owner, coalesce(max(n), 0) + 1, @org_id, @sealed, @last4
			FROM webhook_secret
			WHERE owner = @owner
			HAVING @overlap::interval <= interval '0' OR count(*) FILTER (WHERE ` + stillSigns + `) < @most
			RETURNING ` + columns[WebhookSecret]("") + `
		), old AS (
			UPDATE webhook_secret
			SET expires_at = least(expires_at, now() + @overlap::interval)
			WHERE owner = @owner AND ` + stillSigns + ` AND EXISTS (SELECT FROM next)
			RETURNING ` + columns[WebhookSecret]("") + `
		)
		SELECT * FROM next
		UNION ALL
		SELECT * FROM old WHERE ` + stillSigns + `
		ORDER BY n DESC`
