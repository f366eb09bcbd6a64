package providers

import (
	"context"
	"time"
)

const (
	// provenFor is how long a success speaks for a route, and a failure against it.
	provenFor = time.Minute
	// patience is how long a call of an unproven route is under way without
	// failing before all others may follow; it doubles with each failure.
	patience = 300 * time.Millisecond
	// maxDoublings bounds what waits at the gate to 2.4 s.
	maxDoublings = 3
)

// A passage is the right to make one call. It counts as under way from start on.
type passage struct {
	probe   bool
	started time.Time
}

// enter admits a call through the breaker and the gate before it, which lets only
// a few calls try a route that has not served of late. It returns nil if the route
// takes no call, or ctx is over. A call that has waited as long as its own rate
// limit asked may enter while a pause goes on that is hardly longer.
func (r *route) enter(ctx context.Context, waited bool) *passage {
	for ctx.Err() == nil {
		p, wait, changed := r.try(waited)
		if p != nil || changed == nil {
			return p
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return nil
}

// try admits a call, or tells after how long to try again unless something
// changes before. Without the latter the call is refused.
func (r *route) try(waited bool) (p *passage, wait time.Duration, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.chain.opts.Now()
	left, reason := r.blocked(now)
	inline := waited && reason == codeCooldown && left <= r.chain.opts.MaxInline && r.open.left(now) == 0
	if reason != "" && !inline {
		return nil, 0, nil
	}
	if !r.breaker.IsClosed() {
		if !r.breaker.TryAcquirePermit() {
			return nil, 0, nil
		}
		r.probing = true
		return r.admit(&passage{probe: true}), 0, nil
	}
	if wait = r.gate(now); wait > 0 {
		return nil, wait, r.changed
	}
	return r.admit(&passage{}), 0, nil
}

func (r *route) admit(p *passage) *passage {
	r.inFlight[p] = struct{}{}
	return p
}

// gate is 0 if one more call may try the route, else how long to wait. Hold mu.
func (r *route) gate(now time.Time) time.Duration {
	if now.Sub(r.failedAt) > provenFor {
		r.failures = 0
	}
	if now.Sub(r.provenAt) <= provenFor || len(r.inFlight) < max(1, breakerFailures-r.failures) {
		return 0
	}
	wait := provenFor // something changes before
	for p := range r.inFlight {
		if !p.started.IsZero() {
			wait = min(wait, p.started.Add(patience<<min(r.failures, maxDoublings)).Sub(now))
		}
	}
	return max(0, wait)
}

// start notes that the call is on its way.
func (r *route) start(p *passage, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.started = now
	r.wake()
}

// leave takes in what the end of a call proves about its route. e is nil if it
// served or was never made, for which m is markNothing.
func (r *route) leave(p *passage, m mark, e *Error) {
	now := r.chain.opts.Now()
	r.mu.Lock()
	delete(r.inFlight, p)
	if !p.started.IsZero() {
		r.stats.count(now, m, e)
	}
	before := r.breaker.State()
	switch m {
	case markHealth:
		r.failures, r.provenAt = 0, now
	case markFailure:
		r.failures, r.failedAt, r.provenAt = r.failures+1, now, time.Time{}
	case markNothing, markAnswer:
	}
	r.record(p, m, e)
	if p.probe {
		r.probing = false
	}
	r.noteBreaker(before, e, now)
	if e != nil {
		r.noteFailure(e, now)
	}
	r.wake()
	r.mu.Unlock()
	r.chain.tell()
}
