package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A NewGeneration is what a submission knows of a generation.
type NewGeneration struct {
	ID         string            `json:"id"`
	OrgID      string            `json:"org_id"`
	ProjectID  string            `json:"project_id"`
	APIKeyID   string            `json:"api_key_id"`
	Kind       string            `json:"kind"`
	Test       bool              `json:"test"`
	Simulated  bool              `json:"simulated"`
	Model      string            `json:"model"`
	ModelUsed  string            `json:"model_used"`
	Prompt     string            `json:"prompt"`
	Params     Params            `json:"params"`
	N          int               `json:"n"`
	Metadata   map[string]string `json:"metadata"`
	Tags       []string          `json:"tags"`
	CreatedAt  time.Time         `json:"created_at"`
	DeadlineAt time.Time         `json:"deadline_at"`
}

// Row returns the generation as it stands once inserted.
func (n *NewGeneration) Row() *Generation {
	return &Generation{
		ID: n.ID, OrgID: n.OrgID, ProjectID: n.ProjectID, APIKeyID: n.APIKeyID, Kind: n.Kind,
		Status: StatusQueued, Test: n.Test, Simulated: n.Simulated, Model: n.Model, ModelUsed: n.ModelUsed,
		Prompt: n.Prompt, Params: n.Params, N: n.N, Metadata: n.Metadata, Tags: n.Tags,
		CreatedAt: n.CreatedAt, DeadlineAt: n.DeadlineAt,
	}
}

// InsertGenerations records queued generations in one statement. Each names its
// own org and project.
func (db *DB) InsertGenerations(ctx context.Context, rows []*NewGeneration) error {
	text, err := json.Marshal(rows)
	if err != nil {
		return fmt.Errorf("insert generations: %w", err)
	}
	_, err = db.q.Exec(ctx, `
		INSERT INTO generation (
			id, org_id, project_id, api_key_id, kind, status, test, simulated, model, model_used,
			prompt, params, n, metadata, tags, created_at, deadline_at)
		SELECT
			id, org_id, project_id, api_key_id, kind, 'queued', test, simulated, model, model_used,
			prompt, params, n, metadata, tags, created_at, deadline_at
		FROM json_populate_recordset(NULL::generation, @rows)`,
		pgx.NamedArgs{"rows": string(text)})
	if err != nil {
		return fmt.Errorf("insert generations: %w", err)
	}
	return nil
}
