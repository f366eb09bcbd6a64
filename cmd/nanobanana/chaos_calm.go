package main

import (
	"slices"
	"time"
)

// A chaosStrike is a blow that was dealt out, from its first effect until what
// it hit was well again.
type chaosStrike struct {
	chaosEvent
	from, to time.Time
}

func (s *chaosStrike) database() bool { return s.blow == blowCrash || s.blow == blowRestart }

// overlaps reports whether the strike was under way at any time between two.
func (s *chaosStrike) overlaps(from, to time.Time) bool {
	return s.from.Before(to) && s.to.After(from)
}

// calm returns the end of the first stretch of length d, from a moment on, that
// is quiet.
func calm(strikes []chaosStrike, from time.Time, d time.Duration, quiet func(from, to time.Time) bool) time.Time {
	starts := []time.Time{from}
	for _, s := range strikes {
		for _, at := range []time.Time{s.from, s.to} {
			if at.After(from) {
				starts = append(starts, at)
			}
		}
	}
	slices.SortFunc(starts, time.Time.Compare)
	for _, start := range starts {
		if quiet(start, start.Add(d)) {
			return start.Add(d)
		}
	}
	return starts[len(starts)-1].Add(d)
}

// What a service may take to go on.
const (
	recoveryLimit = 8 * time.Second  // from a worker's end to its generations' next run
	comebackLimit = 10 * time.Second // from the database's return to an answer, and to an end
	// breakerPause is how long routes are left alone after faults of the upstream:
	// what ended no call then ends none.
	breakerPause = 15 * time.Second
)

// recoverBy is when the generations of a worker struck at a moment must be
// elsewhere. Whoever takes over must have heard the database without a gap for as
// long as the silence, and may itself be struck before it has begun: it counts
// from the first eight seconds in which the database is up, one worker is well and
// none is struck.
func recoverBy(strikes []chaosStrike, workers int, struck time.Time) time.Time {
	return calm(strikes, struck, recoveryLimit, func(from, to time.Time) bool {
		unwell := map[int]bool{}
		for _, s := range strikes {
			switch {
			case s.database() && s.overlaps(from, to):
				return false
			case s.role != roleWorker || !s.overlaps(from, to):
			case s.from.After(from):
				return false
			default:
				unwell[s.index] = true
			}
		}
		return len(unwell) < workers
	})
}

// answerBy is when customers who ask from a moment on must have an answer. One
// may wait at an API that is struck.
func answerBy(strikes []chaosStrike, asked time.Time) time.Time {
	return calm(strikes, asked, comebackLimit, func(from, to time.Time) bool {
		return !slices.ContainsFunc(strikes, func(s chaosStrike) bool {
			return (s.database() || s.role == roleAPI) && s.overlaps(from, to)
		})
	})
}

// endBy is when of the work that is there from a moment on some must have ended.
// All of it may be on a worker that is struck, or wait for the upstream.
func endBy(strikes []chaosStrike, worked time.Time) time.Time {
	strikes = slices.Clone(strikes)
	for i := range strikes {
		if strikes[i].blow == blowUpstream {
			strikes[i].to = strikes[i].to.Add(breakerPause)
		}
	}
	return calm(strikes, worked, comebackLimit, func(from, to time.Time) bool {
		return !slices.ContainsFunc(strikes, func(s chaosStrike) bool { return s.role != roleAPI && s.overlaps(from, to) })
	})
}
