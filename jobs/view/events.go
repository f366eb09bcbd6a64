package view

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nanobanana/nanobanana/jobs/webhook"
)

// An Event says what happened: the body of a webhook.
type Event struct {
	ID         string    `json:"id"`
	Object     string    `json:"object" enum:"event"`
	Type       string    `json:"type" example:"generation.succeeded"`
	APIVersion string    `json:"api_version"`
	CreatedAt  int64     `json:"created_at" doc:"In Unix seconds"`
	Timestamp  time.Time `json:"timestamp" doc:"created_at in RFC 3339"`
	Sequence   int64     `json:"sequence" doc:"Numbers the organization's events, without gaps, in the order in which they came to be"`
	ProjectID  string    `json:"project_id"`
	Test       bool      `json:"test" doc:"Of what was asked with a test key"`
	Data       any       `json:"data" doc:"Of a generation's event: the generation as it was then"`
}

// EventGeneration is the data of a generation's event that would have been too
// long.
type EventGeneration struct {
	Generation

	Truncated []string `json:"truncated,omitempty" doc:"Members that were shortened or emptied to keep the event small; GET urls.self tells all"`
}

// NewEvent returns an event of a moment, with what all events have in common
// filled in: object, api_version, created_at and timestamp.
func NewEvent(at time.Time, e Event) *Event {
	e.Object, e.APIVersion = "event", webhook.APIVersion
	e.CreatedAt, e.Timestamp = at.Unix(), at.UTC()
	return &e
}

// Body returns the event as JSON of fewer than maxBytes bytes. To that end it
// shortens data that is a *Generation as far as needed, and says so in
// data.truncated; with webhook.MaxBody it always can. Other data that is too long is
// an error.
func (e *Event) Body(maxBytes int) ([]byte, error) {
	body, err := encode(e)
	if err != nil {
		return nil, fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	if len(body) < maxBytes {
		return body, nil
	}
	if g, ok := e.Data.(*Generation); ok {
		data := &EventGeneration{Generation: *g}
		short := *e
		short.Data = data
		for _, shorten := range shortenings {
			shorten(data)
			if body, err = encode(&short); err != nil {
				return nil, fmt.Errorf("encode event %s: %w", e.ID, err)
			}
			if len(body) < maxBytes {
				return body, nil
			}
		}
	}
	return nil, fmt.Errorf("event %s has %d bytes, and may only have fewer than %d", e.ID, len(body), maxBytes)
}

// encode writes JSON as answers have it.
func encode(v any) ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), nil
}
