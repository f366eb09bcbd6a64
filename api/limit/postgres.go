package limit

import (
	"context"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// Postgres keeps buckets in the database, where every process finds them.
type Postgres struct {
	db     *store.DB
	shared *store.Committer[[]store.RateTake, []time.Duration] // nil: none
}

var _ Limiter = (*Postgres)(nil)

// NewPostgres returns a Limiter whose takes are a statement each.
func NewPostgres(db *store.DB) *Postgres { return &Postgres{db: db} }

// NewSharedPostgres returns a Limiter whose concurrent takes share statements, for
// processes that serve many. Close ends it.
func NewSharedPostgres(db *store.DB) *Postgres {
	return &Postgres{db: db, shared: store.NewCommitter(store.CommitterOptions{MaxBatch: 128}, db.TakeRateLimits)}
}

// Close waits for the takes under way and refuses later ones.
func (p *Postgres) Close() {
	if p.shared != nil {
		p.shared.Close()
	}
}

// Take is that of Limiter.
func (p *Postgres) Take(ctx context.Context, buckets []Bucket) (Result, error) {
	if err := check(buckets); err != nil {
		return Result{}, err
	}
	take := make([]store.RateTake, len(buckets))
	for i, b := range buckets {
		take[i] = store.RateTake{Bucket: b.Key, Period: b.Period, Cost: b.spend()}
	}
	filled, err := p.take(ctx, take)
	if err != nil {
		return Result{}, err
	}
	return resultOf(buckets, filled), nil
}

func (p *Postgres) take(ctx context.Context, take []store.RateTake) ([]time.Duration, error) {
	if p.shared != nil {
		return p.shared.Do(ctx, take)
	}
	filled, err := p.db.TakeRateLimits(ctx, [][]store.RateTake{take})
	if err != nil {
		return nil, err
	}
	return filled[0], nil
}
