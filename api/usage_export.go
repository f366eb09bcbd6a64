package api

import (
	"context"
	"encoding/csv"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"

	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/store"
)

type exportUsageInput struct {
	UsageInput
}

// exportUsage streams what getUsage shows. It reads page by page, so that neither
// memory nor a transaction grows with it. An answer that can not be completed is broken
// off, which its reader notices.
func (s *server) exportUsage(ctx context.Context, in *exportUsageInput) (*huma.StreamResponse, error) {
	f, err := in.filter(ctx, s.opts.Now())
	if err != nil {
		return nil, err
	}
	f.Limit = usagePage
	rows, err := s.readUsage(ctx, f)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("usage_%s_%s.csv", f.Start.Format(time.DateOnly), f.End.Format(time.DateOnly))
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		hctx.SetHeader("Content-Type", "text/csv; charset=utf-8; header=present") // RFC 4180, section 3
		hctx.SetHeader("Cache-Control", noStore)
		hctx.SetHeader("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name))
		if hctx.Method() == http.MethodHead {
			return
		}
		if err := s.writeUsage(ctx, hctx, in.width(), f, rows); err != nil {
			requestOf(ctx).cause = fmt.Errorf("export usage: %w", err)
			panic(http.ErrAbortHandler)
		}
	}}, nil
}

// writeUsage writes the pages from the first on, which has been read.
func (s *server) writeUsage(ctx context.Context, hctx huma.Context, width time.Duration, f store.UsageFilter, rows []*store.UsageRow) (err error) {
	control := http.NewResponseController(humaecho.Unwrap(hctx).Response().Writer)
	// What has no connection needs no deadline; the next answer on it has none of ours.
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	table := csv.NewWriter(hctx.BodyWriter())
	table.UseCRLF = true
	_ = table.Write(usageHeader(f.GroupBy)) // Flush tells its error
	for {
		_ = control.SetWriteDeadline(time.Now().Add(s.opts.StreamPatience))
		for _, row := range rows {
			if err := table.Write(usageCells(row, f.GroupBy, width)); err != nil {
				return err
			}
		}
		table.Flush()
		if err := table.Error(); err != nil || len(rows) < f.Limit {
			return err
		}
		f.After = rows[len(rows)-1]
		if rows, err = s.readUsage(ctx, f); err != nil {
			return err
		}
	}
}

func usageHeader(groups []string) []string {
	return append(append([]string{"start", "end"}, groups...),
		"generations", "succeeded", "failed", "canceled", "expired", "images", "credits", "cost", "currency",
		"latency_p50_ms", "latency_p90_ms", "latency_p99_ms")
}

func usageCells(r *store.UsageRow, groups []string, width time.Duration) []string {
	cells := []string{r.Start.UTC().Format(time.RFC3339), r.Start.Add(width).UTC().Format(time.RFC3339)}
	for _, group := range groups {
		cells = append(cells, harmless(**r.Group(group)))
	}
	for _, n := range []int64{r.Generations(), r.Succeeded, r.Failed, r.Canceled, r.Expired, r.Images, r.Credits} {
		cells = append(cells, strconv.FormatInt(n, 10))
	}
	cells = append(cells, billing.Amount(r.Micros), billing.Currency)
	latency := latencyOf(r)
	if latency == nil {
		return append(cells, "", "", "")
	}
	return append(cells, strconv.Itoa(latency.P50), strconv.Itoa(latency.P90), strconv.Itoa(latency.P99))
}
