package jobs

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/nanobanana/nanobanana/store"
)

// QueueBilling is for what Stripe is told and tells.
const QueueBilling = "billing"

// HandleStripeEventArgs ask for what an event of Stripe's is about to be fetched, and
// applied as it is then.
type HandleStripeEventArgs struct {
	EventID string `json:"event"`
}

// Kind names the job to River.
func (HandleStripeEventArgs) Kind() string { return "handle_stripe_event" }

// InsertOpts choose the queue. There is one at a time of an event. What has failed for
// good is queued again.
func (HandleStripeEventArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueBilling, MaxAttempts: 25, UniqueOpts: river.UniqueOpts{
		ByArgs: true,
		ByState: []rivertype.JobState{
			rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
			rivertype.JobStateRunning, rivertype.JobStateScheduled,
		},
	}}
}

// ReportUsageArgs ask for metered use to be reported to Stripe.
type ReportUsageArgs struct{}

// Kind names the job to River.
func (ReportUsageArgs) Kind() string { return "report_usage" }

// InsertOpts choose the queue.
func (ReportUsageArgs) InsertOpts() river.InsertOpts { return everyBilling() }

// SyncBillingArgs ask for what Stripe may have told in vain to be fetched, for events
// that were given up to be handled, and for the subscriptions of deleted organizations
// to be canceled.
type SyncBillingArgs struct{}

// Kind names the job to River.
func (SyncBillingArgs) Kind() string { return "sync_billing" }

// InsertOpts choose the queue.
func (SyncBillingArgs) InsertOpts() river.InsertOpts { return everyBilling() }

// ExpireBillingArgs ask for events of Stripe's that were handled, and reports of use that
// were sent, long ago to be forgotten.
type ExpireBillingArgs struct{}

// Kind names the job to River.
func (ExpireBillingArgs) Kind() string { return "expire_billing" }

// InsertOpts choose the queue.
func (ExpireBillingArgs) InsertOpts() river.InsertOpts { return maintenance() }

func everyBilling() river.InsertOpts {
	return river.InsertOpts{Queue: QueueBilling, MaxAttempts: 1} // the next one does what this has not
}

// handledEvents begin the types of Stripe's events of which something comes.
var handledEvents = []string{"customer.subscription.", "invoice.", "checkout.session.", "charge.refund", "refund.", "charge.dispute.created"}

// TakeStripeEvent keeps an event and queues its handling, the first time it comes. The
// rest of the times nothing happens, nor for a type of which nothing comes.
func (q *Queue) TakeStripeEvent(ctx context.Context, e store.StripeEvent) error {
	if !slices.ContainsFunc(handledEvents, func(begins string) bool { return strings.HasPrefix(e.Type, begins) }) {
		return nil
	}
	return q.db.Transact(ctx, func(tx *store.DB) error {
		first, err := tx.InsertStripeEvent(ctx, e)
		if err != nil || !first {
			return err
		}
		if _, err := q.river.InsertTx(ctx, tx.Tx(), HandleStripeEventArgs{EventID: e.ID}, nil); err != nil {
			return fmt.Errorf("queue event %s of Stripe: %w", e.ID, err)
		}
		return nil
	})
}
