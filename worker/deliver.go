package worker

import (
	"context"
	"errors"
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
)

// Times of an attempt that a ticket asks for.
const (
	// deliverWait is how long it waits for its turn while it keeps a slot: enough
	// where attempts are quick.
	deliverWait = 300 * time.Millisecond
	// deliverTimeout bounds the whole of it.
	deliverTimeout = webhook.Timeout + 15*time.Second
	// deliverLongest is when its ticket is taken for lost.
	deliverLongest = deliverTimeout + 15*time.Second
	// deliverSlots is how many attempts that tickets ask for run at the same time.
	deliverSlots = 500
)

// deliver attempts deliveries: those that nobody was to attempt at once, and those
// that failed. Its ticket ends with the attempt; one that failed is followed by
// another ticket.
type deliver struct {
	river.WorkerDefaults[jobs.DeliverArgs]
	w *Worker
}

// Timeout of one attempt.
func (d *deliver) Timeout(*river.Job[jobs.DeliverArgs]) time.Duration { return deliverTimeout }

// NextRetry is for an attempt that could not begin or be written down: the
// database was away.
func (d *deliver) NextRetry(job *river.Job[jobs.DeliverArgs]) time.Time {
	return time.Now().Add(d.w.opts.Backoff(min(job.Attempt, 10)))
}

// Work makes one attempt. It returns nil whatever it came to. Where there is no
// place it gives up its slot: the delivery goes back to those that wait.
func (d *deliver) Work(ctx context.Context, job *river.Job[jobs.DeliverArgs]) error {
	e := store.Errand{EndpointID: job.Args.EndpointID, EventID: job.Args.EventID, Ticket: job.ID}
	err := d.w.courier.attempt(ctx, parcel{Errand: e}, deliverWait)
	if errors.Is(err, errNoPlace) {
		_, err = d.w.courier.backs.Do(ctx, e)
	}
	return err
}

// keepReleasing lets the deliveries through that are due, until ctx ends: faster
// while there are many, so that what has piled up is not long at a receiver that
// keeps up. Of the living workers one does it.
func (w *Worker) keepReleasing(ctx context.Context) {
	const many, soon = 8, 100 * time.Millisecond
	for pause := watchEvery; ; {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		pause = watchEvery
		if !w.first.Load() {
			continue
		}
		w.step(ctx, "release webhooks", func(ctx context.Context) error {
			n, err := w.opts.DB.ReleaseErrands(ctx, w.opts.Ahead())
			if n >= many {
				pause = soon
			}
			return err
		})
	}
}

// recoverErrands hands the attempts of silent workers to the living, and those
// that a worker was given and does not know of.
func (w *Worker) recoverErrands(ctx context.Context, silent []store.Silence) error {
	hurried := 0
	if len(silent) > 0 {
		names := make([]string, len(silent))
		for i, s := range silent {
			names[i] = s.Worker
		}
		var err error
		if hurried, err = w.opts.DB.HurryErrands(ctx, names, netAfter+w.opts.Ahead()); err != nil {
			return err
		}
	}
	retaken, err := w.opts.DB.RetakeErrands(ctx, silent, deliverLongest)
	if hurried+retaken > 0 {
		w.opts.Logger.Warn("webhooks of silent workers taken over", "not_begun", hurried, "running", retaken)
	}
	return err
}

// rescueErrands makes good what should not be: deliveries younger than age that
// nobody would attempt any more.
func (w *Worker) rescueErrands(ctx context.Context, age time.Duration) error {
	found, err := w.opts.DB.RescueErrands(ctx, age)
	if found > 0 {
		w.opts.Logger.Error("webhooks had no ticket and wait for one", "deliveries", found)
	}
	return err
}

// webhookTime is the time that webhooks go by.
func (w *Worker) webhookTime() time.Time { return time.Now().Add(w.opts.Ahead()) }
