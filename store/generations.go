package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Status is where a generation stands.
type Status string

// The states. A generation leaves none of the last four.
const (
	StatusQueued     Status = "queued"
	StatusProcessing Status = "processing"
	StatusSucceeded  Status = "succeeded" // at least one image
	StatusFailed     Status = "failed"
	StatusCanceled   Status = "canceled"
	StatusExpired    Status = "expired" // not begun by its deadline
)

// Terminal reports whether the state is final.
func (s Status) Terminal() bool { return s != StatusQueued && s != StatusProcessing }

// KindGenerate makes images from a prompt alone.
const KindGenerate = "generate"

// Priorities of a generation, as callers name its queue.
const (
	PriorityStandard = "standard" // QueueGenerate, the default
	PriorityBatch    = "batch"    // QueueBatch
)

// A Generation is one accepted request for images, from queued to finished.
type Generation struct {
	ID          string
	OrgID       string
	ProjectID   string
	APIKeyID    string
	Kind        string
	Status      Status
	Test        bool   // asked with a test key
	Simulated   bool   // made by the simulator, whatever the key
	Model       string // as asked
	ModelUsed   string // of the catalogue
	Prompt      string
	Params      Params
	N           int // images asked for
	Metadata    map[string]string
	Tags        []string
	Fence       int // names the run that may write
	Tries       int // runs that ended in a fault which counts
	Attempts    int // paid calls begun
	Worker      *string
	RiverJobID  *int64 // the ticket to run it; nil while it is held
	Error       *GenerationError
	ImageErrors []ImageError
	CreatedAt   time.Time
	StartedAt   *time.Time
	FinishedAt  *time.Time
	DeadlineAt  time.Time // not begun by then: expired
	RemovedAt   *time.Time
	Queue       string     // QueueGenerate or QueueBatch
	HeldAt      *time.Time // since when it waits for its organization's turn, without a ticket

	WebhookURL    *string  // is told of it
	WebhookEvents []string // and of what: types of events, or patterns of them

	// What it costs; all are nil for one that is free.
	Credits      *int       // reserved
	Charged      *int       // of these, once it has ended
	CreditMicros *int       // what one costs, in millionths of a US dollar
	CreditPeriod *time.Time // whose account they are taken from
	BatchID      *string    // what it was reserved with; nil: by itself
}

// Held reports whether the generation waits for its organization's turn.
func (g *Generation) Held() bool { return g.HeldAt != nil && !g.Status.Terminal() }

// Params are the choices of a request beside prompt, model and count.
type Params struct {
	Size           string `json:"size,omitempty"`         // as asked: "1024x1024"
	AspectRatio    string `json:"aspect_ratio,omitempty"` // of the model: "16:9"
	Resolution     string `json:"resolution,omitempty"`   // of the model: "1K", "2K", "4K"
	Width          int    `json:"width,omitempty"`        // pixels promised, whoever makes the image; 0: as the provider sends it
	Height         int    `json:"height,omitempty"`
	Style          string `json:"style,omitempty"`
	NegativePrompt string `json:"negative_prompt,omitempty"`
	Quality        string `json:"quality,omitempty"`
	Format         string `json:"format,omitempty"` // "png", "jpeg", "webp"; empty keeps the provider's
	Compression    *int   `json:"compression,omitempty"`
	Background     string `json:"background,omitempty"`
	Seed           *int32 `json:"seed,omitempty"`

	// DowngradedFrom is the quality that would have been asked for, had the budget
	// allowed it.
	DowngradedFrom string `json:"downgraded_from,omitempty"`
}

// A GenerationError says why a generation failed.
type GenerationError struct {
	Code      string `json:"code"` // "content_moderated", "provider_error", ...
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`          // asking again may succeed
	Provider  string `json:"provider,omitempty"` // who said so
	Reason    string `json:"reason,omitempty"`   // the provider's own code
	Stage     string `json:"stage,omitempty"`    // what was refused: "input" or "output"
}

// An ImageError says why one image of a generation is missing.
type ImageError struct {
	Index int             `json:"index"`
	Error GenerationError `json:"error"`
}

var generationColumns = columns[Generation]("")

// Generation returns one generation of a project, or ErrNotFound.
func (db *DB) Generation(ctx context.Context, projectID, id string) (*Generation, error) {
	g, err := one[Generation](ctx, db, `
		SELECT `+generationColumns+` FROM generation
		WHERE project_id = @project_id AND id = @id`,
		pgx.NamedArgs{"project_id": projectID, "id": id})
	if err != nil {
		return nil, fmt.Errorf("generation %s: %w", id, err)
	}
	return g, nil
}

// GenerationProject returns the project of a generation, for callers who hold a
// signed URL instead of a key, or ErrNotFound.
func (db *DB) GenerationProject(ctx context.Context, id string) (string, error) {
	rows, err := db.q.Query(ctx, `
		SELECT project_id FROM generation
		WHERE id = @id`,
		pgx.NamedArgs{"id": id})
	if err != nil {
		return "", fmt.Errorf("project of generation %s: %w", id, err)
	}
	project, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("project of generation %s: %w", id, err)
	}
	return project, nil
}

// GenerationsByID returns those of a project's generations that have the ids given,
// in no particular order.
func (db *DB) GenerationsByID(ctx context.Context, projectID string, ids []string) ([]*Generation, error) {
	found, err := many[Generation](ctx, db, `
		SELECT `+generationColumns+` FROM generation
		WHERE project_id = @project_id AND id = ANY(@ids)`,
		pgx.NamedArgs{"project_id": projectID, "ids": ids})
	if err != nil {
		return nil, fmt.Errorf("look up %d generations: %w", len(ids), err)
	}
	return found, nil
}

// GenerationStatus returns only the state of a generation of a project, or
// ErrNotFound: what a waiting caller re-reads.
func (db *DB) GenerationStatus(ctx context.Context, projectID, id string) (Status, error) {
	rows, err := db.q.Query(ctx, `
		SELECT status FROM generation
		WHERE project_id = @project_id AND id = @id`,
		pgx.NamedArgs{"project_id": projectID, "id": id})
	if err != nil {
		return "", fmt.Errorf("status of %s: %w", id, err)
	}
	status, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[Status])
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("status of %s: %w", id, err)
	}
	return status, nil
}

// A GenerationFilter selects generations of one project. Zero fields select
// everything.
type GenerationFilter struct {
	Test          bool // those alone that were asked for with a test key
	Status        Status
	Kind          string
	Model         string // as asked or as used
	Tag           string
	Metadata      map[string]string
	Query         string // part of the prompt, any case
	CreatedAfter  *time.Time
	CreatedBefore *time.Time

	After     string // start behind this id, in the order asked
	Before    string // end before this id, in the order asked
	Ascending bool   // oldest first; default newest first
	Limit     int
}

// Generations returns the page of a project's generations that a filter
// selects. With Before, the page is the one that ends there.
func (db *DB) Generations(ctx context.Context, projectID string, f GenerationFilter) ([]*Generation, error) {
	backwards := f.Before != ""
	ascending := f.Ascending != backwards
	order, compare := "DESC", "<"
	if ascending {
		order, compare = "ASC", ">"
	}
	edge := f.After
	if backwards {
		edge = f.Before
	}
	mode := ""
	if f.Test {
		mode = "AND test" // in words, so that their index serves
	}
	page, err := many[Generation](ctx, db, `
		SELECT `+generationColumns+` FROM generation
		WHERE project_id = @project_id `+mode+`
			AND (@edge = '' OR id `+compare+` @edge)
			AND (@status = '' OR status = @status)
			AND (@kind = '' OR kind = @kind)
			AND (@model = '' OR model = @model OR model_used = @model)
			AND (@tag = '' OR tags ? @tag)
			AND (@metadata::jsonb IS NULL OR metadata @> @metadata)
			AND (@query = '' OR position(lower(@query) IN lower(prompt)) > 0)
			AND (@created_after::timestamptz IS NULL OR created_at > @created_after)
			AND (@created_before::timestamptz IS NULL OR created_at < @created_before)
		ORDER BY id `+order+`
		LIMIT @limit`,
		pgx.NamedArgs{
			"project_id": projectID, "edge": edge, "status": string(f.Status), "kind": f.Kind,
			"model": f.Model, "tag": f.Tag, "metadata": f.Metadata, "query": f.Query,
			"created_after": f.CreatedAfter, "created_before": f.CreatedBefore, "limit": f.Limit,
		})
	if err != nil {
		return nil, fmt.Errorf("list generations of %s: %w", projectID, err)
	}
	if backwards {
		for i, j := 0, len(page)-1; i < j; i, j = i+1, j-1 {
			page[i], page[j] = page[j], page[i]
		}
	}
	return page, nil
}

// QueuePosition returns the place in line of a generation that waits for its
// first run, 1 being next: behind the tickets of its queue that are ahead of its
// own, or while it is held behind all of them and its organization's earlier held
// ones. It counts at most 1,000 of either.
func (db *DB) QueuePosition(ctx context.Context, g *Generation) (int, error) {
	const tickets = `
		SELECT FROM ` + RiverSchema + `.river_job
		WHERE state = 'available' AND queue = @queue AND priority = 1`
	sql := `
		SELECT count(*) FROM (` + tickets + `
				AND (scheduled_at, id) < (SELECT scheduled_at, id FROM ` + RiverSchema + `.river_job WHERE id = @ticket)
			LIMIT 1000
		) AS ahead`
	if g.Held() {
		sql = `
			SELECT (SELECT count(*) FROM (` + tickets + ` LIMIT 1000) AS ahead)
				+ (SELECT count(*) FROM (
					SELECT FROM generation
					WHERE org_id = @org_id AND queue = @queue AND finished_at IS NULL AND held_at IS NOT NULL AND id < @id
					LIMIT 1000
				) AS held)`
	}
	rows, err := db.q.Query(ctx, sql,
		pgx.NamedArgs{"queue": g.Queue, "ticket": g.RiverJobID, "org_id": g.OrgID, "id": g.ID})
	if err != nil {
		return 0, fmt.Errorf("queue position: %w", err)
	}
	ahead, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int])
	if err != nil {
		return 0, fmt.Errorf("queue position: %w", err)
	}
	return ahead + 1, nil
}
