package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// An Unerased names a generation of a deleted organization that still has what its
// customer entered.
type Unerased struct {
	ID        string
	ProjectID string
}

// UnerasedGenerations returns up to limit generations of a deleted organization that
// have not been removed, of those that come after the one given; nil begins.
func (db *DB) UnerasedGenerations(ctx context.Context, orgID string, after *Unerased, limit int) ([]*Unerased, error) {
	args := pgx.NamedArgs{"org_id": orgID, "limit": limit, "project_id": "", "id": ""}
	if after != nil {
		args["project_id"], args["id"] = after.ProjectID, after.ID
	}
	list, err := many[Unerased](ctx, db, `
		SELECT g.id, g.project_id FROM org
		JOIN project ON project.org_id = org.id AND project.id >= @project_id
		CROSS JOIN LATERAL (
			SELECT id, project_id FROM generation
			WHERE generation.project_id = project.id AND generation.removed_at IS NULL
				AND (generation.project_id, generation.id) > (@project_id, @id)
			ORDER BY generation.project_id, generation.id
			LIMIT @limit
		) AS g
		WHERE org.id = @org_id AND org.deleted_at IS NOT NULL
		ORDER BY g.project_id, g.id
		LIMIT @limit`, args)
	if err != nil {
		return nil, fmt.Errorf("list generations of %s to be erased: %w", orgID, err)
	}
	return list, nil
}

// EraseOrg removes what a deleted organization had beside its generations: names,
// webhook endpoints and secrets, invitations and mails. The rows that others' rows
// name stay, empty. Doing it twice changes nothing.
func (db *DB) EraseOrg(ctx context.Context, orgID string) error {
	args := pgx.NamedArgs{"org_id": orgID}
	var batch pgx.Batch
	const deleted = `(SELECT id FROM org WHERE id = @org_id AND deleted_at IS NOT NULL)`
	for _, sql := range []string{
		`DELETE FROM webhook_secret
		WHERE org_id = ` + deleted,
		`UPDATE webhook_endpoint
		SET url = '', events = '{}', description = '', disabled_at = coalesce(disabled_at, now()), deleted_at = coalesce(deleted_at, now())
		WHERE org_id = ` + deleted,
		`DELETE FROM invitation
		WHERE org_id = ` + deleted,
		`DELETE FROM mail
		WHERE org_id = ` + deleted,
		`UPDATE api_key
		SET name = '', ip_allowlist = NULL
		WHERE org_id = ` + deleted,
		`UPDATE project
		SET name = '', slug = NULL, webhook_url = NULL, webhook_events = NULL
		WHERE org_id = ` + deleted,
		`UPDATE org
		SET name = ''
		WHERE id = ` + deleted,
	} {
		batch.Queue(sql, args)
	}
	if err := db.q.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("erase organization %s: %w", orgID, err)
	}
	return nil
}
