package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

const (
	// eraseTime is how long one run erases before it lets other maintenance go first.
	eraseTime = 2 * time.Minute
	// eraseAgain is how long after it was asked for an erasure is done once more: a
	// request that was let in before the keys were revoked, and whose process then
	// froze, may have left something behind the first.
	eraseAgain = time.Hour
)

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
		if e.late(began) {
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
	for n := sweepSize; n > 0; {
		if e.late(began) {
			return river.JobSnooze(time.Second)
		}
		var err error
		if n, err = e.w.opts.DB.EraseOrgEvents(ctx, job.Args.OrgID, sweepSize); err != nil {
			return err
		}
	}
	if err := e.w.opts.DB.EraseOrg(ctx, job.Args.OrgID); err != nil {
		return err
	}
	if time.Since(job.CreatedAt) < eraseAgain {
		return river.JobSnooze(eraseAgain)
	}
	return nil
}

// late reports whether a run that has begun then is to leave the rest to the next.
func (e *eraseOrg) late(began time.Time) bool {
	return e.w.stopping.Load() || time.Since(began) > eraseTime
}
