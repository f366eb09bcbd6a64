package providers

import (
	"time"
)

const (
	// provenFor is how long a success speaks for a route, and a failure against it.
	provenFor = time.Minute
	// patience is how long ago a call must have been sent, without having failed, to
	// be well under way; it doubles with each failure.
	patience = 300 * time.Millisecond
	// maxDoublings bounds that to 2.4 s.
	maxDoublings = 3
	// maxGateWait is how long a call waits at the gate where another route could
	// make the same model's picture: long enough for 80 on a route that is only slow.
	maxGateWait = 9 * patience / 2
)

// A passage is the right to make one call.
type passage struct {
	probe   bool
	started time.Time // zero: it was never made
	sent    time.Time // the request has gone out whole; zero: it has not, or nobody can tell
}

// enter admits a call through the breaker and the gate before it, which lets only
// a few calls try a route that has not served of late. It returns nil if the route
// takes no call, or the Ask is over, or elsewhere is true and the wait too long. A
// call that has waited as long as its own rate limit asked may enter while a pause
// goes on that is hardly longer.
func (r *route) enter(l *leg, elsewhere func() bool) *passage {
	waited := l.failure != nil && l.failure.Kind == KindRate
	begun := time.Now()
	for l.ctx.Err() == nil {
		p, wait, changed := r.try(l.model.Upstream, waited)
		if p != nil || changed == nil {
			return p
		}
		if patient := maxGateWait - time.Since(begun); elsewhere() {
			if patient <= 0 {
				return nil
			}
			wait = min(wait, patient)
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-l.ctx.Done():
		}
		timer.Stop()
	}
	return nil
}

// try admits a call, or tells after how long to try again unless something
// changes before. Without the latter the call is refused.
func (r *route) try(upstream string, waited bool) (p *passage, wait time.Duration, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.chain.opts.Now()
	left, reason := r.blocked(upstream, now)
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

// gate is 0 if one more call may try the route, else how long to wait. Those that
// try a route not heard of lately are a few, and then never more than twice as many
// as are well under way. A call that cannot be sent, since the host is out of
// reach, therefore lets no other follow. Hold mu.
func (r *route) gate(now time.Time) time.Duration {
	if now.Sub(r.failedAt) > provenFor {
		r.failures = 0
	}
	if now.Sub(r.provenAt) <= provenFor {
		return 0
	}
	wait, well := provenFor, 0 // something changes before
	for p := range r.inFlight {
		if p.sent.IsZero() {
			continue
		}
		left := p.sent.Add(patience << min(r.failures, maxDoublings)).Sub(now)
		if left <= 0 {
			well++
		} else {
			wait = min(wait, left)
		}
	}
	if len(r.inFlight) < max(1, breakerFailures-r.failures, 2*well) {
		return 0
	}
	return wait
}

// start notes that the call is being made.
func (r *route) start(p *passage, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.started = now
}

// sent notes that the call's request has gone out. It may come late.
func (r *route) sent(p *passage) {
	now := r.chain.opts.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.sent.IsZero() {
		p.sent = now
		r.wake()
	}
}

// leave takes in what the end of a call proves about its route. e is nil if it
// served or was never made, for which m is markNothing.
func (r *route) leave(l *leg, m mark, e *Error) {
	p := l.passage
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
	switch {
	case e != nil:
		r.noteFailure(l.model.Upstream, e, now)
	case m == markHealth:
		delete(r.gone, l.model.Upstream)
	}
	r.wake()
	r.mu.Unlock()
	r.chain.tell()
}
