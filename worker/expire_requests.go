package worker

import (
	"context"
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// expireRequests forgets requests that are past their time.
type expireRequests struct {
	river.WorkerDefaults[jobs.ExpireRequestsArgs]
	w *Worker
}

func (e *expireRequests) Work(ctx context.Context, _ *river.Job[jobs.ExpireRequestsArgs]) error {
	before := time.Now().Add(-store.RequestRetention)
	for {
		if n, err := e.w.opts.DB.ExpireRequests(ctx, before, sweepSize); err != nil || n < sweepSize {
			return err
		}
	}
}
