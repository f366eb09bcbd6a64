package view

import (
	"encoding/json"
	"fmt"

	"github.com/nanobanana/nanobanana/store"
)

// Event shows an event. Of a generation's it shows the generation as it was then,
// for which it takes the rows as they are now; g is nil for other events, which
// carry their data themselves.
func (v *Viewer) Event(base string, e *store.Event, g *store.Generation, images []*store.Image, attempts []*store.Attempt) (*Event, error) {
	event := NewEvent(e.CreatedAt, Event{ID: e.ID, Type: e.Type, Sequence: e.Sequence, ProjectID: e.ProjectID, Test: e.Test})
	if g == nil {
		event.Data = e.Data
		return event, nil
	}
	seen := v.At(e.CreatedAt).Generation(base, AsOf(g, StatusAt(e, g)), images, attempts)
	if e.Data != nil {
		// What the rows do not tell.
		if err := json.Unmarshal(e.Data, seen); err != nil {
			return nil, fmt.Errorf("read data of event %s: %w", e.ID, err)
		}
	}
	event.Data = seen
	return event, nil
}

// StatusAt is where a generation stood at one of its events.
func StatusAt(e *store.Event, g *store.Generation) store.Status {
	switch e.Type {
	case store.EventGenerationQueued:
		return store.StatusQueued
	case store.EventGenerationStarted, store.EventGenerationProgress:
		return store.StatusProcessing
	}
	return g.Status
}
