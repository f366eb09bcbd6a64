package main

import (
	"context"
	"time"
)

const (
	// chaosStall is how long customers go on asking, and the service may take to
	// settle, while no generation ends: the backlog of an organization that may run
	// few at a time is long, but moves.
	chaosStall = 90 * time.Second
	// chaosCeiling is how long they wait for a service that goes on ending some.
	chaosCeiling = 10 * time.Minute
)

// A chaosPatience tells a service that is slow from one that does not get on.
type chaosPatience struct {
	began time.Time
	moved time.Time // when a generation was last seen to have ended since
	ended int
}

// newChaosPatience begins to wait at a time, which may be still to come.
func newChaosPatience(began time.Time) *chaosPatience {
	return &chaosPatience{began: began, moved: began}
}

// over reports whether to give up, now that so many generations have ended.
func (p *chaosPatience) over(ended int, now time.Time) bool {
	if ended > p.ended {
		p.ended = ended
		if now.After(p.moved) {
			p.moved = now
		}
	}
	return now.Sub(p.moved) >= chaosStall || now.Sub(p.began) >= chaosCeiling
}

// losePatience returns when patience that begins at a time is over, or ctx is.
func (r *chaosRun) losePatience(ctx context.Context, began time.Time) {
	p := newChaosPatience(began)
	for !r.outOf(ctx, p) && pause(ctx, time.Second) {
	}
}

// outOf reports whether patience is over. A database that is away has ended nothing.
func (r *chaosRun) outOf(ctx context.Context, p *chaosPatience) bool {
	within, stop := context.WithTimeout(ctx, submitPatience)
	defer stop()
	var ended int
	err := r.rig.db.Pool().QueryRow(within, `SELECT count(*) FROM generation WHERE finished_at IS NOT NULL`).Scan(&ended)
	if err != nil {
		ended = p.ended
	}
	return p.over(ended, time.Now())
}
