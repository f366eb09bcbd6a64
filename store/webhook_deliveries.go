package store

import "time"

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
	CreatedAt     time.Time
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
// tickets are there at NetAt in case it does not.
type Sender struct {
	Worker string
	NetAt  time.Time
}
