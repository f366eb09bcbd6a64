package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// webhookDelivery is an event on its way to an endpoint.
type webhookDelivery struct {
	ID            string            `json:"id" doc:"That of the event"`
	Object        string            `json:"object" enum:"webhook_delivery"`
	EndpointID    string            `json:"endpoint_id" doc:"request is the generation's own webhook_url"`
	Event         deliveredEvent    `json:"event"`
	Status        string            `json:"status" enum:"pending,delivered,failed,held" doc:"held: its endpoint was disabled; kept for a replay"`
	Attempts      int               `json:"attempts" doc:"Requests made so far"`
	NextAttemptAt *time.Time        `json:"next_attempt_at" doc:"While it is pending"`
	CreatedAt     time.Time         `json:"created_at"`
	EndedAt       *time.Time        `json:"ended_at"`
	Log           []deliveryAttempt `json:"log" doc:"The latest attempts, oldest first; null in lists"`
}

// deliveredEvent is what is delivered.
type deliveredEvent struct {
	ID        string    `json:"id"`
	Type      string    `json:"type"`
	CreatedAt time.Time `json:"created_at"`
}

// deliveryAttempt is one request to the endpoint.
type deliveryAttempt struct {
	At       time.Time `json:"at"`
	MS       int64     `json:"ms"`
	Status   *int      `json:"status" doc:"Of the answer; null without one"`
	Error    *string   `json:"error" doc:"Why it does not count as delivered"`
	Response *string   `json:"response" doc:"The beginning of the answer's body"`
}

func viewDelivery(d *store.KnownDelivery) *webhookDelivery {
	return &webhookDelivery{
		ID: d.EventID, Object: "webhook_delivery", EndpointID: d.EndpointID,
		Event:  deliveredEvent{ID: d.EventID, Type: d.EventType, CreatedAt: d.CreatedAt.UTC()},
		Status: d.State, Attempts: d.Attempts, NextAttemptAt: utc(d.NextAttemptAt),
		CreatedAt: d.CreatedAt.UTC(), EndedAt: utc(d.EndedAt),
	}
}

// viewAttempts shows the log of a delivery.
func viewAttempts(log []store.DeliveryAttempt) []deliveryAttempt {
	views := make([]deliveryAttempt, len(log))
	for i, a := range log {
		views[i] = deliveryAttempt{At: a.At.UTC(), MS: a.MS, Error: orNil(a.Error), Response: orNil(a.Response)}
		if a.Status != 0 {
			views[i].Status = &a.Status
		}
	}
	return views
}

// checkReceiver refuses an id that neither an endpoint nor a webhook_url has, before
// Postgres sees it.
func checkReceiver(id string) error {
	if id == store.EndpointRequest {
		return nil
	}
	return checkEndpointID(id)
}

type listDeliveriesInput struct {
	ID        string `path:"id" doc:"request is every webhook_url of the project's generations" example:"whep_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Status    string `query:"status" enum:"pending,delivered,failed,held"`
	EventType string `query:"event_type" doc:"A type of event, or generation.* for a group"`
	Limit     int    `query:"limit" minimum:"1" maximum:"100" default:"20"`
	After     string `query:"after" doc:"The id to start behind"`
	Before    string `query:"before" doc:"The id to end before"`
}

// Resolve checks the type of event.
func (in *listDeliveriesInput) Resolve(huma.Context) []error {
	return typeFaults("event_type", in.EventType)
}

type listDeliveriesOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         deliveryList
}

// deliveryList is one page.
type deliveryList struct {
	Object     string             `json:"object" enum:"list"`
	Data       []*webhookDelivery `json:"data" nullable:"false" doc:"By id, the newest first: a generation's events stand where the generation was accepted"`
	HasMore    bool               `json:"has_more" doc:"Whether there are more in the direction asked"`
	FirstID    *string            `json:"first_id"`
	LastID     *string            `json:"last_id"`
	NextCursor *string            `json:"next_cursor" doc:"Send it as after, or as before if that was sent, to get the next page"`
}

func (s *server) listDeliveries(ctx context.Context, in *listDeliveriesInput) (*listDeliveriesOutput, error) {
	if err := checkReceiver(in.ID); err != nil {
		return nil, err
	}
	for name, cursor := range map[string]string{"after": in.After, "before": in.Before} {
		if cursor != "" && !store.ValidEventID(cursor) {
			return nil, refuse("invalid_cursor", "%s is not the id of a delivery; use first_id, last_id or next_cursor of an earlier page.", name)
		}
	}
	if in.After != "" && in.Before != "" {
		return nil, refuse("invalid_cursor", "after and before exclude each other; send one of the two.")
	}
	filter := store.DeliveryFilter{
		State: in.Status, Types: eventTypes(in.EventType), After: in.After, Before: in.Before, Limit: in.Limit + 1,
	}
	var page []*store.KnownDelivery
	err := s.search(ctx, "The list takes too long to find; narrow it with after, or leave out status and event_type.", func(ctx context.Context) (err error) {
		page, err = s.db.Deliveries(ctx, scopeOf(ctx), in.ID, filter)
		return err
	})
	if err != nil {
		return nil, err
	}
	list := deliveryList{Object: "list", Data: []*webhookDelivery{}}
	page, list.HasMore = cutPage(page, in.Limit, in.Before != "")
	for _, d := range page {
		list.Data = append(list.Data, viewDelivery(d))
	}
	list.FirstID, list.LastID, list.NextCursor = edgesOf(page, func(d *store.KnownDelivery) string { return d.EventID }, list.HasMore, in.Before != "")
	return &listDeliveriesOutput{CacheControl: "private, no-cache", Body: list}, nil
}

type deliveryInput struct {
	ID      string `path:"id" doc:"request is the webhook_url of the event's generation" example:"whep_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	EventID string `path:"event_id" example:"evt_06f0r3k8cg7q1v2m4n6p8s9tbs"`
}

type deliveryOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         *webhookDelivery
}

func (s *server) getDelivery(ctx context.Context, in *deliveryInput) (*deliveryOutput, error) {
	return s.delivery(ctx, in, s.db.Delivery)
}

func (s *server) redeliver(ctx context.Context, in *deliveryInput) (*deliveryOutput, error) {
	return s.delivery(ctx, in, s.db.Redeliver)
}

// delivery answers with what find returns of a delivery.
func (s *server) delivery(ctx context.Context, in *deliveryInput,
	find func(ctx context.Context, scope store.Scope, endpointID, eventID string) (*store.KnownDelivery, error),
) (*deliveryOutput, error) {
	if !store.ValidEventID(in.EventID) {
		return nil, store.ErrNotFound
	}
	if err := checkReceiver(in.ID); err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	d, err := find(ctx, scopeOf(ctx), in.ID, in.EventID)
	if err != nil {
		return nil, err
	}
	shown := viewDelivery(d)
	shown.Log = viewAttempts(d.Log)
	return &deliveryOutput{CacheControl: "private, no-cache", Body: shown}, nil
}

// replayBody selects deliveries.
type replayBody struct {
	Since      *time.Time `json:"since,omitempty" doc:"Of events of this time or later; default all that are kept: 30 days"`
	Until      *time.Time `json:"until,omitempty" doc:"Of events before this time; default all"`
	Status     []string   `json:"status,omitempty" nullable:"false" doc:"Any of failed, held and delivered; default failed and held. Pending ones are on their way already."`
	EventTypes []string   `json:"event_types,omitempty" nullable:"false" doc:"Types of events, or generation.* for a group; default all"`
	After      string     `json:"after,omitempty" doc:"Behind the delivery of this id: next_cursor of an earlier answer"`
}

type replayInput struct {
	ID   string `path:"id" doc:"request is every webhook_url of the project's generations" example:"whep_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Body replayBody
}

// replayStates are the states that can be replayed.
func replayStates() []string {
	return []string{store.DeliveryFailed, store.DeliveryHeld, store.DeliveryDelivered}
}

// Resolve checks what the types do not tell.
func (in *replayInput) Resolve(huma.Context) []error {
	errs := typeFaults("event_types", in.Body.EventTypes...)
	for _, state := range in.Body.Status {
		if allowed := replayStates(); !slices.Contains(allowed, state) {
			errs = append(errs, jobFault{jobs.Fault{
				Param: "status", Code: "unsupported_value", Allowed: allowed,
				Message: "status must list any of " + strings.Join(allowed, ", "),
			}})
			break
		}
	}
	if b := in.Body; b.Since != nil && b.Until != nil && !b.Since.Before(*b.Until) {
		errs = append(errs, jobFault{jobs.Fault{Param: "until", Code: "conflict", Message: "until must be later than since"}})
	}
	return errs
}

// replayResult is what came of a replay.
type replayResult struct {
	Object     string  `json:"object" enum:"replay"`
	Queued     int     `json:"queued" doc:"Deliveries that are on their way again, up to 1,000"`
	HasMore    bool    `json:"has_more" doc:"There are more in the range: send next_cursor as after"`
	NextCursor *string `json:"next_cursor"`
}

type replayOutput struct {
	Body replayResult
}

// replay queues once more what there is. An event that an endpoint was never to be
// told of, such as one from before it was made, has no delivery to it and gets none.
func (s *server) replay(ctx context.Context, in *replayInput) (*replayOutput, error) {
	if err := checkReceiver(in.ID); err != nil {
		return nil, err
	}
	if in.Body.After != "" && !store.ValidEventID(in.Body.After) {
		return nil, refuse("invalid_cursor", "after is not next_cursor of an earlier answer; send that, or leave after out to begin at the start of the range.")
	}
	r := store.ReplayRange{
		Since: in.Body.Since, Until: in.Body.Until, States: in.Body.Status,
		Types: eventTypes(in.Body.EventTypes...), After: in.Body.After,
	}
	if len(r.States) == 0 {
		r.States = []string{store.DeliveryFailed, store.DeliveryHeld}
	}
	var replay *store.Replay
	err := s.search(ctx, "The range takes too long to go through; narrow it with since and until.", func(ctx context.Context) (err error) {
		replay, err = s.db.Replay(ctx, scopeOf(ctx), in.ID, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := replayResult{Object: "replay", Queued: replay.Queued, HasMore: replay.More}
	if out.HasMore {
		out.NextCursor = &replay.Last
	}
	return &replayOutput{Body: out}, nil
}
