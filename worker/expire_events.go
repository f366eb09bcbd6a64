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
	// expireSize is how many events one of its transactions forgets.
	expireSize = 4000
	// scheduleTime is longer than all attempts of a delivery take.
	scheduleTime = 4 * 24 * time.Hour
)

// expireEvents forgets events, deliveries and webhook secrets past their time, the
// oldest events first, and finds deliveries that nobody would attempt any more.
type expireEvents struct {
	river.WorkerDefaults[jobs.ExpireEventsArgs]
	w *Worker
}

func (e *expireEvents) Work(ctx context.Context, _ *river.Job[jobs.ExpireEventsArgs]) error {
	now := time.Now()
	return errors.Join(
		e.expire(ctx, now.Add(-store.EventRetention)),
		e.w.rescueErrands(ctx, scheduleTime),
		e.w.opts.DB.ExpireWebhookSecrets(ctx, now))
}

// expire forgets what is older than before.
func (e *expireEvents) expire(ctx context.Context, before time.Time) error {
	for {
		if n, err := e.w.opts.DB.ExpireEvents(ctx, before, expireSize); err != nil || n < expireSize {
			return err
		}
	}
}
