package worker

import (
	"context"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
)

// lapseKeys forgets idempotency keys past their time.
type lapseKeys struct {
	river.WorkerDefaults[jobs.LapseKeysArgs]
	w *Worker
}

func (l *lapseKeys) Work(ctx context.Context, _ *river.Job[jobs.LapseKeysArgs]) error {
	for {
		n, err := l.w.opts.DB.LapseIdempotencyKeys(ctx, sweepSize)
		if err != nil || n < sweepSize {
			return err
		}
	}
}
