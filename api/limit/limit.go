// Package limit counts how often something may happen, exactly and across processes:
// a bucket that n drops fill leaks, so that n may come at once and then one each
// n-th of the period (the generic cell rate algorithm of ITU-T I.371, annex A).
package limit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Bucket is one limit on something.
type Bucket struct {
	// Key names it. What is taken together has the same text before the first
	// slash: "org_1/org", "org_1/key/key_2". A cluster keeps that in one place.
	Key string

	// Limit is how many there may be in a Period; 1 or more. Up to 60,000 an hour
	// are counted exactly, and more than that to within the microsecond that each
	// is apart from the next.
	Limit  int
	Period time.Duration

	// Cost is how many one take counts for; 0 is one. What costs more than the
	// limit never passes.
	Cost int
}

// A State is what is known of a bucket.
type State struct {
	Bucket
	Allowed    bool          // there was room in this one
	Remaining  int           // how many of cost 1 may follow at once
	NextAfter  time.Duration // until one more may than Remaining; 0 if all may
	ResetAfter time.Duration // until all may
	RetryAfter time.Duration // until the take would pass that was refused; 0 if it was allowed

	// Unheard says that nothing is known of it, since another one's refusal was
	// remembered.
	Unheard bool
}

// A Result is what came of a take.
type Result struct {
	Allowed bool
	States  []State // of each bucket, in the order given
}

// A Limiter keeps buckets.
type Limiter interface {
	// Take takes from all the buckets, whose keys differ, or from none if there is
	// no room in one of them. An error is that of what keeps them.
	Take(ctx context.Context, buckets []Bucket) (Result, error)
}

// step is how long one of cost 1 takes to leak, in whole microseconds so that every
// keeper counts alike. It is rounded down: the limit is reached in any case.
func (b Bucket) step() time.Duration {
	return max((b.Period / time.Duration(b.Limit)).Truncate(time.Microsecond), time.Microsecond)
}

// spend is by how much a take fills the bucket.
func (b Bucket) spend() time.Duration { return b.step() * time.Duration(max(b.Cost, 1)) }

// passes reports whether a take has room in the bucket when it is filled so far.
func (b Bucket) passes(filled time.Duration) bool { return filled+b.spend() <= b.Period }

// state tells what a bucket is like that is filled so far.
func (b Bucket) state(filled time.Duration) State {
	room := max(b.Period-filled, 0)
	s := State{Bucket: b, Allowed: true, ResetAfter: filled, Remaining: min(int(room/b.step()), b.Limit)}
	if s.Remaining < b.Limit {
		s.NextAfter = time.Duration(s.Remaining+1)*b.step() - room
	}
	return s
}

// resultOf judges a take from how full each bucket was before it.
func resultOf(buckets []Bucket, filled []time.Duration) Result {
	r := Result{Allowed: true, States: make([]State, len(buckets))}
	for i, b := range buckets {
		r.Allowed = r.Allowed && b.passes(filled[i])
	}
	for i, b := range buckets {
		if r.Allowed {
			r.States[i] = b.state(filled[i] + b.spend())
			continue
		}
		r.States[i] = b.state(filled[i])
		if !b.passes(filled[i]) {
			r.States[i].Allowed = false
			r.States[i].RetryAfter = filled[i] + b.spend() - b.Period
		}
	}
	return r
}

// check refuses buckets that make no sense.
func check(buckets []Bucket) error {
	seen := make(map[string]bool, len(buckets))
	for _, b := range buckets {
		switch {
		case b.Key == "" || seen[b.Key]:
			return fmt.Errorf("take from limits: key %q is empty or twice there", b.Key)
		case b.Limit < 1 || b.Period < time.Microsecond || b.Cost < 0:
			return fmt.Errorf("take from limit %s: %d in %v at cost %d makes no sense", b.Key, b.Limit, b.Period, b.Cost)
		}
		seen[b.Key] = true
	}
	if len(buckets) == 0 {
		return errors.New("take from limits: there are none")
	}
	return nil
}
