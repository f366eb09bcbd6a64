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

// keepWatch, each second until ctx ends, hands the tickets of dead workers to
// the living, admits what has room and ends what came too late. Every worker
// does it: whichever comes first has done it for all.
func (w *Worker) keepWatch(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	orphans := map[int64]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !w.pulse.mayJudge(time.Now()) {
			clear(orphans)
			continue
		}
		for name, step := range map[string]func(context.Context) error{
			"take over": func(ctx context.Context) error { return w.takeOver(ctx, orphans) },
		} {
			if err := step(ctx); err != nil && ctx.Err() == nil {
				w.opts.Logger.Warn("watch failed, trying each second", "step", name, "error", err)
			}
		}
	}
}

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
	var moved int
	err = w.opts.DB.Transact(ctx, func(tx *store.DB) error {
		stranded, err := tx.TakeTickets(ctx, tickets)
		if err != nil {
			return err
		}
		moved = len(stranded)
		return w.ticket(ctx, tx, stranded)
	})
	if err != nil {
		return fmt.Errorf("hand over %d tickets: %w", len(tickets), err)
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

// ticket queues a run for each stranded generation.
func (w *Worker) ticket(ctx context.Context, tx *store.DB, stranded []*store.Stranded) error {
	if len(stranded) == 0 {
		return nil
	}
	params := make([]river.InsertManyParams, len(stranded))
	for i, s := range stranded {
		opts := jobs.GenerateArgs{}.InsertOpts()
		opts.Queue = s.Queue
		params[i] = river.InsertManyParams{Args: jobs.GenerateArgs{GenerationID: s.ID}, InsertOpts: &opts}
	}
	results, err := w.river.InsertManyTx(ctx, tx.Tx(), params)
	if err != nil {
		return fmt.Errorf("queue generations again: %w", err)
	}
	tickets := make([]int64, len(results))
	for i, r := range results {
		tickets[i] = r.Job.ID
	}
	return tx.SetTickets(ctx, stranded, tickets)
}

// reconcile makes good what no part of the service should have left behind.
type reconcile struct {
	river.WorkerDefaults[jobs.ReconcileArgs]
	w *Worker
}

// Work looks at the state as it is and says what it had to mend.
func (r *reconcile) Work(ctx context.Context, _ *river.Job[jobs.ReconcileArgs]) error {
	db, logger := r.w.opts.DB, r.w.opts.Logger
	var mended int
	err := db.Transact(ctx, func(tx *store.DB) error {
		stranded, err := tx.Ticketless(ctx)
		if err != nil {
			return err
		}
		mended = len(stranded)
		return r.w.ticket(ctx, tx, stranded)
	})
	if err == nil && mended > 0 {
		logger.Error("generations had no ticket and got one", "generations", mended)
	}
	return errors.Join(err, db.RemoveDeadWorkers(ctx, time.Hour))
}
