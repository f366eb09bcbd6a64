package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store"
)

// chaosWebhooks counts what customers were sent.
type chaosWebhooks struct {
	Events     int       `json:"events"`
	Deliveries int       `json:"deliveries"`
	Attempts   int       `json:"attempts"`    // recorded ones
	Received   int       `json:"received"`    // deliveries
	Repeated   int       `json:"repeated"`    // of these, more than once: each at least once is promised
	BadAnswers int       `json:"bad_answers"` // given by the receiver on purpose
	EndToHook  quantiles `json:"end_to_hook"` // from a generation's end to its first webhook, where nothing was struck in between
}

// A chaosDelivery is what the rows say of a delivery.
type chaosDelivery struct {
	EndpointID string
	EventID    string
	State      string
	Attempts   int
	Type       string
	Sequence   int64
	Generation string
	Status     string     // of the generation, now
	FinishedAt *time.Time // where the event is the generation's end
}

// deliveries returns every delivery of a generation's event, in the order of the
// events.
func deliveries(ctx context.Context, db *store.DB) ([]*chaosDelivery, error) {
	rows, err := db.Pool().Query(ctx, `
		SELECT d.endpoint_id, d.event_id, d.state, d.attempts, coalesce(e.type, '') AS type, coalesce(e.sequence, 0) AS sequence,
			coalesce(g.id, '') AS generation, coalesce(g.status, '') AS status,
			CASE WHEN e.type = 'generation.' || g.status THEN g.finished_at END AS finished_at
		FROM webhook_delivery AS d
		LEFT JOIN event AS e ON e.id = d.event_id
		LEFT JOIN generation AS g ON substr(g.id, 5, 25) = substr(d.event_id, 5, length(d.event_id) - 5)
		ORDER BY d.event_id, d.endpoint_id`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[chaosDelivery])
}

// arrival is where the delivery's webhook comes.
func (d *chaosDelivery) arrival() chaosArrival { return chaosArrival{d.EndpointID, d.EventID} }

// telling is what the delivery's webhook must say. It shows the generation as of
// the event.
func (d *chaosDelivery) telling() chaosTold {
	status := d.Status
	switch d.Type {
	case store.EventGenerationQueued:
		status = string(store.StatusQueued)
	case store.EventGenerationStarted, store.EventGenerationProgress:
		status = string(store.StatusProcessing)
	}
	return chaosTold{d.Type, d.Sequence, d.Generation, status}
}

// findUndelivered finds deliveries that were not made, or are said to have been
// though nothing came.
func findUndelivered(ctx context.Context, e *chaosEvidence) ([]string, error) {
	all, err := deliveries(ctx, e.db)
	var found []string
	for _, d := range all {
		switch came := e.receipts[d.arrival()].n; {
		case came == 0:
			found = append(found, fmt.Sprintf("%s to %s is %s after %d attempts and did not come", d.EventID, d.EndpointID, d.State, d.Attempts))
		case d.State != store.DeliveryDelivered:
			found = append(found, fmt.Sprintf("%s to %s is %s after %d attempts and came %d times", d.EventID, d.EndpointID, d.State, d.Attempts, came))
		}
	}
	if len(all) == 0 && len(e.jobs) > 0 {
		found = append(found, fmt.Sprintf("nobody was told of %d jobs", len(e.jobs)))
	}
	return found, err
}

// findRefusedWebhooks finds requests that the receiver could not take for
// webhooks.
func findRefusedWebhooks(_ context.Context, e *chaosEvidence) ([]string, error) {
	return e.refused, nil
}

// findFalseWebhooks finds webhooks of no delivery, and those that say something
// else than the rows.
func findFalseWebhooks(ctx context.Context, e *chaosEvidence) ([]string, error) {
	all, err := deliveries(ctx, e.db)
	if err != nil {
		return nil, err
	}
	due := map[chaosArrival]*chaosDelivery{}
	for _, d := range all {
		due[d.arrival()] = d
	}
	var found []string
	for arrival, receipt := range e.receipts {
		d := due[arrival]
		if d == nil {
			found = append(found, fmt.Sprintf("%s came to %s, which no delivery is of", arrival.event, arrival.endpoint))
			continue
		}
		told := receipt.told
		if receipt.other != nil && told == d.telling() {
			told = *receipt.other
		}
		if told != d.telling() {
			found = append(found, fmt.Sprintf("%s told %s %v, the rows say %v", arrival.event, arrival.endpoint, told, d.telling()))
		}
	}
	slices.Sort(found)
	return found, nil
}

// String is what a webhook says, in words.
func (t chaosTold) String() string {
	return fmt.Sprintf("%s number %d of %s, which is %s", t.Type, t.Sequence, cmp.Or(t.Generation, "nothing"), cmp.Or(t.Status, "nothing"))
}

// countWebhooks sums up what customers were sent and what came.
func (r *chaosReport) countWebhooks(ctx context.Context, e *chaosEvidence) error {
	all, err := deliveries(ctx, e.db)
	if err == nil {
		err = e.db.Pool().QueryRow(ctx, `SELECT count(*) FROM event`).Scan(&r.Webhooks.Events)
	}
	if err != nil {
		return fmt.Errorf("count webhooks: %w", err)
	}
	var took []time.Duration
	for _, d := range all {
		r.Webhooks.Attempts += d.Attempts
		receipt, came := e.receipts[d.arrival()]
		if came && d.FinishedAt != nil && undisturbed(e.strikes, *d.FinishedAt, receipt.first) {
			took = append(took, receipt.first.Sub(*d.FinishedAt))
		}
	}
	r.Webhooks.Deliveries, r.Webhooks.Received = len(all), len(e.receipts)
	for _, receipt := range e.receipts {
		r.Webhooks.Repeated += min(receipt.n-1, 1)
	}
	r.Webhooks.EndToHook = quantilesOf(took)
	return nil
}

// undisturbed reports whether no process and not the database was struck between
// two moments.
func undisturbed(strikes []chaosStrike, from, to time.Time) bool {
	return !slices.ContainsFunc(strikes, func(s chaosStrike) bool { return s.blow != blowUpstream && s.overlaps(from, to) })
}
