package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
)

// warnSpending tells an organization of the use that its period has reached, of each
// share once.
type warnSpending struct {
	river.WorkerDefaults[jobs.WarnSpendingArgs]
	w *Worker
}

func (s *warnSpending) Work(ctx context.Context, job *river.Job[jobs.WarnSpendingArgs]) error {
	_, err := s.w.opts.DB.TellSpending(ctx, job.Args.OrgID, job.Args.Period)
	return err
}

// checkSpending makes good what was lost of that, and tells operators of what
// providers cost.
type checkSpending struct {
	river.WorkerDefaults[jobs.CheckSpendingArgs]
	w *Worker
}

func (s *checkSpending) Work(ctx context.Context, _ *river.Job[jobs.CheckSpendingArgs]) error {
	return errors.Join(
		sweep(ctx, s.w.opts.DB.QueueLostWarnings),
		s.tellCost(ctx),
	)
}

// tellCost is for those who run the service.
func (s *checkSpending) tellCost(ctx context.Context) error {
	limit := s.w.opts.SpendAlert
	if limit <= 0 {
		return nil
	}
	told, err := s.w.opts.DB.TellCost(ctx, limit)
	if err != nil {
		return fmt.Errorf("check what providers cost: %w", err)
	}
	for _, t := range told {
		s.w.opts.Logger.LogAttrs(ctx, slog.LevelWarn, "providers cost more in a day than you want to hear of",
			slog.String("day", t.Day.UTC().Format(time.DateOnly)), slog.Int64("cost_micros", t.Micros),
			slog.Int64("limit_micros", limit), slog.Int("percent", t.Percent))
	}
	return nil
}
