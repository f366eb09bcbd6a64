package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// eraseTime is how long one run erases before it lets other maintenance go first.
const eraseTime = 2 * time.Minute

// eraseOrg removes what a deleted organization has entered and received. What is
// removed is not found again, so that a run which is cut short only begins the next.
// The blobs are expireImages' to delete.
type eraseOrg struct {
	river.WorkerDefaults[jobs.EraseOrgArgs]
	w *Worker
}

func (e *eraseOrg) Work(ctx context.Context, job *river.Job[jobs.EraseOrgArgs]) error {
	began := time.Now()
	var faults sweepFaults
	var last *store.Unerased
	for {
		if e.w.stopping.Load() || time.Since(began) > eraseTime {
			return river.JobSnooze(time.Second)
		}
		list, err := e.w.opts.DB.UnerasedGenerations(ctx, job.Args.OrgID, last, sweepSize)
		if err != nil {
			return err
		}
		for _, g := range list {
			if err := jobs.RemoveGeneration(ctx, e.w.river, e.w.opts.DB, g.ProjectID, g.ID); err != nil {
				faults.add(fmt.Errorf("erase %s: %w", g.ID, err))
			}
		}
		if len(list) < sweepSize {
			break
		}
		last = list[len(list)-1]
	}
	if err := faults.err("erase generations"); err != nil {
		return err
	}
	return e.w.opts.DB.EraseOrg(ctx, job.Args.OrgID)
}
