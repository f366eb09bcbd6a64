package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// QueueWebhook is the queue of deliveries.
const QueueWebhook = "webhook"

// ErrandKind is the kind of a ticket to attempt a delivery. Its arguments are the
// event and the endpoint.
const ErrandKind = "webhook"

// EndpointRequest stands for the webhook_url of the generation that an event is of.
const EndpointRequest = "request"

// States of a delivery.
const (
	DeliveryPending   = "pending"
	DeliveryDelivered = "delivered"
	DeliveryFailed    = "failed" // given up
	DeliveryHeld      = "held"   // its endpoint is disabled: kept for a replay
)

// A Delivery is an event on its way to an endpoint.
type Delivery struct {
	EndpointID    string // or EndpointRequest
	EventID       string
	OrgID         string
	ProjectID     string
	State         string
	Tries         int // attempts since it was last queued: its place in the schedule
	Attempts      int // of all time
	Ticket        *int64
	NextAttemptAt *time.Time // while it is pending
	CreatedAt     time.Time  // when the event was, too
	EndedAt       *time.Time
	Log           []DeliveryAttempt // the latest, oldest first
}

// A DeliveryAttempt is one request to a customer's server.
type DeliveryAttempt struct {
	At       time.Time `json:"at"`
	MS       int64     `json:"ms"`
	Status   int       `json:"status,omitempty"`   // of HTTP; 0 without an answer
	Error    string    `json:"error,omitempty"`    // why it failed, for the customer
	Response string    `json:"response,omitempty"` // the beginning of the answer's body
}

// An Errand is a delivery and the ticket that allows one attempt of it.
type Errand struct {
	EndpointID string
	EventID    string
	Ticket     int64
}

// A Sender is a worker that attempts at once what it causes to be delivered. The
// tickets are there Net later in case it does not.
type Sender struct {
	Worker string
	Net    time.Duration
}

// A KnownDelivery is a delivery and the type of its event.
type KnownDelivery struct {
	Delivery

	EventType string
}

// deliveryArgs are those of endpointSQL for the delivery of one event; "" is none in
// particular.
func deliveryArgs(scope Scope, endpointID, eventID string) pgx.NamedArgs {
	generation, _ := GenerationOfEvent(eventID)
	return scope.args(pgx.NamedArgs{"endpoint_id": endpointID, "event_id": eventID, "generation_id": generation})
}

// endpointSQL finds an endpoint of a scope, one that was deleted included: what was
// sent to it can be looked up as long as it is kept.
var endpointSQL = `
			SELECT deleted_at IS NOT NULL AS deleted, disabled_at IS NOT NULL AS disabled, ` + answersSQL("webhook_endpoint") + ` AS healthy
			FROM webhook_endpoint
			WHERE id = @endpoint_id AND org_id = @org_id AND project_id = @project_id AND test = @test
			UNION ALL
			SELECT webhook_url IS NULL, false, true
			FROM generation
			WHERE @endpoint_id = '` + EndpointRequest + `' AND id = @generation_id AND project_id = @project_id AND test = @test`

// deliveriesTo is the SQL that selects the deliveries "d" of events "e" to an
// endpoint of a scope; with EndpointRequest, to all its webhook_urls. That one is
// spelt out for the index webhook_delivery_request to serve it.
func deliveriesTo(endpointID string) string {
	if endpointID == EndpointRequest {
		return `d.endpoint_id = '` + EndpointRequest + `' AND d.org_id = @org_id AND d.project_id = @project_id AND e.test = @test`
	}
	return `d.endpoint_id = @endpoint_id AND d.project_id = @project_id AND EXISTS (` + endpointSQL + `)`
}

// receiverSQL finds what deliveriesTo selects for, as endpointSQL. A scope always
// has its webhook_urls, though there may be none.
func receiverSQL(endpointID string) string {
	if endpointID == EndpointRequest {
		return `SELECT false AS deleted, false AS disabled`
	}
	return endpointSQL
}

var knownColumns = columns[Delivery]("d") + ", e.type AS event_type"

// behindIDs comes after every id.
const behindIDs = "~"

// A DeliveryFilter selects deliveries to one endpoint. Zero fields select
// everything.
type DeliveryFilter struct {
	State  string
	Types  []string // of the event: any of these
	After  string   // start behind the delivery of this event, in the order asked
	Before string   // end before the delivery of this event, in the order asked
	Limit  int
}

// Deliveries returns the page of deliveries to an endpoint of a scope that a filter
// selects, those of the newest events first, in the order of their ids. With Before,
// the page is the one that ends there. EndpointRequest lists what all webhook_urls of
// the scope are told. It returns ErrNotFound if there is no such endpoint.
func (db *DB) Deliveries(ctx context.Context, scope Scope, endpointID string, f DeliveryFilter) ([]*KnownDelivery, error) {
	args := deliveryArgs(scope, endpointID, "")
	args["state"], args["types"], args["limit"] = f.State, append([]string{}, f.Types...), f.Limit
	order, compare := "DESC", "<"
	args["edge"] = cmp.Or(f.After, behindIDs)
	if f.Before != "" {
		order, compare = "ASC", ">"
		args["edge"] = f.Before
	}
	var known bool
	var page []*KnownDelivery
	var batch pgx.Batch // one round trip
	batch.Queue(`SELECT EXISTS (`+receiverSQL(endpointID)+`)`, args).QueryRow(func(row pgx.Row) error { return row.Scan(&known) })
	// Both sides of the join have the edge, always: a merge reads both from there.
	batch.Queue(`
		SELECT `+knownColumns+`
		FROM webhook_delivery AS d JOIN event AS e ON e.id = d.event_id
		WHERE `+deliveriesTo(endpointID)+`
			AND d.event_id `+compare+` @edge AND e.id `+compare+` @edge
			AND (@state = '' OR d.state = @state)
			AND (cardinality(@types::text[]) = 0 OR e.type = ANY(@types))
		ORDER BY d.event_id `+order+`
		LIMIT @limit`, args).Query(func(rows pgx.Rows) (err error) {
		page, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[KnownDelivery])
		return err
	})
	err := db.q.SendBatch(ctx, &batch).Close()
	if err == nil && !known {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("list deliveries to %s: %w", endpointID, err)
	}
	if f.Before != "" {
		slices.Reverse(page)
	}
	return page, nil
}

// Delivery returns the delivery of one event to an endpoint of a scope, or to the
// webhook_url with EndpointRequest; or ErrNotFound.
func (db *DB) Delivery(ctx context.Context, scope Scope, endpointID, eventID string) (*KnownDelivery, error) {
	d, err := one[KnownDelivery](ctx, db, `
		SELECT `+knownColumns+`
		FROM webhook_delivery AS d JOIN event AS e ON e.id = d.event_id
		WHERE d.endpoint_id = @endpoint_id AND d.event_id = @event_id AND d.project_id = @project_id
			AND EXISTS (`+endpointSQL+`)`,
		deliveryArgs(scope, endpointID, eventID))
	if err != nil {
		return nil, fmt.Errorf("delivery of %s to %s: %w", eventID, endpointID, err)
	}
	return d, nil
}

// RequestDeliveries returns how many attempts were made to tell the webhook_url of
// each of a project's generations; those without any are missing.
func (db *DB) RequestDeliveries(ctx context.Context, projectID string, generationIDs []string) (map[string]int, error) {
	var events []string
	for _, id := range generationIDs {
		events = append(events, eventIDs(id)...)
	}
	rows, err := db.q.Query(ctx, `
		SELECT `+generationOf("event_id")+`, sum(attempts)::int
		FROM webhook_delivery
		WHERE endpoint_id = '`+EndpointRequest+`' AND event_id = ANY(@events) AND project_id = @project_id
		GROUP BY 1`,
		pgx.NamedArgs{"project_id": projectID, "events": events})
	if err != nil {
		return nil, fmt.Errorf("count deliveries: %w", err)
	}
	counts := map[string]int{}
	var id string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&id, &n}, func() error {
		counts[id] = n
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count deliveries: %w", err)
	}
	return counts, nil
}
