package worker

import (
	"context"
	"errors"
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// keepWatch, each second until ctx ends, hands the tickets of dead workers to
// the living, admits what has room and ends what came too late. Every worker
// does it: whichever comes first has done it for all.
func (w *Worker) keepWatch(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	orphans := map[int64]time.Time{}
	for turn := 0; ; turn++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if w.pulse.mayJudge(time.Now()) {
			w.watched(ctx, "take over", w.takeOver(ctx, orphans))
		} else {
			clear(orphans)
		}
		_, err := w.opts.DB.AdmitHeld(ctx)
		w.watched(ctx, "admit", err)
		if turn%expireTurns == 0 {
			_, err := w.opts.DB.ExpireOverdue(ctx, maxOverdue)
			w.watched(ctx, "expire", err)
		}
	}
}

func (w *Worker) watched(ctx context.Context, step string, err error) {
	if err != nil && ctx.Err() == nil {
		w.opts.Logger.Warn("watch failed, trying each second", "step", step, "error", err)
	}
}

// Looking for what is overdue reads all that waits, so it is for each fifth turn,
// and ends so many at once.
const (
	expireTurns = 5
	maxOverdue  = 500
)

// takeOver gives fresh tickets to the generations of dead workers, and to those
// of this worker's tickets that it does not know: an answer of the queue may
// have been lost with its connection.
func (w *Worker) takeOver(ctx context.Context, orphans map[int64]time.Time) error {
	silent, err := w.opts.DB.SilentTickets(ctx, store.WorkerSilence)
	if err != nil {
		return err
	}
	own, err := w.orphaned(ctx, orphans)
	if err != nil {
		return err
	}
	tickets := append(silent, own...)
	if len(tickets) == 0 {
		return nil
	}
	moved, err := w.opts.DB.TakeTickets(ctx, tickets)
	if err != nil {
		return err
	}
	w.opts.Logger.Warn("tickets of silent workers ended", "tickets", len(silent), "unknown", len(own), "generations", moved)
	return nil
}

// orphaned returns this worker's tickets that have been unknown to it for longer
// than the queue takes to write what came of one.
func (w *Worker) orphaned(ctx context.Context, since map[int64]time.Time) ([]int64, error) {
	tickets, err := w.opts.DB.OwnTickets(ctx, w.opts.ID)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	still := make(map[int64]bool, len(tickets))
	var orphaned []int64
	for _, id := range tickets {
		if w.roll.has(id) {
			continue
		}
		still[id] = true
		if _, ok := since[id]; !ok {
			since[id] = now
		}
		if now.Sub(since[id]) >= store.WorkerSilence {
			orphaned = append(orphaned, id)
		}
	}
	for id := range since {
		if !still[id] {
			delete(since, id)
		}
	}
	return orphaned, nil
}

// reconcile makes good what no part of the service should have left behind.
type reconcile struct {
	river.WorkerDefaults[jobs.ReconcileArgs]
	w *Worker
}

// Work looks at the state as it is and says what it had to mend.
func (r *reconcile) Work(ctx context.Context, _ *river.Job[jobs.ReconcileArgs]) error {
	db, logger := r.w.opts.DB, r.w.opts.Logger
	found, err := db.TicketTicketless(ctx)
	if found > 0 {
		logger.Error("generations had no ticket and got one", "generations", found)
	}
	recounted, countErr := db.Recount(ctx)
	for _, c := range recounted {
		logger.Error("generations were miscounted", "org", c.OrgID, "queue", c.Queue,
			"was_running", c.WasRunning, "running", c.Running, "was_held", c.WasHeld, "held", c.Held)
	}
	return errors.Join(err, countErr, db.RemoveDeadWorkers(ctx, time.Hour))
}
