package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// Turns of the watch.
const (
	watchEvery  = 500 * time.Millisecond // for dead workers
	admitTurns  = 2
	expireTurns = 10
	countTurns  = 30
	anyTurns    = 60              // for those who are not the first, should the first not get on
	stepTime    = 4 * time.Second // longer is as good as never: the next turn does it
)

// A watch is what one worker knows of the others. It times their silence by its
// own clock from when it saw the last heartbeat, so that no step of the database's
// clock, and no pause in reaching it, makes a living worker look dead.
type watch struct {
	looked  time.Time        // last
	beats   map[string]heard // by worker
	orphans map[int64]time.Time
	silent  []store.Silence // workers, when it last looked
}

type heard struct {
	seenAt time.Time // on the database's clock
	since  time.Time // here
}

// keepWatch, until ctx ends, hands the tickets of dead workers to the living. Of
// the living one also admits what has room, ends what came too late and recounts.
func (w *Worker) keepWatch(ctx context.Context) {
	v := watch{beats: map[string]heard{}, orphans: map[int64]time.Time{}}
	began := time.Now()
	for turn := rand.N(anyTurns); ; turn++ { //nolint:gosec // spreads work, keeps no secret
		select {
		case <-ctx.Done():
			return
		case <-time.After(v.rest(began, time.Now())):
		}
		began = time.Now()
		var first bool
		w.step(ctx, "take over", func(ctx context.Context) (err error) {
			first, err = w.takeOver(ctx, &v)
			return err
		})
		w.step(ctx, "take over webhooks", func(ctx context.Context) error { return w.recoverErrands(ctx, v.silent) })
		w.first.Store(first || turn%anyTurns == 0)
		if !first && turn%anyTurns != 0 {
			continue
		}
		if turn%admitTurns == 0 {
			w.step(ctx, "admit", func(ctx context.Context) error { _, err := w.opts.DB.AdmitHeld(ctx); return err })
		}
		if turn%expireTurns == 0 {
			w.step(ctx, "expire", w.expireOverdue)
		}
		if turn%countTurns == 0 {
			w.step(ctx, "count", w.recount)
		}
	}
}

// step gives one part of the watch its time.
func (w *Worker) step(ctx context.Context, name string, do func(context.Context) error) {
	stepCtx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	if err := do(stepCtx); err != nil && ctx.Err() == nil {
		w.opts.Logger.Warn("watch failed, trying again", "step", name, "error", err)
	}
}

// expireOverdue ends all that is overdue, some at a time.
func (w *Worker) expireOverdue(ctx context.Context) error {
	const some = 200
	for {
		if n, err := w.opts.DB.ExpireOverdue(ctx, some); err != nil || n < some {
			return err
		}
	}
}

// recount sets right what programs of an older version, which do not count, have
// changed.
func (w *Worker) recount(ctx context.Context) error {
	recounted, err := w.opts.DB.Recount(ctx)
	for _, c := range recounted {
		w.opts.Logger.Warn("generations were miscounted", "org", c.OrgID, "queue", c.Queue,
			"was_running", c.WasRunning, "running", c.Running, "was_held", c.WasHeld, "held", c.Held)
	}
	return err
}

// hear takes in the heartbeats on record and returns the workers that have been
// silent for long, and whether this one is the first of the others.
func (v *watch) hear(beats []store.Silence, self string, now time.Time) (silent []store.Silence, first bool) {
	known := make(map[string]bool, len(beats))
	first = true
	for _, b := range beats {
		known[b.Worker] = true
		h, ok := v.beats[b.Worker]
		if !ok || !h.seenAt.Equal(b.SeenAt) {
			h = heard{seenAt: b.SeenAt, since: now}
			v.beats[b.Worker] = h
		}
		switch {
		case b.Worker == self:
		case now.Sub(h.since) >= store.WorkerSilence:
			silent = append(silent, b)
		case b.Worker < self:
			first = false
		}
	}
	for id := range v.beats {
		if !known[id] {
			delete(v.beats, id)
		}
	}
	return silent, first
}

// rest is how long to wait after a look that began at a time: until a worker has been
// silent for long, if that is sooner than the next is due.
func (v *watch) rest(began, now time.Time) time.Duration {
	rest := max(watchEvery-now.Sub(began), 0)
	for _, h := range v.beats {
		if left := store.WorkerSilence - now.Sub(h.since); left > 0 {
			rest = min(rest, left)
		}
	}
	return rest
}

// takeOver gives fresh tickets to the generations of dead workers, and to those
// of this worker's tickets that it does not know: an answer of the queue may
// have been lost with its connection. It reports whether this worker is the first
// of the living.
func (w *Worker) takeOver(ctx context.Context, v *watch) (first bool, err error) {
	beats, err := w.opts.DB.Beats(ctx)
	if err != nil {
		return false, err
	}
	now := time.Now()
	if v.looked.IsZero() || w.pulse.brokenSince(v.looked, now) {
		// Whoever lives must have the time to be heard again.
		clear(v.beats)
		clear(v.orphans)
	}
	v.looked = now
	silent, first := v.hear(beats, w.opts.ID, now)
	v.silent = silent
	own, err := w.orphaned(ctx, v.orphans)
	if err != nil {
		return first, err
	}
	var tickets []int64
	if len(silent) > 0 {
		if tickets, err = w.opts.DB.SilentTickets(ctx, silent); err != nil {
			return first, err
		}
	}
	if len(tickets)+len(own) == 0 {
		return first, nil
	}
	moved, err := w.opts.DB.TakeTickets(ctx, silent, tickets, own)
	if err != nil {
		return first, err
	}
	w.opts.Logger.Warn("tickets of silent workers ended", "tickets", len(tickets), "unknown", len(own), "generations", moved)
	return first, nil
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
	return errors.Join(err, r.w.rescueErrands(ctx, time.Hour), r.w.rescueMails(ctx), db.RemoveDeadWorkers(ctx, time.Hour), r.credits(ctx))
}

// credits settles what has ended without, and moves what was bought to where it can be
// used. Settling comes first: it releases credits.
func (r *reconcile) credits(ctx context.Context) error {
	const some = 500
	db := r.w.opts.DB
	unsettled, err := drain(ctx, some, db.SettleUnsettled)
	if unsettled > 0 {
		r.w.opts.Logger.Warn("generations had ended without being charged", "generations", unsettled)
	}
	_, errCarry := drain(ctx, some, db.CarryCredits)
	return errors.Join(err, errCarry)
}

// drain repeats a step that does up to limit of something, until it does less, and
// returns how many it did.
func drain(ctx context.Context, limit int, step func(context.Context, int) (int, error)) (total int, err error) {
	for {
		n, err := step(ctx, limit)
		total += n
		if err != nil || n < limit {
			return total, err
		}
	}
}
