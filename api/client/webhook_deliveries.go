package client

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// EndpointRequest stands for the WebhookURLs of all generations where Deliveries,
// Delivery, Redeliver and Replay ask the id of a webhook endpoint.
const EndpointRequest = "request"

// A Delivery is an event on its way to a webhook endpoint.
type Delivery struct {
	ID            string            `json:"id"` // of the event
	EndpointID    string            `json:"endpoint_id"`
	Event         DeliveredEvent    `json:"event"`
	Status        string            `json:"status"` // "pending", "delivered", "failed" or "held", which waits for a replay
	Attempts      int               `json:"attempts"`
	NextAttemptAt *time.Time        `json:"next_attempt_at"` // while it is pending
	CreatedAt     time.Time         `json:"created_at"`
	EndedAt       *time.Time        `json:"ended_at"`
	Log           []DeliveryAttempt `json:"log"` // the latest, oldest first; not in lists
}

// A DeliveredEvent is what a delivery is of.
type DeliveredEvent struct {
	ID        string    `json:"id"`
	Type      string    `json:"type"`
	CreatedAt time.Time `json:"created_at"`
}

// A DeliveryAttempt is one request to the endpoint.
type DeliveryAttempt struct {
	At       time.Time `json:"at"`
	MS       int64     `json:"ms"`
	Status   int       `json:"status"`   // of the answer; 0 without one
	Error    string    `json:"error"`    // why it does not count as delivered
	Response string    `json:"response"` // the beginning of the answer's body
}

// DeliveryOptions select deliveries. The zero value selects all.
type DeliveryOptions struct {
	Status    string
	EventType string // or a group: "generation.*"
	After     string // start behind the delivery of this id
	PageSize  int    // of one request, up to 100; default 20
}

// Deliveries yields what was sent to a webhook endpoint, or is to be, those of the
// newest events first, as List does. o may be nil.
func (c *Client) Deliveries(ctx context.Context, endpointID string, o *DeliveryOptions) iter.Seq2[*Delivery, error] {
	query := url.Values{}
	if o == nil {
		o = new(DeliveryOptions)
	}
	for name, value := range map[string]string{"status": o.Status, "event_type": o.EventType, "after": o.After} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if o.PageSize > 0 {
		query.Set("limit", strconv.Itoa(o.PageSize))
	}
	return list[Delivery](ctx, c, endpointPath(endpointID)+"/deliveries", query)
}

// Delivery returns the delivery of an event to a webhook endpoint with its latest
// attempts.
func (c *Client) Delivery(ctx context.Context, endpointID, eventID string) (*Delivery, error) {
	return c.delivery(ctx, request{method: http.MethodGet, path: deliveryPath(endpointID, eventID)})
}

// Redeliver sends an event to a webhook endpoint once more, whatever came of it
// before, and returns the delivery as it is then. It is not repeated if the answer
// is lost: the event would be sent twice.
func (c *Client) Redeliver(ctx context.Context, endpointID, eventID string) (*Delivery, error) {
	return c.delivery(ctx, request{method: http.MethodPost, path: deliveryPath(endpointID, eventID) + "/redeliver", once: true})
}

func (c *Client) delivery(ctx context.Context, r request) (*Delivery, error) {
	r.retries = c.retries
	d := new(Delivery)
	if err := c.call(ctx, r, d); err != nil {
		return nil, err
	}
	return d, nil
}

// ReplayOptions select deliveries to send once more. The zero value selects those
// that were given up or held back, of all events that are kept.
type ReplayOptions struct {
	Since      *time.Time `json:"since,omitempty"` // of events of this time or later
	Until      *time.Time `json:"until,omitempty"` // of events before this time
	Status     []string   `json:"status,omitempty"`
	EventTypes []string   `json:"event_types,omitempty"`
}

// Replay sends a range of events to a webhook endpoint once more, a few at a time,
// and returns how many are on their way, with an error too. It takes 1,000 at a
// time, and repeats no request whose answer is lost. o may be nil.
func (c *Client) Replay(ctx context.Context, endpointID string, o *ReplayOptions) (int, error) {
	body := struct {
		ReplayOptions

		After string `json:"after,omitempty"`
	}{}
	if o != nil {
		body.ReplayOptions = *o
	}
	queued := 0
	for {
		var answer struct {
			Queued     int    `json:"queued"`
			HasMore    bool   `json:"has_more"`
			NextCursor string `json:"next_cursor"`
		}
		r := request{
			method: http.MethodPost, path: endpointPath(endpointID) + "/replay", body: body, retries: c.retries, once: true,
		}
		if err := c.call(ctx, r, &answer); err != nil {
			return queued, err
		}
		queued += answer.Queued
		if !answer.HasMore {
			return queued, nil
		}
		if answer.NextCursor <= body.After {
			return queued, errors.New("replay: the service says there are more and not where")
		}
		body.After = answer.NextCursor
	}
}

func endpointPath(id string) string { return "/v1/webhook_endpoints/" + url.PathEscape(id) }

func deliveryPath(endpointID, eventID string) string {
	return endpointPath(endpointID) + "/deliveries/" + url.PathEscape(eventID)
}
