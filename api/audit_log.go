package api

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// auditEntry is one as its readers see it.
type auditEntry struct {
	ID        string      `json:"id" example:"aud_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Object    string      `json:"object" enum:"audit_entry"`
	At        time.Time   `json:"at"`
	OrgID     *string     `json:"organization_id" doc:"null: of the service as a whole"`
	ProjectID *string     `json:"project_id"`
	Actor     auditActor  `json:"actor"`
	IP        *string     `json:"ip"`
	UserAgent *string     `json:"user_agent"`
	RequestID *string     `json:"request_id"`
	Action    string      `json:"action" example:"key.create"`
	Target    auditTarget `json:"target"`
	Before    auditState  `json:"before" doc:"What was; null: nothing"`
	After     auditState  `json:"after" doc:"What is; null: nothing any more"`
}

type auditActor struct {
	Kind  string  `json:"kind" enum:"account,key,token,command,service,operator" doc:"token: of single sign-on elsewhere; command: the command line; service: by itself, or for someone who had not signed in; operator: someone who runs the service"`
	ID    string  `json:"id"`
	Email *string `json:"email" doc:"Of an account, as it is now; null once it is erased"`
}

type auditTarget struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// auditState is an object as the API showed it, or nil.
type auditState json.RawMessage

// MarshalJSON writes it as it was.
func (a auditState) MarshalJSON() ([]byte, error) {
	if a == nil {
		return []byte("null"), nil
	}
	return a, nil
}

// Schema describes any object.
func (auditState) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Nullable: true, AdditionalProperties: true}
}

func viewAuditEntry(r *store.AuditRecord) auditEntry {
	return auditEntry{
		ID: r.ID, Object: "audit_entry", At: r.At.UTC(), OrgID: r.OrgID, ProjectID: r.ProjectID,
		Actor: auditActor{Kind: r.ActorKind, ID: r.ActorID, Email: r.ActorEmail},
		IP:    known(r.IP), UserAgent: known(r.UserAgent), RequestID: known(r.RequestID),
		Action: r.Action, Target: auditTarget{Kind: r.TargetKind, ID: r.TargetID},
		Before: auditState(r.Before), After: auditState(r.After),
	}
}

// known is nil for what is empty or only stands for nothing.
func known(text string) *string {
	if text == "" || text == "-" {
		return nil
	}
	return &text
}

// AuditFilterInput selects entries. Its capital is for Huma, as that of PageInput.
type AuditFilterInput struct {
	Action        string    `query:"action" maxLength:"100" doc:"An action, or its beginning: key. for all that was done to keys" example:"key."`
	Actor         string    `query:"actor" maxLength:"500" doc:"The id of who did it"`
	Target        string    `query:"target" maxLength:"500" doc:"The id of what it was done to"`
	CreatedAfter  time.Time `query:"created_after"`
	CreatedBefore time.Time `query:"created_before"`
}

func (in *AuditFilterInput) filter() store.AuditFilter {
	f := store.AuditFilter{Action: in.Action, Actor: in.Actor, Target: in.Target}
	if !in.CreatedAfter.IsZero() {
		f.CreatedAfter = &in.CreatedAfter
	}
	if !in.CreatedBefore.IsZero() {
		f.CreatedBefore = &in.CreatedBefore
	}
	return f
}

type listAuditLogInput struct {
	OrgID string `path:"org_id" example:"org_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	AuditFilterInput
	PageInput
}

func (s *server) listAuditLog(ctx context.Context, in *listAuditLogInput) (*pageOutput[auditEntry], error) {
	filter := in.filter()
	filter.OrgID, filter.Mask = auth.FromContext(ctx).OrgID, true
	return s.auditPage(ctx, filter, &in.PageInput)
}

type listAdminAuditLogInput struct {
	OrgID string `query:"org_id" maxLength:"100" doc:"Only what concerns this organization"`
	AuditFilterInput
	PageInput
}

func (s *server) listAdminAuditLog(ctx context.Context, in *listAdminAuditLogInput) (*pageOutput[auditEntry], error) {
	filter := in.filter()
	filter.OrgID = in.OrgID
	return s.auditPage(ctx, filter, &in.PageInput)
}

func (s *server) auditPage(ctx context.Context, filter store.AuditFilter, in *PageInput) (*pageOutput[auditEntry], error) {
	selected, err := in.page("an audit entry", store.ValidAuditEntryID)
	if err != nil {
		return nil, err
	}
	filter.Page = selected
	rows, err := s.readAuditLog(ctx, filter)
	if errors.Is(err, store.ErrNotFound) {
		return nil, refuse("invalid_cursor", "This log has no entry with the id given; use first_id, last_id or next_cursor of an earlier page.")
	}
	if err != nil {
		return nil, err
	}
	return pageOf(in, rows, func(r *store.AuditRecord) string { return r.ID }, viewAuditEntry), nil
}

func (s *server) readAuditLog(ctx context.Context, filter store.AuditFilter) (rows []*store.AuditRecord, err error) {
	err = s.search(ctx, "The list takes too long to find; narrow it with created_after and created_before, or leave out action, actor and target.", func(ctx context.Context) error {
		rows, err = s.db.AuditEntries(ctx, filter)
		return err
	})
	return rows, err
}
