package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// A RateTake is what one take costs one bucket. All of a take's buckets differ.
type RateTake struct {
	Bucket string
	Period time.Duration // how long the bucket takes to empty
	Cost   time.Duration // by how much longer it takes after the take
}

// TakeRateLimits takes from buckets by the generic cell rate algorithm, in one
// statement: each take from all of its buckets, or from none if one of them would
// then need longer than its period to empty. It returns how full each bucket was
// before its take, as the time it needed to empty; that tells which has passed.
// Times count in whole microseconds, by the clock of the database.
func (db *DB) TakeRateLimits(ctx context.Context, takes [][]RateTake) ([][]time.Duration, error) {
	var buckets []string
	for _, take := range takes {
		for _, line := range take {
			buckets = append(buckets, line.Bucket)
		}
	}
	slices.Sort(buckets) // as the collation C does
	buckets = slices.Compact(buckets)
	var numbers, places []int32
	var periods, costs []int64
	for n, take := range takes {
		for _, line := range take {
			place, _ := slices.BinarySearch(buckets, line.Bucket)
			numbers, places = append(numbers, int32(n)), append(places, int32(place+1)) //nolint:gosec // a batch is small
			periods, costs = append(periods, line.Period.Microseconds()), append(costs, line.Cost.Microseconds())
		}
	}
	rows, err := db.q.Query(ctx, `SELECT take_rate_limits(@buckets, @takes, @places, @periods, @costs)`,
		pgx.NamedArgs{"buckets": buckets, "takes": numbers, "places": places, "periods": periods, "costs": costs})
	if err != nil {
		return nil, fmt.Errorf("take from rate limits: %w", err)
	}
	lines, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[[]int64])
	if err != nil {
		return nil, fmt.Errorf("take from rate limits: %w", err)
	}
	filled := make([][]time.Duration, len(takes))
	for n, take := range takes {
		for range take {
			filled[n] = append(filled[n], time.Duration(lines[0])*time.Microsecond)
			lines = lines[1:]
		}
	}
	return filled, nil
}

// LapseRateLimits forgets up to limit buckets that are empty, and returns how many.
func (db *DB) LapseRateLimits(ctx context.Context, limit int) (int, error) {
	tag, err := db.q.Exec(ctx, `
		DELETE FROM rate_limit
		WHERE ctid = ANY(ARRAY(
			SELECT ctid FROM rate_limit
			WHERE empty_at < extract(epoch FROM now()) * 1000000
			LIMIT @limit
			FOR UPDATE SKIP LOCKED))`,
		pgx.NamedArgs{"limit": limit})
	if err != nil {
		return 0, fmt.Errorf("lapse rate limits: %w", err)
	}
	return int(tag.RowsAffected()), nil
}
