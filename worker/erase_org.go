package worker

import (
	"context"
	"errors"
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

// Work erases what it can: a part that fails does not keep the others from it.
func (e *eraseOrg) Work(ctx context.Context, job *river.Job[jobs.EraseOrgArgs]) error {
	began := time.Now()
	org := job.Args.OrgID
	generations, wrong := e.eraseGenerations(ctx, org, began)
	events, wrongEvents := e.eraseEvents(ctx, org, began)
	err := errors.Join(wrong, wrongEvents, e.w.opts.DB.EraseOrg(ctx, org))
	switch {
	case err != nil:
		return err
	case e.late(began):
		return river.JobSnooze(time.Second)
	case time.Since(job.CreatedAt) < eraseAgain:
		return river.JobSnooze(eraseAgain)
	case generations+events > 0:
		return nil // eraseOrgs asks for another
	}
	return e.w.opts.DB.MarkOrgErased(ctx, org)
}

// eraseGenerations removes an organization's generations, and returns how many it has
// found.
func (e *eraseOrg) eraseGenerations(ctx context.Context, org string, began time.Time) (found int, err error) {
	var faults sweepFaults
	var last *store.Unerased
	for !e.late(began) {
		list, err := e.w.opts.DB.UnerasedGenerations(ctx, org, last, sweepSize)
		if err != nil {
			return found, err
		}
		found += len(list)
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
	return found, faults.err("erase generations")
}

// eraseEvents removes an organization's events and what was sent of them, and returns
// how many it has found.
func (e *eraseOrg) eraseEvents(ctx context.Context, org string, began time.Time) (found int, err error) {
	for !e.late(began) {
		n, err := e.w.opts.DB.EraseOrgEvents(ctx, org, sweepSize)
		if err != nil || n == 0 {
			return found, err
		}
		found += n
	}
	return found, nil
}

// late reports whether a run that has begun then is to leave the rest to the next.
func (e *eraseOrg) late(began time.Time) bool {
	return e.w.stopping.Load() || time.Since(began) > eraseTime
}
