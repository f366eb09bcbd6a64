package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// What can be exported of a person and of the organizations they own.
const (
	ExportIdentities    = "identities"    // of an account
	ExportSessions      = "sessions"      // of an account
	ExportMemberships   = "memberships"   // of an account
	ExportAudit         = "audit_entries" // by an account
	ExportOrganizations = "organizations" // that an account owns
	ExportProjects      = "projects"      // of an organization
	ExportKeys          = "api_keys"      // of an organization, without secrets
	ExportGenerations   = "generations"   // of a project
)

// An ExportRow is one object of an export.
type ExportRow struct {
	Key    string // the place of the row in its section
	Object json.RawMessage
}

// Export returns up to limit rows of a section that belong to an owner, in order, of
// those behind the key given; an empty one begins.
func (db *DB) Export(ctx context.Context, section, owner, after string, limit int) ([]*ExportRow, error) {
	rows, err := many[ExportRow](ctx, db, `
		SELECT key, to_jsonb(part) - 'key' AS object FROM (`+exportSQL[section]+`
			LIMIT @limit
		) AS part
		ORDER BY key`,
		pgx.NamedArgs{"owner": owner, "after": after, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("export %s of %s: %w", section, owner, err)
	}
	return rows, nil
}

// exportSQL is never written to.
var exportSQL = map[string]string{
	ExportIdentities: `
		SELECT issuer || ' ' || subject AS key, issuer, subject, created_at FROM account_identity
		WHERE account_id = @owner AND issuer || ' ' || subject > @after
		ORDER BY 1`,
	ExportSessions: `
		SELECT id AS key, id, method, ip, user_agent, created_at, refreshed_at, expires_at, ended_at, ended_reason FROM session
		WHERE account_id = @owner AND id > @after
		ORDER BY id`,
	ExportMemberships: `
		SELECT org_id AS key, org_id AS organization_id, role, created_at FROM membership
		WHERE account_id = @owner AND org_id > @after
		ORDER BY org_id`,
	ExportAudit: `
		SELECT id AS key, id, at, org_id AS organization_id, project_id, ip, user_agent, request_id, action, target_kind, target_id, before, after FROM audit_entry
		WHERE actor_id = @owner AND id > @after
		ORDER BY id`,
	ExportOrganizations: `
		SELECT org.id AS key, org.id, org.name, org.plan, org.created_at FROM membership JOIN org ON org.id = membership.org_id
		WHERE membership.account_id = @owner AND membership.role = 'owner' AND org.deleted_at IS NULL AND org.id > @after
		ORDER BY org.id`,
	ExportProjects: `
		SELECT id AS key, id, name, slug, retention_days, webhook_url, webhook_events, archived_at, created_at FROM project
		WHERE org_id = @owner AND id > @after
		ORDER BY id`,
	ExportKeys: `
		SELECT id AS key, id, project_id, name, kind, last4, scopes, created_at, expires_at, revoked_at, last_used_at FROM api_key
		WHERE org_id = @owner AND id > @after
		ORDER BY id`,
	ExportGenerations: `
		SELECT id AS key, id, project_id, status, test, model, prompt, params, metadata, tags, n, created_at, started_at, finished_at FROM generation
		WHERE project_id = @owner AND id > @after
		ORDER BY id`,
}
