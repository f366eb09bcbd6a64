package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Types of events.
const (
	EventGenerationQueued    = "generation.queued"
	EventGenerationStarted   = "generation.started"
	EventGenerationProgress  = "generation.progress"
	EventGenerationSucceeded = "generation.succeeded"
	EventGenerationFailed    = "generation.failed"
	EventGenerationCanceled  = "generation.canceled"
	EventGenerationExpired   = "generation.expired"
	EventEndpointDisabled    = "webhook_endpoint.disabled"
	EventKeyExpiring         = "key.expiring"
	EventKeyRevoked          = "key.revoked"
	EventQuotaWarning        = "quota.warning_80"
	EventQuotaExceeded       = "quota.exceeded"
	EventBudgetAlert         = "budget.alert"
	EventTestPing            = "test.ping"
)

// EventRetention is how long events and their deliveries are kept.
const EventRetention = 30 * 24 * time.Hour

// An Event is something that has happened to what a customer owns. It is written
// in the transaction that makes it true.
type Event struct {
	ID        string
	OrgID     string
	ProjectID string
	Sequence  int64 // of the organization's events, without gaps, in the order of their commits
	Type      string
	Test      bool // of what was asked with a test key
	CreatedAt time.Time
	Data      json.RawMessage // of a generation's event: only what its rows do not tell
}

// The ends of the ids of a generation's events, in the order of their sequence.
const (
	stepQueued   = "4"
	stepStarted  = "8"
	stepProgress = "cgko" // one, two, three and four fifths
	stepEnded    = "s"
)

// ProgressSteps is how many times a generation's progress can be told.
const ProgressSteps = len(stepProgress)

const prefixEvent = "evt_"

// NewEventID returns an id for an event that is not a generation's.
func NewEventID() string {
	return prefixEvent + NewGenerationID()[len(prefixGeneration):]
}

// GenerationOfEvent returns the generation an event is of; ok is false if it is
// of none, or not the id of an event.
func GenerationOfEvent(eventID string) (generationID string, ok bool) {
	if !ValidEventID(eventID) || eventID[len(eventID)-1] == '0' {
		return "", false
	}
	return prefixGeneration + eventID[len(prefixEvent):len(eventID)-1] + "0", true
}

// ValidEventID reports whether id could be an event's.
func ValidEventID(id string) bool {
	raw, err := decodeID(id, prefixEvent)
	return err == nil && raw[15]&0x08 == 0
}

// eventIDs returns the ids that a generation's events may have.
func eventIDs(generationID string) []string {
	stem := prefixEvent + generationID[len(prefixGeneration):len(generationID)-1]
	var ids []string
	for _, step := range stepQueued + stepStarted + stepProgress + stepEnded {
		ids = append(ids, stem+string(step))
	}
	return ids
}

// eventOf is the SQL for the id of a generation's event.
func eventOf(generationID, step string) string {
	return `'` + prefixEvent + `' || substr(` + generationID + `, 5, 25) || ` + step
}

// generationOf is the SQL for the id of the generation that an event is of.
func generationOf(eventID string) string {
	return `'` + prefixGeneration + `' || substr(` + eventID + `, 5, 25) || '0'`
}

// An EventFilter selects events of one project. Zero fields select everything.
type EventFilter struct {
	Test       bool     // those of test keys, or those of live keys
	Types      []string // any of these
	After      int64    // start behind this number, in the order asked
	Before     int64    // end before this number, in the order asked; 0: no end
	Descending bool     // newest first; default oldest first
	Limit      int
}

// Events returns the page of a project's events that a filter selects.
func (db *DB) Events(ctx context.Context, projectID string, f EventFilter) ([]*Event, error) {
	low, high := f.After, f.Before
	if f.Descending {
		low, high = f.Before, f.After
	}
	// With an edge only at the end, the page is the one that ends there.
	backwards := f.Before != 0 && f.After == 0
	order := "ASC"
	if f.Descending != backwards {
		order = "DESC"
	}
	page, err := many[Event](ctx, db, `
		SELECT `+columns[Event]("")+` FROM event
		WHERE project_id = @project_id AND test = @test
			AND sequence > @low AND (@high::bigint = 0 OR sequence < @high)
			AND (cardinality(@types::text[]) = 0 OR type = ANY(@types))
		ORDER BY sequence `+order+`
		LIMIT @limit`,
		pgx.NamedArgs{
			"project_id": projectID, "test": f.Test, "low": low, "high": high,
			"types": append([]string{}, f.Types...), "limit": f.Limit,
		})
	if err != nil {
		return nil, fmt.Errorf("list events of %s: %w", projectID, err)
	}
	if backwards {
		for i, j := 0, len(page)-1; i < j; i, j = i+1, j-1 {
			page[i], page[j] = page[j], page[i]
		}
	}
	return page, nil
}

// Event returns one event of a project, or ErrNotFound.
func (db *DB) Event(ctx context.Context, projectID, id string) (*Event, error) {
	event, err := one[Event](ctx, db, `
		SELECT `+columns[Event]("")+` FROM event
		WHERE project_id = @project_id AND id = @id`,
		pgx.NamedArgs{"project_id": projectID, "id": id})
	if err != nil {
		return nil, fmt.Errorf("event %s: %w", id, err)
	}
	return event, nil
}

// GenerationEvents returns the events of a project's generation that come after
// a number, in order; 0 begins.
func (db *DB) GenerationEvents(ctx context.Context, projectID, generationID string, after int64) ([]*Event, error) {
	events, err := many[Event](ctx, db, `
		SELECT `+columns[Event]("")+` FROM event
		WHERE id BETWEEN `+eventOf("@id::text", "'"+stepQueued+"'")+` AND `+eventOf("@id::text", "'"+stepEnded+"'")+`
			AND project_id = @project_id AND sequence > @after
		ORDER BY sequence`,
		pgx.NamedArgs{"project_id": projectID, "id": generationID, "after": after})
	if err != nil {
		return nil, fmt.Errorf("events of %s: %w", generationID, err)
	}
	return events, nil
}
