package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Who makes administrative changes.
const (
	ActorAccount = "account" // a person who has signed in
	ActorKey     = "key"     // an API key
	ActorToken   = "token"   // a bearer of a foreign token
	ActorCommand = "command" // an operator at the command line
	ActorService = "service" // the service itself, or whoever has not signed in yet
)

// An AuditEntry is an administrative change: who made it, from where, and what was
// before and after. It is never changed.
type AuditEntry struct {
	ID         string
	OrgID      *string // nil: of the service as a whole
	ProjectID  *string
	At         time.Time
	ActorKind  string
	ActorID    string
	IP         string
	UserAgent  string
	RequestID  string
	Operator   bool   // made by who runs the service, whom organizations do not see
	Action     string // "key.create"
	TargetKind string // "key"
	TargetID   string
	Before     json.RawMessage // nil: there was nothing
	After      json.RawMessage // nil: there is nothing any more
}

const prefixAudit = "aud"

// ValidAuditEntryID reports whether id could be an entry's.
func ValidAuditEntryID(id string) bool { return validID(id, prefixAudit) }

// RecordAudit writes an entry; ID and At are set by it. It belongs into the
// transaction of the change.
func (db *DB) RecordAudit(ctx context.Context, e AuditEntry) error {
	_, err := db.q.Exec(ctx, `
		INSERT INTO audit_entry (
			id, org_id, project_id, actor_kind, actor_id, ip, user_agent, request_id, operator, action, target_kind, target_id, before, after)
		VALUES (
			@id, @org_id, @project_id, @actor_kind, @actor_id, @ip, @user_agent, @request_id, @operator, @action, @target_kind, @target_id, @before, @after)`,
		pgx.NamedArgs{
			"id": NewID(prefixAudit), "org_id": e.OrgID, "project_id": e.ProjectID, "actor_kind": e.ActorKind, "actor_id": e.ActorID,
			"ip": e.IP, "user_agent": e.UserAgent, "request_id": e.RequestID, "operator": e.Operator, "action": e.Action,
			"target_kind": e.TargetKind, "target_id": e.TargetID, "before": e.Before, "after": e.After,
		})
	if err != nil {
		return fmt.Errorf("record %s of %s: %w", e.Action, e.TargetID, err)
	}
	return nil
}
