package jobs

import (
	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/store"
)

// QueueWebhook is for requests to customers' servers.
const QueueWebhook = store.QueueWebhook

// DeliverArgs ask a worker to attempt the delivery of an event to an endpoint, or
// to the webhook_url that store.EndpointRequest stands for.
type DeliverArgs struct {
	EventID    string `json:"event"`
	EndpointID string `json:"endpoint"`
}

// Kind names the job to River.
func (DeliverArgs) Kind() string { return store.ErrandKind }

// InsertOpts are those of the tickets that the store makes.
func (DeliverArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueWebhook, MaxAttempts: store.TicketAttempts}
}
