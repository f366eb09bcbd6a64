package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// Times of the heartbeat.
const (
	beatEvery = time.Second
	// beatAgain is about how long after one that failed the next is tried: the sooner
	// after the database's return all are heard, the sooner it shows who is not.
	beatAgain = beatEvery / 4
	// steadyGap is the longest time between two beats of a worker that may
	// judge others: one that was itself frozen, or found the database away,
	// can not tell who else is alive.
	steadyGap = 2500 * time.Millisecond
)

// errLost is the cause of a run's end whose claim is gone: the generation was
// canceled, or another run has it.
var errLost = errors.New("the run has lost its claim")

// active is one ticket under way in this process.
type active struct {
	claim  store.RunClaim // zero until the generation is claimed
	cancel context.CancelCauseFunc
}

// A roll is the tickets under way in this process.
type roll struct {
	mu      sync.Mutex
	tickets map[int64]*active
}

// enter adds a ticket and returns the context of its run. leave removes it.
func (r *roll) enter(ctx context.Context, ticket int64) (runCtx context.Context, a *active, leave func()) {
	runCtx, cancel := context.WithCancelCause(ctx)
	a = &active{cancel: cancel}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tickets[ticket] = a
	return runCtx, a, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.tickets, ticket)
		cancel(nil)
	}
}

// claimed notes the claim of a ticket's run.
func (r *roll) claimed(a *active, c *store.Claim) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.claim = store.RunClaim{GenerationID: c.ID, Fence: c.Fence}
}

func (r *roll) claims() []store.RunClaim {
	r.mu.Lock()
	defer r.mu.Unlock()
	var claims []store.RunClaim
	for _, a := range r.tickets {
		if a.claim.Fence > 0 {
			claims = append(claims, a.claim)
		}
	}
	return claims
}

func (r *roll) has(ticket int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tickets[ticket] != nil
}

// busy reports whether any ticket is under way.
func (r *roll) busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.tickets) > 0
}

// lose ends the runs of these claims.
func (r *roll) lose(claims []store.RunClaim, ids []string) {
	gone := make(map[store.RunClaim]bool, len(ids))
	for _, c := range claims {
		for _, id := range ids {
			gone[c] = gone[c] || c.GenerationID == id
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.tickets {
		if gone[a.claim] {
			a.cancel(errLost)
		}
	}
}

// A pulse is this process's sign of life and what it was told in return.
type pulse struct {
	mu     sync.Mutex
	last   time.Time // of the last beat that was recorded
	steady time.Time // since when no two beats were further apart than steadyGap
}

func (p *pulse) beat(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if elapsed(p.last, now) > steadyGap {
		p.steady = now
	}
	p.last = now
}

// elapsed is by whichever clock has gone further: that of the process stands still
// while the machine is suspended.
func elapsed(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}

// alive reports whether the others take this worker for alive. One that they do
// not must begin no paid call: its tickets may be running elsewhere. What is
// under way goes on, as it is paid for, and counts if nobody has taken over.
func (p *pulse) alive(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return elapsed(p.last, now) < store.WorkerSilence
}

// brokenSince reports whether this worker has not been able to tell, for a while
// since the time given, who else is heard: its own heartbeats did not come through.
func (p *pulse) brokenSince(t, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return elapsed(p.last, now) > steadyGap || p.steady.After(t)
}

// beatOnce records one heartbeat and ends the runs that have lost their claim.
func (w *Worker) beatOnce(ctx context.Context, conn *store.Pulse) error {
	claims, untold, sent := w.roll.claims(), w.news.routes(), time.Now()
	slots, batchSlots := w.opts.Concurrency, w.opts.BatchConcurrency
	if w.stopping.Load() {
		slots, batchSlots = 0, 0 // it takes nothing more
	}
	told, err := conn.Beat(ctx, store.Heartbeat{
		Worker: store.Worker{ID: w.opts.ID, Slots: slots, BatchSlots: batchSlots, Routes: w.routeReports()},
		Runs:   claims,
	})
	if err != nil {
		return err
	}
	w.roll.lose(claims, told.Lost)
	w.applyRoutes(told.Routes, untold)
	// The others count from when it was sent at the earliest.
	w.pulse.beat(sent)
	return nil
}

// keepBeating sends heartbeats until ctx ends, and hears the news of routes in
// between.
func (w *Worker) keepBeating(ctx context.Context, conn *store.Pulse) {
	defer conn.Close(context.WithoutCancel(ctx))
	failing := false
	for next := time.Now(); ctx.Err() == nil; {
		if wait := time.Until(next); wait > 0 {
			if conn.Wait(ctx, wait) {
				// If it fails, the next heartbeat brings them.
				untold := w.news.routes()
				if routes, err := conn.Routes(ctx); err == nil {
					w.applyRoutes(routes, untold)
				}
			}
			continue
		}
		began := time.Now()
		err := w.beatOnce(ctx, conn)
		next = nextBeat(began, time.Now(), err)
		if err != nil && ctx.Err() == nil && !failing {
			w.opts.Logger.Warn("heartbeat failed, trying again", "error", err)
		}
		failing = err != nil
	}
}

// nextBeat is when the heartbeat after one is due: after one that failed sooner, and at
// once if that took as long as two are apart.
func nextBeat(began, ended time.Time, err error) time.Time {
	next := began.Add(beatEvery)
	again := ended.Add(beatAgain/2 + rand.N(beatAgain)) //nolint:gosec // spreads work, keeps no secret
	if err != nil && again.Before(next) {
		return again
	}
	return next
}
