package worker

import (
	"context"
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
)

// sessionsKept is how long a session and a mailed link are kept past their time, for
// whoever asks what happened.
const sessionsKept = 30 * 24 * time.Hour

// expireSessions forgets sessions and mailed links long past their time.
type expireSessions struct {
	river.WorkerDefaults[jobs.ExpireSessionsArgs]
	w *Worker
}

func (e *expireSessions) Work(ctx context.Context, _ *river.Job[jobs.ExpireSessionsArgs]) error {
	before := time.Now().Add(-sessionsKept)
	for {
		if n, err := e.w.opts.DB.ExpireSessions(ctx, before, sweepSize); err != nil || n < sweepSize {
			return err
		}
	}
}
