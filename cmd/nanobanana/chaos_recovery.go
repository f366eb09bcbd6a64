package main

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store"
)

// chaosRecovery measures how long the generations of a worker that has been
// killed or frozen go without anyone who runs them.
type chaosRecovery struct {
	db *store.DB

	mu      sync.Mutex
	pending map[string]chaosOrphan
	settled []chaosRecovered
	missed  int // blows during which the database could not say what was running
}

// A chaosOrphan is a generation whose worker has been struck.
type chaosOrphan struct {
	fence int
	index int // of its worker
	since time.Time
}

// A chaosRecovered is how long a generation was an orphan.
type chaosRecovered struct {
	generation string
	index      int // of the struck worker
	since      time.Time
	until      time.Time // zero: to the end
}

func newChaosRecovery(db *store.DB) *chaosRecovery {
	return &chaosRecovery{db: db, pending: map[string]chaosOrphan{}}
}

// struck notes what a worker was running when it was struck. It asks again while
// the database is away: nobody takes up a run within that time.
func (r *chaosRecovery) struck(ctx context.Context, index int, worker string, at time.Time) {
	ctx, cancel := context.WithTimeout(ctx, strikePatience)
	defer cancel()
	for r.note(ctx, index, worker, at) != nil {
		if !pause(ctx, 50*time.Millisecond) {
			r.mu.Lock()
			r.missed++
			r.mu.Unlock()
			return
		}
	}
}

// strikePatience is less than the silence after which a worker is given up.
const strikePatience = 4 * time.Second

func (r *chaosRecovery) note(ctx context.Context, index int, worker string, at time.Time) error {
	rows, err := r.db.Pool().Query(ctx, `
		SELECT id, fence FROM generation
		WHERE status = 'processing' AND worker = @worker`,
		pgx.NamedArgs{"worker": worker})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var id string
	var fence int
	_, err = pgx.ForEachRow(rows, []any{&id, &fence}, func() error {
		if before, ok := r.pending[id]; ok && fence > before.fence {
			r.settle(id, before, at) // recovered unseen, and struck again
		}
		r.pending[id] = chaosOrphan{fence: fence, index: index, since: at}
		return nil
	})
	return err
}

// look asks what has become of the orphans. One that has been claimed anew, or
// has ended, is recovered, as is one that its worker runs again because nobody had
// taken its ticket when it thawed; one whose run had handed it back was none.
func (r *chaosRecovery) look(ctx context.Context) error {
	r.mu.Lock()
	ids, awake := make([]string, 0, len(r.pending)), make([]time.Time, 0, len(r.pending))
	for id, o := range r.pending {
		ids = append(ids, id)
		awake = append(awake, o.since.Add(strikePatience)) // a frozen worker's last beat is older
	}
	r.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	rows, err := r.db.Pool().Query(ctx, `
		SELECT g.id, g.fence, g.status, EXISTS (
			SELECT FROM worker AS w
			JOIN `+store.RiverSchema+`.river_job AS j ON j.attempted_by[array_upper(j.attempted_by, 1)] = w.id
			WHERE w.id = g.worker AND w.seen_at > o.awake AND j.state = 'running' AND j.args ->> 'id' = g.id
		)
		FROM unnest(@ids::text[], @awake::timestamptz[]) AS o (id, awake)
		JOIN generation AS g USING (id)`,
		pgx.NamedArgs{"ids": ids, "awake": awake})
	if err != nil {
		return err
	}
	var id string
	var fence int
	var status store.Status
	var resumed bool
	_, err = pgx.ForEachRow(rows, []any{&id, &fence, &status, &resumed}, func() error {
		r.seen(id, fence, status, resumed, time.Now())
		return nil
	})
	return err
}

// seen settles an orphan by how it stands at a time.
func (r *chaosRecovery) seen(id string, fence int, status store.Status, resumed bool, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	orphan, ok := r.pending[id]
	switch {
	case !ok:
	case fence > orphan.fence, status.Terminal(), resumed:
		r.settle(id, orphan, at)
		delete(r.pending, id)
	case status == store.StatusQueued:
		delete(r.pending, id)
	}
}

// settle keeps a recovery. Hold mu.
func (r *chaosRecovery) settle(id string, o chaosOrphan, at time.Time) {
	r.settled = append(r.settled, chaosRecovered{generation: id, index: o.index, since: o.since, until: at})
}

// all are the recoveries so far, and those that have not come.
func (r *chaosRecovery) all() []chaosRecovered {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := append([]chaosRecovered{}, r.settled...)
	for id, o := range r.pending {
		all = append(all, chaosRecovered{generation: id, index: o.index, since: o.since})
	}
	return all
}

// figures are the recoveries so far, how many wait for theirs, and how many
// blows could not be measured.
func (r *chaosRecovery) figures() (took quantiles, waiting, missed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	times := make([]time.Duration, len(r.settled))
	for i, s := range r.settled {
		times[i] = s.until.Sub(s.since)
	}
	return quantilesOf(times), len(r.pending), r.missed
}
