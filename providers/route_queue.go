package providers

import (
	"context"
	"slices"
	"sync"
	"time"
)

// maxQueueWait is how long an Ask waits for a permit where all that could serve it
// are full. Its caller may have better to do than to wait longer.
const maxQueueWait = 5 * time.Second

// A queue gives out the permits of all routes of a Chain, first come first served:
// nobody takes one that an earlier Ask is waiting for.
type queue struct {
	mu      sync.Mutex // taken before any route's
	waiting []*waiter
}

// A waiter takes a permit of whichever of its candidates frees one first.
type waiter struct {
	candidates []candidate
	granted    chan candidate // has room for one
}

// wanting is the place in line of the first who waits for a route, and who would
// have it; -1 if nobody does.
func (q *queue) wanting(r *route) (place int, cand candidate) {
	for i, w := range q.waiting {
		if k := slices.IndexFunc(w.candidates, func(c candidate) bool { return c.route == r }); k >= 0 {
			return i, w.candidates[k]
		}
	}
	return -1, candidate{}
}

// tryAcquire takes a permit unless the route is full or somebody waits for it.
func (q *queue) tryAcquire(r *route) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.take(r)
}

// take is tryAcquire. Hold mu.
func (q *queue) take(r *route) bool {
	if place, _ := q.wanting(r); place >= 0 || !r.bulkhead.TryAcquirePermit() {
		return false
	}
	r.occupy(1)
	return true
}

// release gives a permit back, or to the first who waits for it.
func (q *queue) release(r *route) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if place, cand := q.wanting(r); place >= 0 {
		q.waiting[place].granted <- cand
		q.waiting = slices.Delete(q.waiting, place, place+1)
		return
	}
	r.occupy(-1)
	r.bulkhead.ReleasePermit()
}

// enqueue takes a permit that was given back meanwhile, or gets in line.
func (q *queue) enqueue(w *waiter) (candidate, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, cand := range w.candidates {
		if q.take(cand.route) {
			return cand, true
		}
	}
	q.waiting = append(q.waiting, w)
	return candidate{}, false
}

// acquire waits for a permit of one of the candidates until end, or ctx is over.
func (q *queue) acquire(ctx context.Context, candidates []candidate, end time.Time) (candidate, bool) {
	w := &waiter{candidates: candidates, granted: make(chan candidate, 1)}
	if cand, ok := q.enqueue(w); ok {
		return cand, true
	}
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	select {
	case cand := <-w.granted:
		return cand, true
	case <-timer.C:
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = slices.DeleteFunc(q.waiting, func(other *waiter) bool { return other == w })
	select {
	case cand := <-w.granted: // at the same moment
		return cand, true
	default:
		return candidate{}, false
	}
}

// occupy counts a permit taken, or given back with -1.
func (r *route) occupy(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.admitted += n
}
