package providers

import "time"

// goneFor is how long a route is not asked for a model that it does not have. The
// route's other models are none the worse for it.
const goneFor = 5 * time.Minute

// A gone model is one that the upstream said it does not have.
type gone struct {
	until   time.Time
	pagedAt time.Time // a person was last called
}

// noteGone keeps the route from a model for a while, and returns when a person was
// last called for it. Hold mu.
func (r *route) noteGone(upstream string, now time.Time) *time.Time {
	g := r.gone[upstream]
	if g == nil {
		g = &gone{}
		r.gone[upstream] = g
	}
	g.until = now.Add(goneFor)
	return &g.pagedAt
}

// goneLeft is how much longer the route is not asked for a model. Hold mu.
func (r *route) goneLeft(upstream string, now time.Time) time.Duration {
	if g := r.gone[upstream]; g != nil {
		return max(0, g.until.Sub(now))
	}
	return 0
}
