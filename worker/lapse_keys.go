package worker

import (
	"context"
	"errors"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
)

// lapseKeys forgets idempotency keys past their time, rate limits of which nothing is
// used, and what API keys used long ago.
type lapseKeys struct {
	river.WorkerDefaults[jobs.LapseKeysArgs]
	w *Worker
}

func (l *lapseKeys) Work(ctx context.Context, _ *river.Job[jobs.LapseKeysArgs]) error {
	return errors.Join(
		sweep(ctx, l.w.opts.DB.LapseIdempotencyKeys),
		sweep(ctx, l.w.opts.DB.LapseRateLimits),
		sweep(ctx, l.w.opts.DB.LapseAPIKeyUsage),
	)
}

// sweep forgets rows, some at a time, until none is left to forget.
func sweep(ctx context.Context, lapse func(ctx context.Context, limit int) (int, error)) error {
	for {
		n, err := lapse(ctx, sweepSize)
		if err != nil || n < sweepSize {
			return err
		}
	}
}
