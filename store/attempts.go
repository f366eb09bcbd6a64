package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Outcomes of an attempt beside the kinds of provider error.
const (
	AttemptSucceeded = "succeeded"
	AttemptAmbiguous = "ambiguous" // sent, perhaps paid, nobody saw the answer
	AttemptCanceled  = "canceled"
)

// ErrFenced reports that another run has claimed the generation, or that it has
// ended: the caller must stop and write nothing more.
var ErrFenced = errors.New("fenced off by a later claim")

// An Attempt is one paid call to a provider.
type Attempt struct {
	GenerationID string
	N            int // 1 is the generation's first
	Fence        int
	ImageIndex   int
	Route        string
	Model        string // upstream name
	StartedAt    time.Time
	FinishedAt   *time.Time
	Outcome      *string // nil while it runs
	Code         *string
	PromptTokens *int
	ImageTokens  *int
	TextTokens   *int
	CostMicros   *int64 // millionths of a US dollar
	RequestID    *string
}

// An AttemptOutcome ends an attempt.
type AttemptOutcome struct {
	GenerationID string    `json:"generation_id"`
	N            int       `json:"n"`
	Outcome      string    `json:"outcome"`
	Code         string    `json:"code,omitempty"`
	FinishedAt   time.Time `json:"finished_at"`
	PromptTokens int       `json:"prompt_tokens"`
	ImageTokens  int       `json:"image_tokens"`
	TextTokens   int       `json:"text_tokens"`
	CostMicros   int64     `json:"cost_micros"`
	RequestID    string    `json:"request_id,omitempty"`
}

// BeginAttempt records a paid call that is about to be made beyond those of the
// first claim, and returns its number. It returns ErrFenced if the run may no
// longer make any.
func (db *DB) BeginAttempt(ctx context.Context, c *Claim, imageIndex int, route, model string) (int, error) {
	rows, err := db.q.Query(ctx, `
		WITH own AS (
			UPDATE generation
			SET attempts = attempts + 1
			WHERE id = @id AND project_id = @project_id AND fence = @fence AND status = 'processing'
			RETURNING *
		)
		INSERT INTO attempt (generation_id, n, org_id, project_id, fence, image_index, route, model, started_at)
		SELECT id, attempts, org_id, project_id, fence, @image_index, @route, @model, now() FROM own
		RETURNING n`,
		pgx.NamedArgs{
			"id": c.ID, "project_id": c.ProjectID, "fence": c.Fence, "image_index": imageIndex,
			"route": route, "model": model,
		})
	if err != nil {
		return 0, fmt.Errorf("begin attempt of %s: %w", c.ID, err)
	}
	n, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int])
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrFenced
	}
	if err != nil {
		return 0, fmt.Errorf("begin attempt of %s: %w", c.ID, err)
	}
	return n, nil
}

// Attempts returns the paid calls of a project's generations, each
// generation's in the order they were made.
func (db *DB) Attempts(ctx context.Context, projectID string, generationIDs []string) ([]*Attempt, error) {
	attempts, err := many[Attempt](ctx, db, `
		SELECT `+columns[Attempt]("")+` FROM attempt
		WHERE project_id = @project_id AND generation_id = ANY(@ids)
		ORDER BY generation_id, n`,
		pgx.NamedArgs{"project_id": projectID, "ids": generationIDs})
	if err != nil {
		return nil, fmt.Errorf("list attempts: %w", err)
	}
	return attempts, nil
}
