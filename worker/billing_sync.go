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

// syncBilling fetches what Stripe may have told in vain.
type syncBilling struct {
	river.WorkerDefaults[jobs.SyncBillingArgs]
	w *Worker
}

// syncSize is how many subscriptions are fetched in one run.
const syncSize = 100

// givenUp is how long an event may wait before it is queued again.
const givenUp = 15 * time.Minute

// Work goes on with the rest where something fails.
func (s *syncBilling) Work(ctx context.Context, _ *river.Job[jobs.SyncBillingArgs]) error {
	if !s.w.opts.Billing.On() {
		return nil
	}
	return errors.Join(s.requeue(ctx), s.cancel(ctx), s.fetch(ctx), s.fetchCheckouts(ctx))
}

// requeue queues events again that have no live ticket.
func (s *syncBilling) requeue(ctx context.Context) error {
	ids, err := s.w.opts.DB.UnhandledStripeEvents(ctx, time.Now().Add(-givenUp), sweepSize)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := s.w.river.Insert(ctx, jobs.HandleStripeEventArgs{EventID: id}, nil); err != nil {
			return fmt.Errorf("queue event %s of Stripe again: %w", id, err)
		}
	}
	return nil
}

// cancel ends the subscriptions of deleted organizations.
func (s *syncBilling) cancel(ctx context.Context) error {
	subs, err := s.w.opts.DB.SubscriptionsToCancel(ctx, s.w.now(), syncSize)
	if err != nil {
		return err
	}
	var failed error
	for _, sub := range subs {
		failed = errors.Join(failed, s.dropOthers(ctx, sub), s.cancelOne(ctx, *sub.Subscription))
	}
	return failed
}

func (s *syncBilling) cancelOne(ctx context.Context, id string) error {
	fetched, err := s.w.opts.DB.Clock(ctx)
	if err != nil {
		return err
	}
	sub, err := s.w.opts.Billing.CancelSubscription(ctx, id, true)
	if errors.Is(err, billing.ErrRefused) || errors.Is(err, billing.ErrNotFound) { // it has ended already
		_, err = jobs.SyncSubscription(ctx, s.w.opts.DB, s.w.opts.Billing, id, s.w.now())
		return err
	}
	if err != nil {
		return err
	}
	_, err = jobs.ApplySubscription(ctx, s.w.opts.DB, sub, fetched, s.w.now())
	return err
}

// fetch applies subscriptions of which nothing was heard.
func (s *syncBilling) fetch(ctx context.Context) error {
	subs, err := s.w.opts.DB.SubscriptionsToFetch(ctx, s.w.now(), syncSize)
	if err != nil {
		return err
	}
	var failed error
	for _, sub := range subs {
		_, err := jobs.SyncSubscription(ctx, s.w.opts.DB, s.w.opts.Billing, *sub.Subscription, s.w.now())
		if err == nil {
			err = s.dropOthers(ctx, sub)
		}
		failed = errors.Join(failed, err)
		if errors.Is(err, billing.ErrUnavailable) {
			break
		}
	}
	return failed
}

// dropOthers finds subscriptions beside the one that is known.
func (s *syncBilling) dropOthers(ctx context.Context, known *store.Subscription) error {
	ids, err := s.w.opts.Billing.Subscriptions(ctx, known.Customer)
	if errors.Is(err, billing.ErrNotFound) {
		return nil // SyncSubscription says what is the matter
	}
	for _, id := range ids {
		if err == nil && id != *known.Subscription {
			var note string
			note, err = jobs.SyncOnly(ctx, s.w.opts.DB, s.w.opts.Billing, id, s.w.now())
			s.w.tellOperators(ctx, note)
		}
	}
	return err
}

// fetchCheckouts applies what customers may have paid for without Stripe telling of it.
func (s *syncBilling) fetchCheckouts(ctx context.Context) error {
	ids, err := s.w.opts.DB.CheckoutsToFetch(ctx, syncSize)
	if err != nil {
		return err
	}
	var failed error
	for _, id := range ids {
		note, err := jobs.SyncCheckout(ctx, s.w.opts.DB, s.w.opts.Billing, id, s.w.now())
		s.w.tellOperators(ctx, note)
		failed = errors.Join(failed, err)
		if errors.Is(err, billing.ErrUnavailable) {
			break
		}
	}
	return failed
}
