package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// What can be exported of a person and of the organizations they own.
const (
	ExportIdentities    = "identities"           // of an account
	ExportSessions      = "sessions"             // of an account
	ExportMemberships   = "memberships"          // of an account
	ExportInvited       = "invitations_received" // to an account's verified address
	ExportInvitations   = "invitations_sent"     // by an account
	ExportMails         = "mails"                // to an account: what kind, and when
	ExportAudit         = "audit_entries"        // by an account
	ExportAuditAbout    = "audit_entries_about"  // about an account, by others: not by whom
	ExportOrganizations = "organizations"        // that an account owns
	ExportProjects      = "projects"             // of an organization
	ExportKeys          = "api_keys"             // of an organization, without secrets
	ExportEndpoints     = "webhook_endpoints"    // of an organization, without secrets
	ExportGenerations   = "generations"          // of a project, with their images
)

// An ExportRow is one object of an export.
type ExportRow struct {
	Key    string // the place of the row in its section
	Object json.RawMessage
	Images json.RawMessage // of a generation: what there is to say of each, not yet in Object
}

// Export returns up to limit rows of a section that belong to an owner, in order, of
// those behind the key given; an empty one begins.
func (db *DB) Export(ctx context.Context, section, owner, after string, limit int) ([]*ExportRow, error) {
	rows, err := many[ExportRow](ctx, db, `
		SELECT key, to_jsonb(part) - 'key' - 'images' AS object, to_jsonb(part) -> 'images' AS images FROM (`+exportSQL[section]+`
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
	ExportInvited: `
		SELECT i.id AS key, i.id, i.org_id AS organization_id, i.email, i.role, i.created_at, i.expires_at, i.accepted_at, i.revoked_at
		FROM account AS a JOIN invitation AS i ON i.email_key = a.email_key
		WHERE a.id = @owner AND a.verified_at IS NOT NULL AND i.id > @after
		ORDER BY i.id`,
	ExportInvitations: `
		SELECT id AS key, id, org_id AS organization_id, email, role, created_at, expires_at, accepted_at, revoked_at FROM invitation
		WHERE invited_by = @owner AND id > @after
		ORDER BY id`,
	ExportMails: `
		SELECT id AS key, id, kind, org_id AS organization_id, recipient, created_at, sent_at, failed_at FROM mail
		WHERE id IN (` + mailsToSQL("@owner") + `
			) AND id > @after
		ORDER BY id`,
	ExportAudit: `
		SELECT id AS key, id, at, org_id AS organization_id, project_id, ip, user_agent, request_id, action, target_kind, target_id, before, after FROM audit_entry
		WHERE actor_id = @owner AND id > @after
		ORDER BY id`,
	ExportAuditAbout: `
		SELECT id AS key, id, at, org_id AS organization_id, action, target_kind, target_id, before, after FROM audit_entry
		WHERE target_id = @owner AND actor_id <> @owner AND id > @after
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
	ExportEndpoints: `
		SELECT id AS key, id, project_id, test, url, events, description, api_version, created_at, disabled_at, disabled_reason FROM webhook_endpoint
		WHERE org_id = @owner AND deleted_at IS NULL AND id > @after
		ORDER BY id`,
	// An image's id begins as its generation's but for the last two characters.
	ExportGenerations: `
		SELECT id AS key, id, project_id, status, test, model, prompt, params, metadata, tags, n, webhook_url, created_at, started_at, finished_at, (
				SELECT jsonb_agg(jsonb_build_object(
					'id', i.id, 'media_type', i.media_type, 'bytes', i.bytes, 'width', i.width, 'height', i.height,
					'created_at', i.created_at, 'expires_at', i.expires_at,
					'gone', i.deleted_at IS NOT NULL OR i.purged_at IS NOT NULL OR coalesce(i.expires_at <= now(), false)
				) ORDER BY i.id)
				FROM image AS i
				WHERE i.id BETWEEN '` + prefixImage + `' || substr(generation.id, 5) AND '` + prefixImage + `' || substr(generation.id, 5, 24) || '~'
					AND i.generation_id = generation.id
			) AS images
		FROM generation
		WHERE project_id = @owner AND id > @after
		ORDER BY id`,
}
