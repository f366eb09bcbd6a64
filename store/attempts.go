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
	Provider     *string // of the route
	Model        string  // upstream name
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
	StartedAt    time.Time `json:"started_at"` // zero for a call that was announced and never made
	FinishedAt   time.Time `json:"finished_at"`
	PromptTokens int       `json:"prompt_tokens"`
	ImageTokens  int       `json:"image_tokens"`
	TextTokens   int       `json:"text_tokens"`
	CostMicros   int64     `json:"cost_micros"`
	RequestID    string    `json:"request_id,omitempty"`
}

// A NewAttempt is a paid call that is about to be made.
type NewAttempt struct {
	ImageIndex int
	Route      string
	Provider   string
	Model      string // upstream name
}

func (a NewAttempt) args(c *Claim) pgx.NamedArgs {
	return pgx.NamedArgs{
		"id": c.ID, "project_id": c.ProjectID, "fence": c.Fence, "image_index": a.ImageIndex,
		"route": a.Route, "provider": a.Provider, "model": a.Model,
	}
}

// BeginAttempt records a paid call that is about to be made beyond those of the
// first claim, and returns its number. What came of the run's earlier ones is
// recorded with it, and why images are missing that are not to be asked for again:
// if the run is lost now, only this call's outcome is unknown. It returns ErrFenced
// if the run may no longer make any.
func (db *DB) BeginAttempt(ctx context.Context, c *Claim, a NewAttempt, earlier []*AttemptOutcome, refused []ImageError) (int, error) {
	outcomes, err := jsonArgs(map[string]any{"attempts": earlier, "refused": refused})
	if err != nil {
		return 0, fmt.Errorf("begin attempt of %s: %w", c.ID, err)
	}
	args := a.args(c)
	args["attempts"], args["refused"] = outcomes["attempts"], outcomes["refused"]
	return db.attempt(ctx, `
		WITH own AS (
			UPDATE generation
			SET attempts = attempts + 1,
				image_errors = CASE WHEN @refused::jsonb = '[]' THEN image_errors ELSE @refused::jsonb END
			WHERE id = @id AND project_id = @project_id AND fence = @fence AND status = 'processing'
			RETURNING id, attempts, org_id, project_id, fence
		), ended AS (`+endAttempts("own")+`
		)
		INSERT INTO attempt (generation_id, n, org_id, project_id, fence, image_index, route, provider, model, started_at)
		SELECT id, attempts, org_id, project_id, fence, @image_index, @route, @provider, @model, now() FROM own
		RETURNING n`, c, args)
}

// endAttempts returns the statement that writes the outcomes in @attempts, of
// generations in from.
func endAttempts(from string) string {
	return `
			UPDATE attempt AS a
			SET outcome = e.outcome,
				code = e.code,
				started_at = CASE WHEN e.started_at > '0001-01-02' THEN e.started_at ELSE a.started_at END,
				finished_at = e.finished_at,
				prompt_tokens = e.prompt_tokens,
				image_tokens = e.image_tokens,
				text_tokens = e.text_tokens,
				cost_micros = e.cost_micros,
				request_id = e.request_id
			FROM json_populate_recordset(NULL::attempt, @attempts) AS e
			JOIN ` + from + ` AS f ON f.id = e.generation_id
			WHERE a.generation_id = e.generation_id AND a.n = e.n`
}

// RerouteAttempt says of a call that the first claim has announced, and that has
// not been made yet, that it goes over another route. It returns ErrFenced if
// the run may no longer make it.
func (db *DB) RerouteAttempt(ctx context.Context, c *Claim, n int, a NewAttempt) error {
	args := a.args(c)
	args["n"] = n
	_, err := db.attempt(ctx, `
		UPDATE attempt AS a
		SET route = @route, provider = @provider, model = @model, started_at = now()
		FROM generation AS g
		WHERE a.generation_id = @id AND a.n = @n AND a.outcome IS NULL AND a.image_index = @image_index
			AND g.id = a.generation_id AND g.project_id = @project_id AND g.fence = @fence AND g.status = 'processing'
		RETURNING a.n`, c, args)
	return err
}

func (db *DB) attempt(ctx context.Context, sql string, c *Claim, args pgx.NamedArgs) (int, error) {
	rows, err := db.q.Query(ctx, sql, args)
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
