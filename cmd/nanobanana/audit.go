package main

import (
	"context"
	"encoding/json"

	"github.com/nanobanana/nanobanana/store"
)

// A commandChange is what a command has changed, for the audit log. Before and After
// are shown as JSON, without secrets; nil where there is nothing.
type commandChange struct {
	Program       string // "nanobanana routes"
	Action        string // "route.drain"
	Kind          string // of the target
	ID            string // of the target
	OrgID         string // empty: of no organization
	ProjectID     string
	Before, After map[string]any
}

// record writes a change to the audit log, in the transaction that makes it.
func (c *commandChange) record(ctx context.Context, tx *store.DB) error {
	entry := store.AuditEntry{
		ActorKind: store.ActorCommand, ActorID: operator(), IP: "-", UserAgent: c.Program, RequestID: "-",
		Operator: true, Action: c.Action, TargetKind: c.Kind, TargetID: c.ID, Before: commandJSON(c.Before), After: commandJSON(c.After),
	}
	if c.OrgID != "" {
		entry.OrgID = &c.OrgID
	}
	if c.ProjectID != "" {
		entry.ProjectID = &c.ProjectID
	}
	return tx.RecordAudit(ctx, entry)
}

func commandJSON(v map[string]any) json.RawMessage {
	if v == nil {
		return nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // texts, numbers and times always encode
	}
	return text
}
