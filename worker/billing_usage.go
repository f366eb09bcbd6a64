package worker

import (
	"context"
	"errors"
	"fmt"

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

// Work writes the reports that are due, and sends all that have not been taken.
func (r *reportUsage) Work(ctx context.Context, _ *river.Job[jobs.ReportUsageArgs]) error {
	if !r.w.opts.Billing.On() {
		return nil
	}
	for {
		due, err := r.w.opts.DB.UnreportedUse(ctx, r.w.now(), sweepSize)
		if err != nil {
			return err
		}
		for _, use := range due {
			if _, err := r.w.opts.DB.ReportUse(ctx, *use, r.w.now()); err != nil {
				return err
			}
		}
		if len(due) < sweepSize {
			break
		}
	}
	return r.send(ctx)
}

// send sends some reports. What Stripe refuses stays, and keeps no other from being
// sent; when it is away the rest waits for the next run.
func (r *reportUsage) send(ctx context.Context) error {
	unsent, err := r.w.opts.DB.UnsentReports(ctx, sweepSize)
	if err != nil {
		return err
	}
	var refused error
	for _, report := range unsent {
		err := r.tell(ctx, report.Identifier)
		reason := ""
		if err != nil {
			reason = err.Error()
		}
		if noteErr := r.w.opts.DB.NoteUsageReport(ctx, report.Identifier, reason); noteErr != nil {
			return errors.Join(err, noteErr)
		}
		if errors.Is(err, billing.ErrUnavailable) || errors.Is(err, billing.ErrCredentials) {
			return fmt.Errorf("report usage, %d reports wait: %w", len(unsent), err)
		}
		refused = errors.Join(refused, err)
	}
	return refused
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
