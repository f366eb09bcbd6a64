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
	Cost   time.Duration // by how much longer it takes after the take; at least a microsecond
}

// TakeRateLimits takes from buckets by the generic cell rate algorithm, in one
// statement: each take from all of its buckets, or from none if one of them would
// then need longer than its period to empty. Takes that are equal count together, at the
// place of the first. It returns how full each bucket was
// before its take, as the time it needed to empty; that tells which has passed.
// Times count in whole microseconds, by the clock of the database.
func (db *DB) TakeRateLimits(ctx context.Context, takes [][]RateTake) ([][]time.Duration, error) {
	groups := groupTakes(takes)
	rows, err := db.q.Query(ctx, `SELECT take_rate_limits(@buckets, @groups, @counts, @places, @periods, @costs)`, rateArgs(groups))
	if err != nil {
		return nil, fmt.Errorf("take from rate limits: %w", err)
	}
	lines, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[[]int64])
	if err != nil {
		return nil, fmt.Errorf("take from rate limits: %w", err)
	}
	filled := make([][]time.Duration, len(takes))
	for _, g := range groups {
		n := len(g.lines)
		g.share(lines[:n], filled)
		lines = lines[n:]
	}
	return filled, nil
}

// rateGroup is takes that are equal, which a busy organization's are: they are counted
// at once.
type rateGroup struct {
	lines   []RateTake
	members []int // places of the takes
}

// groupTakes brings equal takes together, at the place of the first.
func groupTakes(takes [][]RateTake) []*rateGroup {
	var groups []*rateGroup
	latest := map[string]*rateGroup{} // by first bucket: takes that differ in the others are rare
	for n, take := range takes {
		g := latest[take[0].Bucket]
		if g == nil || !slices.Equal(g.lines, take) {
			g = &rateGroup{lines: take}
			groups, latest[take[0].Bucket] = append(groups, g), g
		}
		g.members = append(g.members, n)
	}
	return groups
}

func rateArgs(groups []*rateGroup) pgx.NamedArgs {
	var buckets []string
	for _, g := range groups {
		for _, line := range g.lines {
			buckets = append(buckets, line.Bucket)
		}
	}
	slices.Sort(buckets) // as the collation C does
	buckets = slices.Compact(buckets)
	var numbers, counts, places []int
	var periods, costs []int64
	for n, g := range groups {
		for _, line := range g.lines {
			place, _ := slices.BinarySearch(buckets, line.Bucket)
			numbers, counts, places = append(numbers, n), append(counts, len(g.members)), append(places, place+1)
			periods, costs = append(periods, line.Period.Microseconds()), append(costs, line.Cost.Microseconds())
		}
	}
	return pgx.NamedArgs{"buckets": buckets, "groups": numbers, "counts": counts, "places": places, "periods": periods, "costs": costs}
}

// share says how full the buckets were before each take of the group, from how full
// they were before the first. Those that pass come first.
func (g *rateGroup) share(before []int64, filled [][]time.Duration) {
	passes := len(g.members)
	for i, line := range g.lines {
		passes = min(passes, int((line.Period.Microseconds()-before[i])/line.Cost.Microseconds()))
	}
	for n, member := range g.members {
		for i, line := range g.lines {
			earlier := line.Cost.Truncate(time.Microsecond) * time.Duration(min(n, passes))
			filled[member] = append(filled[member], time.Duration(before[i])*time.Microsecond+earlier)
		}
	}
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
