package providers

import (
	"math/rand/v2"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

// record tells the breaker what a call proves. It hears only of what speaks for or
// against the upstream: failsafe's own executor would take a cancelled call for a
// success, and close on it. Hold mu.
func (r *route) record(p *passage, m mark, e *Error) {
	closed := r.breaker.IsClosed()
	switch {
	case !closed && !p.probe: // it was made before the breaker opened
	case m == markFailure && treatmentOf(e.Kind).opens:
		r.breaker.Open()
	case m == markFailure:
		r.breaker.RecordFailure()
	case m == markHealth && (e == nil || p.probe):
		r.breaker.RecordSuccess()
	case p.probe && r.breaker.IsHalfOpen():
		// It proved nothing, as a rate limit proves no health: the next call is a
		// probe again.
		r.breaker.Open()
		r.breaker.HalfOpen()
	}
}

// noteBreaker takes note of how a call changed the breaker. Hold mu.
func (r *route) noteBreaker(before circuitbreaker.State, e *Error, now time.Time) {
	after := r.breaker.State()
	if after == before {
		return
	}
	switch after {
	case circuitbreaker.OpenState:
		until := now.Add(r.breaker.RemainingDelay()).Add(time.Millisecond - 1).Truncate(time.Millisecond).UTC()
		r.open = pause{until: until, reason: reasonOf(e), own: true}
		r.chain.opts.Logger.Warn("provider route opened its breaker", "route", r.opts.Name, "until", until, "error", e)
		r.report(RouteChange{Route: r.opts.Name, What: ChangeOpen, Until: until, Reason: r.open.reason})
	case circuitbreaker.ClosedState:
		r.open = pause{}
		r.chain.opts.Logger.Info("provider route closed its breaker", "route", r.opts.Name)
		r.report(RouteChange{Route: r.opts.Name, What: ChangeClosed})
	}
}

func reasonOf(e *Error) string {
	if e == nil {
		return ""
	}
	if e.Code == "" {
		return string(e.Kind)
	}
	return string(e.Kind) + ": " + Shorten(e.Code, 64)
}

// setOpen takes over what others know of the breaker. What this process found
// out itself stands until a state as new comes back. Hold mu.
func (r *route) setOpen(until, now time.Time) {
	switch {
	case r.open.own && r.open.until.After(now) && until.Before(r.open.until):
	case until.IsZero():
		if !r.breaker.IsClosed() {
			r.breaker.Close()
			r.provenAt, r.failures = time.Time{}, 0
		}
		r.open = pause{}
	case !until.After(now): // it is over
	case until.Equal(r.open.until):
		r.open.own = false
	default:
		// When the time is over, a single call is a probe. Not all processes of
		// the fleet try at the same moment.
		if !r.breaker.IsHalfOpen() {
			r.breaker.HalfOpen()
		}
		r.open = pause{until: until.Add(rand.N(r.chain.opts.OpenFor/10 + 1))} //nolint:gosec // spreads probes, keeps no secret
	}
}
