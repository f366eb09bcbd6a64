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
	took    []time.Duration
	missed  int // blows during which the database could not say what was running
}

// A chaosOrphan is a generation whose worker has been struck.
type chaosOrphan struct {
	fence int
	since time.Time
}

func newChaosRecovery(db *store.DB) *chaosRecovery {
	return &chaosRecovery{db: db, pending: map[string]chaosOrphan{}}
}

// struck notes what a worker was running when it was struck. It asks again while
// the database is away: nobody takes up a run within that time.
func (r *chaosRecovery) struck(ctx context.Context, worker string, at time.Time) {
	ctx, cancel := context.WithTimeout(ctx, strikePatience)
	defer cancel()
	for r.note(ctx, worker, at) != nil {
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

func (r *chaosRecovery) note(ctx context.Context, worker string, at time.Time) error {
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
			r.took = append(r.took, at.Sub(before.since)) // recovered unseen, and struck again
		}
		r.pending[id] = chaosOrphan{fence: fence, since: at}
		return nil
	})
	return err
}

// look asks what has become of the orphans. One that has been claimed anew, or
// has ended, is recovered; one whose run had handed it back was none.
func (r *chaosRecovery) look(ctx context.Context) error {
	r.mu.Lock()
	ids := make([]string, 0, len(r.pending))
	for id := range r.pending {
		ids = append(ids, id)
	}
	r.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	rows, err := r.db.Pool().Query(ctx, `
		SELECT id, fence, status FROM generation
		WHERE id = ANY(@ids)`,
		pgx.NamedArgs{"ids": ids})
	if err != nil {
		return err
	}
	var id string
	var fence int
	var status store.Status
	_, err = pgx.ForEachRow(rows, []any{&id, &fence, &status}, func() error {
		r.seen(id, fence, status, time.Now())
		return nil
	})
	return err
}

// seen settles an orphan by how it stands at a time.
func (r *chaosRecovery) seen(id string, fence int, status store.Status, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	orphan, ok := r.pending[id]
	switch {
	case !ok:
	case fence > orphan.fence, status.Terminal():
		r.took = append(r.took, at.Sub(orphan.since))
		delete(r.pending, id)
	case status == store.StatusQueued:
		delete(r.pending, id)
	}
}

// figures are the recoveries so far, how many wait for theirs, and how many
// blows could not be measured.
func (r *chaosRecovery) figures() (took quantiles, waiting, missed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return quantilesOf(append([]time.Duration{}, r.took...)), len(r.pending), r.missed
}
