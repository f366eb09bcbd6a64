package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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

// deletedOrg is the organization @org_id, if it is a deleted one.
const deletedOrg = `(SELECT id FROM org WHERE id = @org_id AND deleted_at IS NOT NULL)`

// EraseOrgEvents removes up to limit events of a deleted organization, as many
// deliveries with the log of what was answered, as many idempotency keys and logged
// requests, and what was written into as many entries of credits. It returns how many
// of them there were: 0 when none is left that nobody is changing.
func (db *DB) EraseOrgEvents(ctx context.Context, orgID string, limit int) (int, error) {
	args := pgx.NamedArgs{"org_id": orgID, "limit": limit, "request": EndpointRequest}
	n := 0
	var batch pgx.Batch
	// What someone else has locked is left to a later call.
	for _, sql := range []string{
		`DELETE FROM webhook_delivery
		WHERE ctid = ANY(ARRAY(
			SELECT d.ctid FROM (
				SELECT @request AS endpoint_id, id AS project_id FROM project WHERE org_id = ` + deletedOrg + `
				UNION ALL
				SELECT id, NULL FROM webhook_endpoint WHERE org_id = ` + deletedOrg + `
			) AS e, LATERAL (
				SELECT ctid FROM webhook_delivery AS w
				WHERE w.endpoint_id = e.endpoint_id AND (e.project_id IS NULL OR w.project_id = e.project_id)
				LIMIT @limit
				FOR UPDATE SKIP LOCKED
			) AS d
			LIMIT @limit))`,
		`DELETE FROM event
		WHERE ctid = ANY(ARRAY(
			SELECT e.ctid FROM project, LATERAL (
				SELECT ctid FROM event WHERE project_id = project.id LIMIT @limit FOR UPDATE SKIP LOCKED
			) AS e
			WHERE project.org_id = ` + deletedOrg + `
			LIMIT @limit))`,
		`DELETE FROM idempotency_key
		WHERE ctid = ANY(ARRAY(
			SELECT k.ctid FROM (
				SELECT id FROM project WHERE org_id = ` + deletedOrg + `
				UNION ALL
				SELECT ` + deletedOrg + ` -- what was made in it
			) AS o, LATERAL (
				SELECT ctid FROM idempotency_key WHERE project_id = o.id LIMIT @limit FOR UPDATE SKIP LOCKED
			) AS k
			LIMIT @limit))`,
		`DELETE FROM request_log
		WHERE ctid = ANY(ARRAY(
			SELECT ctid FROM request_log WHERE org_id = ` + deletedOrg + `
			LIMIT @limit
			FOR UPDATE SKIP LOCKED))`,
		`UPDATE credit_entry
		SET reason = NULL, actor = NULL
		WHERE ctid = ANY(ARRAY(
			SELECT ctid FROM credit_entry
			WHERE org_id = ` + deletedOrg + ` AND kind IN ('grant', 'purchase', 'adjust', 'refund')
				AND (reason IS NOT NULL OR actor IS NOT NULL)
			LIMIT @limit
			FOR UPDATE SKIP LOCKED))`,
	} {
		batch.Queue(sql, args).Exec(func(tag pgconn.CommandTag) error {
			n += int(tag.RowsAffected())
			return nil
		})
	}
	if err := db.q.SendBatch(ctx, &batch).Close(); err != nil {
		return 0, fmt.Errorf("erase events of organization %s: %w", orgID, err)
	}
	return n, nil
}

// EraseOrg removes what a deleted organization had beside its generations and events:
// names, webhook endpoints and secrets, invitations, mails and its budget. The rows that
// others' rows name stay, empty, and so do the books: credits, use, subscription,
// invoices, what was reported for them, and the operators' keys for which payments were
// given back: none is given back twice. Doing it twice changes nothing.
func (db *DB) EraseOrg(ctx context.Context, orgID string) error {
	args := pgx.NamedArgs{"org_id": orgID, "mail_kind": MailTicketKind}
	var batch pgx.Batch
	for _, sql := range []string{
		`DELETE FROM webhook_secret
		WHERE org_id = ` + deletedOrg,
		`UPDATE webhook_endpoint
		SET url = '', events = '{}', description = '', disabled_at = coalesce(disabled_at, now()), deleted_at = coalesce(deleted_at, now())
		WHERE org_id = ` + deletedOrg,
		`DELETE FROM invitation
		WHERE org_id = ` + deletedOrg,
		eraseMails(`
			SELECT id FROM mail
			WHERE org_id = ` + deletedOrg),
		`DELETE FROM budget
		WHERE org_id = ` + deletedOrg,
		`DELETE FROM spend_alert
		WHERE org_id = ` + deletedOrg,
		`UPDATE refund_request
		SET reason = '', actor = ''
		WHERE org_id = ` + deletedOrg,
		`UPDATE api_key
		SET name = '', ip_allowlist = NULL
		WHERE org_id = ` + deletedOrg,
		`UPDATE project
		SET name = '', slug = NULL, webhook_url = NULL, webhook_events = NULL
		WHERE org_id = ` + deletedOrg,
		`UPDATE org
		SET name = ''
		WHERE id = ` + deletedOrg,
	} {
		batch.Queue(sql, args)
	}
	if err := db.q.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("erase organization %s: %w", orgID, err)
	}
	return nil
}

// MarkOrgErased records that nothing is left of what a deleted organization had.
func (db *DB) MarkOrgErased(ctx context.Context, orgID string) error {
	_, err := db.q.Exec(ctx, `
		UPDATE org
		SET erased_at = coalesce(erased_at, now())
		WHERE id = `+deletedOrg,
		pgx.NamedArgs{"org_id": orgID})
	if err != nil {
		return fmt.Errorf("mark %s as erased: %w", orgID, err)
	}
	return nil
}

// UnerasedOrgs returns the ids of up to limit organizations that were deleted longer
// ago than age and are not marked as erased, in the order of their ids, behind the one
// given.
func (db *DB) UnerasedOrgs(ctx context.Context, age time.Duration, after string, limit int) ([]string, error) {
	rows, err := many[struct{ ID string }](ctx, db, `
		SELECT id FROM org
		WHERE deleted_at < now() - @age::interval AND erased_at IS NULL AND id > @after
		ORDER BY id
		LIMIT @limit`,
		pgx.NamedArgs{"age": age, "after": after, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("list organizations to be erased: %w", err)
	}
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	return ids, nil
}
