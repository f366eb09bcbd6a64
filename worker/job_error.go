package worker

import (
	"context"
	"errors"
	"log/slog"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// failures logs what jobs come to when they fail: River keeps their errors in
// their rows, where nobody looks.
type failures struct{ w *Worker }

var _ river.ErrorHandler = failures{}

// HandleError logs an error that the job is tried again after as a warning, and
// its last as an error. A stop is no failure.
func (f failures) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	if errors.Is(err, context.Canceled) && f.w.stopping.Load() {
		return nil
	}
	level := slog.LevelWarn
	if job.Attempt >= job.MaxAttempts {
		level = slog.LevelError
	}
	f.w.opts.Logger.Log(ctx, level, "job failed", "kind", job.Kind, "job", job.ID,
		"attempt", job.Attempt, "of", job.MaxAttempts, "error", err)
	return nil
}

// HandlePanic logs where a job panicked.
func (f failures) HandlePanic(ctx context.Context, job *rivertype.JobRow, value any, trace string) *river.ErrorHandlerResult {
	f.w.opts.Logger.ErrorContext(ctx, "job panicked", "kind", job.Kind, "job", job.ID,
		"attempt", job.Attempt, "of", job.MaxAttempts, "panic", value, "trace", trace)
	return nil
}
