package api

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
)

// event is the body that the event's webhooks have, byte by byte.
type event struct{ json.RawMessage }

// Schema describes what the bytes are.
func (event) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[view.Event](), true, "Event")
}

type listEventsInput struct {
	Type   string `query:"type" doc:"A type of event, or generation.* for a group" example:"generation.succeeded"`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20"`
	After  string `query:"after" doc:"The id or the sequence number of the event to start behind, in the order asked; 0 is the start. A number is good for ever, an id for the 30 days that events are kept."`
	Before string `query:"before" doc:"The id or the sequence number of the event to end before, in the order asked"`
	Order  string `query:"order" enum:"asc,desc" default:"asc" doc:"By sequence"`
}

// Resolve checks the type.
func (in *listEventsInput) Resolve(huma.Context) []error {
	return typeFaults("type", in.Type)
}

// typeFaults says what is wrong with a filter of events by type; "" is none.
func typeFaults(param string, types ...string) []error {
	if len(types) == 0 || len(types) == 1 && types[0] == "" {
		return nil
	}
	if _, err := webhook.CheckFilter(types); err != nil {
		return []error{jobFault{jobs.Fault{
			Param: param, Code: "unsupported_value", Message: param + ": " + err.Error(), Allowed: webhook.Filters(),
		}}}
	}
	return nil
}

// eventTypes are the types that a filter selects; none: all.
func eventTypes(filter ...string) []string {
	var types []string
	for _, t := range webhook.EventTypes() {
		if webhook.Matches(filter, t.Name) {
			types = append(types, t.Name)
		}
	}
	return types
}

type listEventsOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         eventList
}

// eventList is one page.
type eventList struct {
	Object     string  `json:"object" enum:"list"`
	Data       []event `json:"data" nullable:"false"`
	HasMore    bool    `json:"has_more" doc:"Whether there are more in the direction asked"`
	FirstID    *string `json:"first_id"`
	LastID     *string `json:"last_id"`
	NextCursor *string `json:"next_cursor" doc:"A sequence number. Send it as after, or as before if that was sent, to get the next page; to follow the log, send the last one's sequence as after."`
}

func (s *server) listEvents(ctx context.Context, in *listEventsInput) (*listEventsOutput, error) {
	caller := auth.FromContext(ctx)
	filter, err := s.eventFilter(ctx, caller, in)
	if err != nil {
		return nil, err
	}
	var page []*store.Event
	err = s.search(ctx, "The list takes too long to find; narrow it with after and before, or leave out type.", func(ctx context.Context) (err error) {
		page, err = s.db.Events(ctx, caller.ProjectID, filter)
		return err
	})
	if err != nil {
		return nil, err
	}
	list := eventList{Object: "list"}
	page, list.HasMore = cutPage(page, in.Limit, in.Before != "")
	if list.Data, err = s.viewEvents(ctx, caller.ProjectID, page); err != nil {
		return nil, err
	}
	backwards := in.Before != ""
	list.FirstID, list.LastID, _ = edgesOf(page, func(e *store.Event) string { return e.ID }, list.HasMore, backwards)
	_, _, list.NextCursor = edgesOf(page, func(e *store.Event) string { return strconv.FormatInt(e.Sequence, 10) }, list.HasMore, backwards)
	return &listEventsOutput{CacheControl: "private, no-cache", Body: list}, nil
}

// eventFilter returns what the input selects, one more than the page holds.
func (s *server) eventFilter(ctx context.Context, caller *auth.Caller, in *listEventsInput) (f store.EventFilter, err error) {
	f = store.EventFilter{Test: caller.Test, Types: eventTypes(in.Type), Descending: in.Order == "desc", Limit: in.Limit + 1}
	if in.After != "" && in.Before != "" {
		return f, refuse("invalid_cursor", "after and before exclude each other; send one of the two.")
	}
	if in.After == "0" {
		return f, nil
	}
	if f.After, err = s.eventCursor(ctx, caller, "after", in.After); err != nil {
		return f, err
	}
	f.Before, err = s.eventCursor(ctx, caller, "before", in.Before)
	return f, err
}

// eventCursor returns the sequence number that a cursor stands for; "" is 0.
func (s *server) eventCursor(ctx context.Context, caller *auth.Caller, param, cursor string) (int64, error) {
	if cursor == "" {
		return 0, nil
	}
	if n, err := strconv.ParseInt(cursor, 10, 64); err == nil && n > 0 && cursor[0] != '+' {
		return n, nil
	}
	if !store.ValidEventID(cursor) {
		return 0, refuse("invalid_cursor", "%s is neither the id of an event nor a sequence number from 1 on, such as 17; use next_cursor of an earlier page or an event's sequence, or leave it out.", param)
	}
	e, err := s.findEvent(ctx, caller, cursor)
	if errors.Is(err, store.ErrNotFound) {
		return 0, refuse("invalid_cursor", "%s is not the id of an event that is still kept; send a sequence number such as 17, which is good for ever.", param)
	}
	if err != nil {
		return 0, err
	}
	return e.Sequence, nil
}

// findEvent returns an event of the caller's project and mode, or store.ErrNotFound.
func (s *server) findEvent(ctx context.Context, caller *auth.Caller, id string) (*store.Event, error) {
	if !store.ValidEventID(id) {
		return nil, store.ErrNotFound
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	e, err := s.db.Event(ctx, caller.ProjectID, id)
	if err == nil && e.Test != caller.Test {
		err = store.ErrNotFound
	}
	return e, err
}

// viewEvents shows events of a project.
func (s *server) viewEvents(ctx context.Context, project string, list []*store.Event) ([]event, error) {
	within, cancel := s.bounded(ctx)
	defer cancel()
	views, err := s.views.LoadEvents(within, s.db, project, s.base(requestOf(ctx).http), list)
	if err != nil {
		return nil, err
	}
	events := make([]event, len(views))
	for i, v := range views {
		if events[i].RawMessage, err = v.Body(webhook.MaxBody); err != nil {
			return nil, err
		}
	}
	return events, nil
}

type getEventInput struct {
	ID string `path:"id" example:"evt_06f0r3k8cg7q1v2m4n6p8s9tbs"`
}

type getEventOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         event
}

func (s *server) getEvent(ctx context.Context, in *getEventInput) (*getEventOutput, error) {
	caller := auth.FromContext(ctx)
	e, err := s.findEvent(ctx, caller, in.ID)
	if err != nil {
		return nil, err
	}
	views, err := s.viewEvents(ctx, caller.ProjectID, []*store.Event{e})
	if err != nil {
		return nil, err
	}
	return &getEventOutput{CacheControl: "private, no-cache", Body: views[0]}, nil
}
