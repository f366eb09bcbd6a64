package worker

import (
	"context"
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
)

// billingKept is for how long it can be looked up what Stripe has told and was told:
// longer than Stripe repeats anything, or a period.
const billingKept = 40 * 24 * time.Hour

// expireBilling forgets what Stripe has told and was told long ago.
type expireBilling struct {
	river.WorkerDefaults[jobs.ExpireBillingArgs]
	w *Worker
}

func (e *expireBilling) Work(ctx context.Context, _ *river.Job[jobs.ExpireBillingArgs]) error {
	before := time.Now().Add(-billingKept)
	for _, forget := range []func(context.Context, time.Time, int) (int, error){
		e.w.opts.DB.ForgetStripeEvents, e.w.opts.DB.ForgetUsageReports,
	} {
		for {
			n, err := forget(ctx, before, sweepSize)
			if err != nil {
				return err
			}
			if n < sweepSize {
				break
			}
		}
	}
	return nil
}
