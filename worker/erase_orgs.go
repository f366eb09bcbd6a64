package worker

import (
	"context"
	"fmt"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
)

// eraseOrgs queues the erasure of deleted organizations again that has been given up,
// or has found something in its last run.
type eraseOrgs struct {
	river.WorkerDefaults[jobs.EraseOrgsArgs]
	w *Worker
}

// Work queues all that are due. One that waits or is under way is not queued twice.
func (e *eraseOrgs) Work(ctx context.Context, _ *river.Job[jobs.EraseOrgsArgs]) error {
	last := ""
	for {
		orgs, err := e.w.opts.DB.UnerasedOrgs(ctx, eraseAgain, last, sweepSize)
		if err != nil {
			return err
		}
		for _, org := range orgs {
			if _, err := e.w.river.Insert(ctx, jobs.EraseOrgArgs{OrgID: org}, nil); err != nil {
				return fmt.Errorf("queue the erasure of %s: %w", org, err)
			}
		}
		if len(orgs) < sweepSize {
			return nil
		}
		last = orgs[len(orgs)-1]
	}
}
