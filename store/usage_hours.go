package store

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// What use can be grouped by.
const (
	UsageByKey     = "api_key_id"
	UsageByProject = "project_id"
	UsageByModel   = "model"
	UsageBySize    = "size"
	UsageByKind    = "kind"
)

// UsageGroups lists them.
func UsageGroups() []string {
	return []string{UsageByKey, UsageByProject, UsageByModel, UsageBySize, UsageByKind}
}

// A UsageFilter selects use of live keys: what ended from Start on and before End. nil
// lists select everything.
type UsageFilter struct {
	OrgID      string
	ProjectIDs []string
	APIKeyIDs  []string
	Models     []string
	Sizes      []string // "1K", "2K", "4K"

	Start, End time.Time // whole hours or, with Daily, days (UTC)
	Daily      bool      // one row a day, not an hour
	GroupBy    []string  // of UsageGroups, each once; rows come in its order

	After *UsageRow // begin behind this row of an earlier call
	Limit int       // rows; 0: all
}

// UsageSums are what ended in some time.
type UsageSums struct {
	Succeeded      int64
	Failed         int64
	Canceled       int64
	Expired        int64
	Images         int64
	Credits        int64
	Micros         int64 // what they cost the customer, in millionths of a US dollar
	ProviderMicros int64 // what the providers' answers cost
}

// Generations is how many ended.
func (s *UsageSums) Generations() int64 { return s.Succeeded + s.Failed + s.Canceled + s.Expired }

// A UsageRow is the use of an hour or a day by one group. Of the fields it is grouped
// by none is nil, the others are.
type UsageRow struct {
	Start     time.Time
	APIKeyID  *string
	ProjectID *string
	Model     *string
	Size      *string
	Kind      *string
	UsageSums
	Latency []int64 // of those that succeeded: how many in each class of duration
}

// Group returns one of the fields that a row may be grouped by.
func (r *UsageRow) Group(name string) **string {
	switch name {
	case UsageByKey:
		return &r.APIKeyID
	case UsageByProject:
		return &r.ProjectID
	case UsageByModel:
		return &r.Model
	case UsageBySize:
		return &r.Size
	}
	return &r.Kind
}

// Usage returns the use that a filter selects, by time and then by group: where
// nothing ended there is no row. It reads the organization's rows of the time asked and
// no others.
func (db *DB) Usage(ctx context.Context, f UsageFilter) ([]*UsageRow, error) {
	var rows []*UsageRow
	err := db.within(ctx, func(tx *DB) error {
		if _, err := tx.q.Exec(ctx, byIndex); err != nil {
			return err
		}
		var err error
		sql, args := usageSQL(f)
		rows, err = planned[UsageRow](ctx, tx, sql, args)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("usage of %s: %w", f.OrgID, err)
	}
	return rows, nil
}

// byIndex makes the rest of a transaction read by indexes. The rows of an organization
// lie together, which the planner does not know: it would read the whole table for one
// that has a twentieth of it.
const byIndex = `SET LOCAL enable_seqscan = off`

const usageSums = `sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed, sum(canceled)::bigint AS canceled,
			sum(expired)::bigint AS expired, sum(images)::bigint AS images, sum(credits)::bigint AS credits,
			sum(micros)::bigint AS micros, sum(provider_micros)::bigint AS provider_micros`

func usageSQL(f UsageFilter) (sql string, args pgx.NamedArgs) {
	table, start := "usage_hour", "hour"
	if f.Daily {
		table, start = "usage_day", "day"
	}
	args = pgx.NamedArgs{
		"org_id": f.OrgID, "start": f.Start, "end": f.End, "projects": f.ProjectIDs, "keys": f.APIKeyIDs, "models": f.Models, "sizes": f.Sizes,
		"limit": nil,
	}
	if f.Limit > 0 {
		args["limit"] = f.Limit
	}
	key, shown := []string{start}, []string{start + " AS start"}
	for _, group := range UsageGroups() {
		if !slices.Contains(f.GroupBy, group) {
			shown = append(shown, "NULL::text AS "+group)
			continue
		}
		shown = append(shown, group)
	}
	key = append(key, f.GroupBy...)
	behind := ""
	if f.After != nil {
		edge := []string{"@start"}
		args["start"] = f.After.Start
		for _, group := range f.GroupBy {
			edge = append(edge, "@"+group)
			args[group] = **f.After.Group(group)
		}
		behind = `
			AND (` + strings.Join(key, ", ") + `) > (` + strings.Join(edge, ", ") + `)`
	}
	groups := strings.Join(key, ", ")
	return `
		SELECT ` + strings.Join(shown, ", ") + `,
			` + usageSums + `,
			` + latencyTotals("sum(", ")") + ` AS latency
		FROM ` + table + `
		WHERE org_id = @org_id AND ` + start + ` >= @start AND ` + start + ` < @end
			AND (@projects::text[] IS NULL OR project_id = ANY(@projects))
			AND (@keys::text[] IS NULL OR api_key_id = ANY(@keys))
			AND (@models::text[] IS NULL OR model = ANY(@models))
			AND (@sizes::text[] IS NULL OR size = ANY(@sizes))` + behind + `
		GROUP BY ` + groups + `
		ORDER BY ` + groups + `
		LIMIT @limit`, args
}

// LatencyPercentile reads a percentile, from 0 to 100, of the durations that a row
// counts, in milliseconds: 0 for none. It is the geometric middle of the class that the
// percentile is in, whose bounds are a factor of the square root of two apart: off by
// 19 % at most, between 250 ms and 512 s. Those below and beyond are read as 210 ms and
// 609 s.
func LatencyPercentile(latency []int64, percent float64) int {
	total := int64(0)
	for _, n := range latency {
		total += n
	}
	rank := max(1, int64(math.Ceil(percent/100*float64(total))))
	for class, n := range latency {
		if rank -= n; rank <= 0 {
			return int(math.Round(latencyFirst * math.Pow(2, (float64(class)-0.5)/2)))
		}
	}
	return 0
}

// OrgUsage is what an organization used in some days.
type OrgUsage struct {
	OrgID string
	Name  *string // nil once it is gone
	UsageSums
}

// OperatorUsage returns the page of all organizations that used something from a day
// on and before another (UTC), by id.
func (db *DB) OperatorUsage(ctx context.Context, start, end time.Time, p Page) ([]*OrgUsage, error) {
	page, err := paged[OrgUsage](ctx, db, `
			SELECT org_id, (SELECT name FROM org WHERE org.id = org_id) AS name, `+usageSums+`
			FROM usage_day
			WHERE day >= @start AND day < @end
			GROUP BY org_id`, "org_id", p, pgx.NamedArgs{"start": start, "end": end})
	if err != nil {
		return nil, fmt.Errorf("usage of all organizations: %w", err)
	}
	return page, nil
}

// TotalUsage returns what all organizations used together from a day on and before
// another (UTC).
func (db *DB) TotalUsage(ctx context.Context, start, end time.Time) (*UsageSums, error) {
	totals, err := planned[UsageSums](ctx, db, `
		SELECT `+strings.NewReplacer("sum(", "coalesce(sum(", ")::", "), 0)::").Replace(usageSums)+`
		FROM usage_day
		WHERE day >= @start AND day < @end`, pgx.NamedArgs{"start": start, "end": end})
	if err != nil {
		return nil, fmt.Errorf("usage of all organizations together: %w", err)
	}
	return totals[0], nil
}
