package worker

import (
	"context"
	"errors"
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

const (
	// expireSpan is how much time one step of expireEvents goes on by.
	expireSpan = time.Hour
	// expireSize is how many events one of its transactions forgets.
	expireSize = 4000
)

// expireEvents forgets events, deliveries and webhook secrets past their time, the
// oldest events first.
type expireEvents struct {
	river.WorkerDefaults[jobs.ExpireEventsArgs]
	w *Worker
}

// scheduleTime is longer than all attempts of a delivery take.
const scheduleTime = 4 * 24 * time.Hour

func (e *expireEvents) Work(ctx context.Context, _ *river.Job[jobs.ExpireEventsArgs]) error {
	now := time.Now()
	return errors.Join(
		e.expire(ctx, now.Add(-store.EventRetention)),
		e.w.rescueErrands(ctx, scheduleTime),
		e.w.opts.DB.ExpireWebhookSecrets(ctx, now))
}

// expire forgets what is older than before.
func (e *expireEvents) expire(ctx context.Context, before time.Time) error {
	from, err := e.w.opts.DB.OldestEvent(ctx, before)
	if err != nil || from.IsZero() {
		return err
	}
	for from.Before(before) {
		to := from.Add(expireSpan)
		if to.After(before) {
			to = before
		}
		n, err := e.w.opts.DB.ExpireEvents(ctx, from, to, expireSize)
		if err != nil {
			return err
		}
		if n < expireSize {
			from = to
		}
	}
	return nil
}
