package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// A change is an administrative one, for the audit log. Before and After are shown
// as JSON, without secrets; nil where there is nothing.
type change struct {
	Action        string // "key.create", "membership.update"
	Kind          string // of the target: "key", "membership"
	ID            string // of the target
	OrgID         string // default: the caller's, unless Operator
	ProjectID     string
	Operator      bool // made as one who runs the service, whom the organization does not see
	Before, After any
}

// record writes a change to the audit log, in the transaction that makes it.
func (s *server) record(ctx context.Context, tx *store.DB, c change) error {
	r := requestOf(ctx)
	entry := store.AuditEntry{
		ActorKind: store.ActorService, ActorID: "-", RequestID: r.id, UserAgent: userAgent(r.http),
		IP: s.clientAddress(r.http).String(), Action: c.Action, TargetKind: c.Kind, TargetID: c.ID,
		Operator: c.Operator, Before: auditJSON(c.Before), After: auditJSON(c.After),
	}
	if caller := auth.FromContext(ctx); caller != nil {
		entry.ActorID = caller.ActorID()
		entry.ActorKind = map[string]string{
			auth.KindKey: store.ActorKey, auth.KindMaster: store.ActorKey,
			auth.KindAccount: store.ActorAccount, auth.KindToken: store.ActorToken,
		}[caller.Kind]
		if c.OrgID == "" && !c.Operator {
			c.OrgID = caller.OrgID
		}
	}
	if c.OrgID != "" {
		entry.OrgID = &c.OrgID
	}
	if c.ProjectID != "" {
		entry.ProjectID = &c.ProjectID
	}
	return tx.RecordAudit(ctx, entry)
}

// userAgent is what a request says it was made with, as far as a row can hold it.
func userAgent(r *http.Request) string {
	text := strings.ReplaceAll(strings.ToValidUTF8(r.UserAgent(), "\uFFFD"), "\x00", "\uFFFD")
	return shorten(text, maxMessage)
}

func auditJSON(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // views always encode
	}
	return text
}
