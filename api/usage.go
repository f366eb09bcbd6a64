package api

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/store"
)

// Buckets of use.
const (
	bucketHour = "1h"
	bucketDay  = "1d"
)

const day = 24 * time.Hour

// Bounds of what is asked of use at once.
const (
	maxUsageHours = 31 * 24
	maxUsageDays  = 400
	usagePage     = 1000 // rows, in an answer and in memory
)

// tooMuchUsage is the advice to whom a range takes too long.
const tooMuchUsage = "This use takes too long to add up; ask for a shorter time, by day, or of one project."

// UsageInput selects use. Its capital is for Huma, as that of PageInput.
type UsageInput struct {
	Start     time.Time `query:"start" doc:"From the bucket that this time is in; default: the last 7 days, or 24 hours"`
	End       time.Time `query:"end" doc:"Before this time, to the end of the bucket that it is in; default: now"`
	Bucket    string    `query:"bucket" enum:"1h,1d" default:"1d" doc:"Hours or days of UTC: of at most 31 or 400 days"`
	GroupBy   []string  `query:"group_by" enum:"api_key_id,project_id,model,size,kind" doc:"Any of these, with commas"`
	ProjectID string    `query:"project_id" maxLength:"100"`
	APIKeyID  string    `query:"api_key_id" maxLength:"100"`
	Model     string    `query:"model" maxLength:"100"`
}

// width is that of the buckets.
func (in *UsageInput) width() time.Duration { return widthOf(in.Bucket) }

func widthOf(bucket string) time.Duration {
	if bucket == bucketHour {
		return time.Hour
	}
	return day
}

// filter returns what the input selects for a caller.
func (in *UsageInput) filter(ctx context.Context, now time.Time) (store.UsageFilter, error) {
	f, err := usageOf(ctx, in.ProjectID)
	if err != nil {
		return f, err
	}
	most, usual := maxUsageDays, 7
	if in.Bucket == bucketHour {
		most, usual = maxUsageHours, 24
	}
	if f.Start, f.End, err = wholeBuckets(in.Start, in.End, now, in.width(), usual, most); err != nil {
		return f, err
	}
	for i, group := range in.GroupBy {
		if slices.Contains(in.GroupBy[:i], group) {
			return f, refuseParam("group_by", "conflict", "group_by names "+group+" more than once")
		}
	}
	f.Daily, f.GroupBy = in.Bucket == bucketDay, in.GroupBy
	if in.APIKeyID != "" {
		f.APIKeyIDs = []string{in.APIKeyID}
	}
	if in.Model != "" {
		f.Models = []string{in.Model}
	}
	return f, nil
}

// usageOf returns a filter of what a caller may see of the use of some projects, or of
// all: the key of a project sees that project's. Test keys use nothing, and see nothing
// of what live ones do.
func usageOf(ctx context.Context, projectIDs ...string) (store.UsageFilter, error) {
	caller := auth.FromContext(ctx)
	f := store.UsageFilter{OrgID: caller.OrgID}
	for _, id := range projectIDs {
		if id == "" {
			continue
		}
		if caller.Kind == auth.KindKey && id != caller.ProjectID {
			return f, refuse("permission_denied", "The key of a project sees that project's use and no other's; leave project_id out, or ask with a master key.")
		}
		f.ProjectIDs = append(f.ProjectIDs, id)
	}
	switch {
	case caller.Kind == auth.KindKey && caller.Test:
		f.ProjectIDs = []string{}
	case caller.Kind == auth.KindKey:
		f.ProjectIDs = []string{caller.ProjectID}
	}
	return f, nil
}

// wholeBuckets widens a range of time to whole buckets. Without a start it is as many
// buckets as usual.
func wholeBuckets(start, end, now time.Time, width time.Duration, usual, most int) (from, to time.Time, err error) {
	if end.IsZero() {
		end = now
	}
	// What is widened can be told in RFC 3339 still, whose years have four digits.
	for i, at := range []time.Time{start, end} {
		if year := at.UTC().Year(); !at.IsZero() && (year < 1970 || year > 9998) {
			param := []string{"start", "end"}[i]
			return from, to, refuseParam(param, "out_of_range", param+" must be a time from 1970 to 9998")
		}
	}
	if to = end.UTC().Truncate(width); to.Before(end) {
		to = to.Add(width)
	}
	if start.IsZero() {
		return to.Add(-time.Duration(usual) * width), to, nil
	}
	from = start.UTC().Truncate(width)
	if !start.Before(end) {
		return from, to, refuseParam("start", "invalid", "start must be before end, which is now by default")
	}
	if to.Sub(from) > time.Duration(most)*width {
		return from, to, refuseParam("start", "too_large", fmt.Sprintf("from start to end are more than %d days, which is the most in buckets of this size; ask for less, or for bucket=1d", time.Duration(most)*width/day))
	}
	return from, to, nil
}

// refuseParam says what is wrong with one parameter.
func refuseParam(param, code, message string) error {
	faults := []fault{{Param: param, Code: code, Message: message}}
	return &refusal{code: "validation_failed", detail: detailOf(faults), faults: faults}
}

// spentAmount is what use costs.
type spentAmount struct {
	Amount   string `json:"amount" example:"0.0200"`
	Currency string `json:"currency" enum:"usd"`
}

func costOf(micros int64) spentAmount {
	return spentAmount{Amount: billing.Amount(micros), Currency: billing.Currency}
}

// UsageCounts are what ended. Its capital is for Huma, as that of PageInput.
type UsageCounts struct {
	Generations int64       `json:"generations" doc:"That ended, however they did"`
	Succeeded   int64       `json:"succeeded"`
	Failed      int64       `json:"failed"`
	Canceled    int64       `json:"canceled"`
	Expired     int64       `json:"expired"`
	Images      int64       `json:"images" doc:"Delivered"`
	Credits     int64       `json:"credits"`
	Cost        spentAmount `json:"cost" doc:"What the credits are worth, at the price of one when each generation was accepted; not what is invoiced"`
}

func countsOf(s *store.UsageSums) UsageCounts {
	return UsageCounts{
		Generations: s.Generations(), Succeeded: s.Succeeded, Failed: s.Failed, Canceled: s.Canceled, Expired: s.Expired,
		Images: s.Images, Credits: s.Credits, Cost: costOf(s.Micros),
	}
}

// usageResult is the use of one group in a bucket.
type usageResult struct {
	APIKeyID  *string `json:"api_key_id,omitempty" doc:"This and the following four are there if use is grouped by them"`
	ProjectID *string `json:"project_id,omitempty"`
	Model     *string `json:"model,omitempty" doc:"That made the images: the one asked for, or its substitute"`
	Size      *string `json:"size,omitempty" example:"1K"`
	Kind      *string `json:"kind,omitempty" example:"generate"`
	UsageCounts
	Latency *usageLatency `json:"latency_ms" doc:"From accepted to ended, of those that succeeded; null: none did"`
}

type usageLatency struct {
	P50 int `json:"p50" doc:"Read from classes: off by 19 % at most between 250 ms and 512 s"`
	P90 int `json:"p90"`
	P99 int `json:"p99"`
}

func latencyOf(r *store.UsageRow) *usageLatency {
	if r.Succeeded == 0 {
		return nil
	}
	return &usageLatency{
		P50: store.LatencyPercentile(r.Latency, 50), P90: store.LatencyPercentile(r.Latency, 90), P99: store.LatencyPercentile(r.Latency, 99),
	}
}

func viewUsage(r *store.UsageRow) usageResult {
	return usageResult{
		APIKeyID: r.APIKeyID, ProjectID: r.ProjectID, Model: r.Model, Size: r.Size, Kind: r.Kind,
		UsageCounts: countsOf(&r.UsageSums), Latency: latencyOf(r),
	}
}

// readUsage reads the rows of a filter, as far as there is time for it.
func (s *server) readUsage(ctx context.Context, f store.UsageFilter) (rows []*store.UsageRow, err error) {
	err = s.search(ctx, tooMuchUsage, func(ctx context.Context) error {
		rows, err = s.db.Usage(ctx, f)
		return err
	})
	return rows, err
}
