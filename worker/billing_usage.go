package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// reportUsage tells Stripe of metered use. A report is written before it is sent, and
// sent with its own identifier until Stripe has taken it: nothing is told twice, and
// nothing is lost, wherever the process is killed. While Stripe is away reports wait,
// and are told of as of a time whose invoice is still to come, if the subscription goes
// on.
type reportUsage struct {
	river.WorkerDefaults[jobs.ReportUsageArgs]
	w *Worker
}

// Timeout of one run, in which thousands of reports may wait. Two at once do no harm.
func (r *reportUsage) Timeout(*river.Job[jobs.ReportUsageArgs]) time.Duration {
	return 10 * time.Minute
}

// Work writes the reports that are due, and sends all that have not been taken. One that
// can not be written keeps no other from being written or sent.
func (r *reportUsage) Work(ctx context.Context, _ *river.Job[jobs.ReportUsageArgs]) error {
	if !r.w.opts.Billing.On() {
		return nil
	}
	return errors.Join(r.write(ctx), r.send(ctx))
}

func (r *reportUsage) write(ctx context.Context) (failed error) {
	tried := map[store.UnreportedUse]bool{} // and not written
	for {
		limit := sweepSize + len(tried)
		due, err := r.w.opts.DB.DueUse(ctx, r.w.now(), limit)
		if err != nil {
			return errors.Join(failed, err)
		}
		for _, use := range due {
			if tried[*use] {
				continue
			}
			if _, err := r.w.opts.DB.ReportUse(ctx, *use, r.w.now()); err != nil {
				tried[*use], failed = true, errors.Join(failed, err)
			}
		}
		if len(due) < limit {
			return failed
		}
	}
}

// send sends reports, each once. What Stripe refuses stays, and keeps no other from
// being sent; when it is away the rest waits for the next run.
func (r *reportUsage) send(ctx context.Context) (refused error) {
	tried := map[string]bool{}
	for {
		unsent, err := r.w.opts.DB.UnsentReports(ctx, sweepSize)
		if err != nil {
			return errors.Join(refused, err)
		}
		before := len(tried)
		for _, report := range unsent {
			if tried[report.Identifier] {
				continue
			}
			tried[report.Identifier] = true
			err := r.sendOne(ctx, report.Identifier)
			refused = errors.Join(refused, err)
			if err != nil && !errors.Is(err, billing.ErrRefused) && !errors.Is(err, billing.ErrNotFound) {
				return fmt.Errorf("report usage, reports wait: %w", refused)
			}
		}
		if len(tried) == before { // those tried last come last
			return refused
		}
	}
}

// sendOne sends a report and notes what came of it.
func (r *reportUsage) sendOne(ctx context.Context, identifier string) error {
	err := r.tell(ctx, identifier)
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	return errors.Join(err, r.w.opts.DB.NoteUsageReport(ctx, identifier, reason))
}

// tell sends a report, unless someone else has.
func (r *reportUsage) tell(ctx context.Context, identifier string) error {
	report, err := r.w.opts.DB.AimUsageReport(ctx, identifier, r.w.now())
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.w.opts.Billing.MeterEvent(ctx, billing.MeterEvent{
		Identifier: report.Identifier, Customer: report.Customer, Credits: report.Credits, At: *report.ToldAt,
	})
}
