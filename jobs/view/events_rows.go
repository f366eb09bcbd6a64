package view

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nanobanana/nanobanana/store"
)

// LoadEvents shows events of a project, in the order given: the bodies of their
// webhooks. It takes a query for the generations they are of, and those of Read.
func (v *Viewer) LoadEvents(ctx context.Context, db *store.DB, project, base string, events []*store.Event) ([]*Event, error) {
	of := map[string]*store.Generation{}
	for _, e := range events {
		if id, ok := store.GenerationOfEvent(e.ID); ok {
			of[id] = nil
		}
	}
	rows := &Rows{}
	if len(of) > 0 {
		ids := make([]string, 0, len(of))
		for id := range of {
			ids = append(ids, id)
		}
		list, err := db.GenerationsByID(ctx, project, ids)
		if err != nil {
			return nil, err
		}
		for _, g := range list {
			of[g.ID] = g
		}
		if rows, err = Read(ctx, db, project, list); err != nil {
			return nil, err
		}
	}
	shown := make([]*Event, len(events))
	for i, e := range events {
		var err error
		id, _ := store.GenerationOfEvent(e.ID)
		if shown[i], err = v.Event(base, e, of[id], rows); err != nil {
			return nil, err
		}
	}
	return shown, nil
}

// Event shows an event; g is the generation that it is of, nil for another, and rows
// are what Read says of it. An end shows the generation as it is, an earlier event
// as it was then, with what the event itself says laid over it.
func (v *Viewer) Event(base string, e *store.Event, g *store.Generation, rows *Rows) (*Event, error) {
	out := NewEvent(e.CreatedAt, Event{
		ID: e.ID, Type: e.Type, Sequence: e.Sequence, ProjectID: e.ProjectID, Test: e.Test, Data: e.Data,
	})
	if e.Data == nil {
		out.Data = struct{}{}
	}
	if g == nil {
		return out, nil
	}
	var data *Generation
	switch status := statusOf(e.Type); {
	case status.Terminal():
		data = v.show(base, g, rows)
	default:
		data = v.At(e.CreatedAt).show(base, AsOf(g, status), &Rows{Deliveries: rows.Deliveries})
	}
	if e.Data != nil {
		if err := json.Unmarshal(e.Data, data); err != nil {
			return nil, fmt.Errorf("read data of %s: %w", e.ID, err)
		}
	}
	out.Data = data
	return out, nil
}

// statusOf is the state that a generation entered with an event, or was in.
func statusOf(eventType string) store.Status {
	switch eventType {
	case store.EventGenerationQueued:
		return store.StatusQueued
	case store.EventGenerationStarted, store.EventGenerationProgress:
		return store.StatusProcessing
	}
	_, status, _ := strings.Cut(eventType, ".")
	return store.Status(status)
}
