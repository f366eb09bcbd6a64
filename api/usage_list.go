package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

type getUsageInput struct {
	UsageInput
	After string `query:"after" maxLength:"2000" doc:"The next_cursor of the page before, with everything else as it was asked there"`
}

// usageBucket is an hour or a day.
type usageBucket struct {
	Start   time.Time     `json:"start"`
	End     time.Time     `json:"end"`
	Results []usageResult `json:"results" nullable:"false" doc:"One for each group of which something ended"`
}

type usageList struct {
	Object     string        `json:"object" enum:"list"`
	Data       []usageBucket `json:"data" nullable:"false" doc:"Every bucket of the time asked, in order"`
	HasMore    bool          `json:"has_more" doc:"Whether the page ends before the time asked does"`
	NextCursor *string       `json:"next_cursor" doc:"Send it as after to get the next page, which begins with the rest of the last bucket"`
}

type usageListOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         usageList
}

func (s *server) getUsage(ctx context.Context, in *getUsageInput) (*usageListOutput, error) {
	f, err := in.filter(ctx, s.opts.Now())
	if err != nil {
		return nil, err
	}
	if in.After != "" {
		if f.After = cursorRow(in.After, &f); f.After == nil {
			return nil, refuse("invalid_cursor", "after is not the next_cursor of a page of the same use; begin again without it.")
		}
	}
	f.Limit = usagePage + 1
	rows, err := s.readUsage(ctx, f)
	if err != nil {
		return nil, err
	}
	list := usageList{Object: "list"}
	rows, list.HasMore = cutPage(rows, usagePage, false)
	from, to := f.Start, f.End
	if f.After != nil {
		from = f.After.Start
		if len(rows) == 0 || !rows[0].Start.Equal(from) { // the page before had all of that bucket
			from = from.Add(in.width())
		}
	}
	if list.HasMore {
		last := rows[len(rows)-1]
		to = last.Start.Add(in.width())
		list.NextCursor = new(cursorOf(last, &f))
	}
	list.Data = usageBuckets(rows, from, to, in.width())
	return &usageListOutput{CacheControl: notKept, Body: list}, nil
}

// usageBuckets puts rows, which are in order, into the buckets of a range.
func usageBuckets(rows []*store.UsageRow, from, to time.Time, width time.Duration) []usageBucket {
	buckets := []usageBucket{}
	for at := from; at.Before(to); at = at.Add(width) {
		bucket := usageBucket{Start: at.UTC(), End: at.Add(width).UTC(), Results: []usageResult{}}
		for len(rows) > 0 && rows[0].Start.Equal(at) {
			bucket.Results = append(bucket.Results, viewUsage(rows[0]))
			rows = rows[1:]
		}
		buckets = append(buckets, bucket)
	}
	return buckets
}

// A usageCursor names the row that a page ends with, and what it was a page of.
type usageCursor struct {
	Daily   bool      `json:"d"`
	GroupBy []string  `json:"g"`
	Start   time.Time `json:"s"`
	Group   []string  `json:"r"`
}

func cursorOf(r *store.UsageRow, f *store.UsageFilter) string {
	c := usageCursor{Daily: f.Daily, GroupBy: f.GroupBy, Start: r.Start.UTC()}
	for _, group := range f.GroupBy {
		c.Group = append(c.Group, **r.Group(group))
	}
	text, _ := json.Marshal(c) // of texts and a time: it can not fail
	return base64.RawURLEncoding.EncodeToString(text)
}

// cursorRow is the row that a cursor names, or nil if it is none of the filter's.
func cursorRow(cursor string, f *store.UsageFilter) *store.UsageRow {
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	var c usageCursor
	if err != nil || json.Unmarshal(text, &c) != nil {
		return nil
	}
	width := time.Hour
	if f.Daily {
		width = day
	}
	if !c.Start.Equal(c.Start.Truncate(width)) || c.Daily != f.Daily || !slices.Equal(c.GroupBy, f.GroupBy) || len(c.Group) != len(f.GroupBy) ||
		c.Start.Before(f.Start) || !c.Start.Before(f.End) {
		return nil
	}
	row := &store.UsageRow{Start: c.Start}
	for i, group := range c.GroupBy {
		if !isText(c.Group[i]) {
			return nil
		}
		*row.Group(group) = &c.Group[i]
	}
	return row
}
