package api

import (
	"context"
	"errors"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// subscription is what an organization is on, and what it pays for that.
type subscription struct {
	Object            string     `json:"object" enum:"subscription"`
	OrganizationID    string     `json:"organization_id"`
	Plan              string     `json:"plan" doc:"That the organization is on; GET /v1/plans says what it is"`
	ID                *string    `json:"id" doc:"Stripe's; null: nothing is paid for"`
	Status            string     `json:"status" enum:"none,incomplete,incomplete_expired,trialing,active,past_due,unpaid,paused,canceled" doc:"As Stripe has it. past_due and unpaid: what is there can be used, and the next period gets nothing until it is paid."`
	PeriodStart       *time.Time `json:"period_start"`
	PeriodEnd         *time.Time `json:"period_end" doc:"When it is paid for again, or ends"`
	CancelAtPeriodEnd bool       `json:"cancel_at_period_end"`
	LatestInvoice     *string    `json:"latest_invoice"`
}

func viewSubscription(org *store.Org, sub *store.Subscription) subscription {
	shown := subscription{Object: "subscription", OrganizationID: org.ID, Plan: org.Plan, Status: "none"}
	if sub == nil || sub.Subscription == nil {
		return shown
	}
	shown.ID, shown.PeriodStart, shown.PeriodEnd = sub.Subscription, utc(sub.PeriodStart), utc(sub.PeriodEnd)
	shown.CancelAtPeriodEnd, shown.LatestInvoice = sub.CancelAtPeriodEnd, sub.LatestInvoice
	if sub.Status != nil {
		shown.Status = *sub.Status
	}
	return shown
}

type subscriptionOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         subscription
}

func (s *server) getSubscription(ctx context.Context, _ *struct{}) (*subscriptionOutput, error) {
	orgID := auth.FromContext(ctx).OrgID
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.showSubscription(ctx, orgID)
}

func (s *server) showSubscription(ctx context.Context, orgID string) (*subscriptionOutput, error) {
	org, err := s.db.Org(ctx, orgID)
	if err != nil {
		return nil, err
	}
	sub, err := s.db.Subscription(ctx, orgID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return &subscriptionOutput{CacheControl: notKept, Body: viewSubscription(org, sub)}, nil
}

type changeSubscriptionBody struct {
	Plan              *string `json:"plan,omitempty" maxLength:"100" doc:"What is left of the period is prorated, as are its credits" example:"pro"`
	CancelAtPeriodEnd *bool   `json:"cancel_at_period_end,omitempty" doc:"true: it ends with its period; false: it goes on after all"`
}

type changeSubscriptionInput struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"1 to 255 visible ASCII characters. A second request with the same key changes nothing more, for a day."`
	Body           changeSubscriptionBody
}

// changeSubscription changes a subscription at Stripe and applies what it says.
func (s *server) changeSubscription(ctx context.Context, in *changeSubscriptionInput) (*subscriptionOutput, error) {
	asked := &in.Body
	if asked.Plan == nil && asked.CancelAtPeriodEnd == nil {
		return nil, &jobs.InvalidError{Faults: []jobs.Fault{{Param: "plan", Code: "required", Message: "plan or cancel_at_period_end is required"}}}
	}
	if asked.Plan != nil {
		if _, err := s.salePlan(ctx, *asked.Plan); err != nil {
			return nil, err
		}
	}
	if err := s.checkBilling(); err != nil {
		return nil, err
	}
	key, err := askKey(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, billingTimeout)
	defer cancel()
	orgID := auth.FromContext(ctx).OrgID
	before, err := s.db.Subscription(ctx, orgID)
	if errors.Is(err, store.ErrNotFound) || err == nil && !before.Live() {
		return nil, refuse("no_subscription", "")
	}
	if err != nil {
		return nil, err
	}
	fetched, err := s.db.Clock(ctx)
	if err != nil {
		return nil, err
	}
	sub, err := s.opts.Billing.ChangeSubscription(ctx, *before.Subscription, billing.SubscriptionChange{
		Plan: asked.Plan, CancelAtPeriodEnd: asked.CancelAtPeriodEnd, Key: orgID + ":" + key,
	})
	if err != nil {
		return nil, err
	}
	err = s.db.Transact(ctx, func(tx *store.DB) error {
		if _, err := jobs.ApplySubscription(ctx, tx, sub, fetched, s.opts.Now()); err != nil {
			return err
		}
		return s.record(ctx, tx, change{
			Action: "subscription.update", Kind: "subscription", ID: sub.ID,
			Before: auditedSubscription(before.Plan, before.CancelAtPeriodEnd), After: auditedSubscription(&sub.Plan, sub.CancelAtPeriodEnd),
		})
	})
	if err != nil {
		return nil, err
	}
	return s.showSubscription(ctx, orgID)
}

// auditedSubscription is what the log keeps of a subscription.
func auditedSubscription(plan *string, ends bool) map[string]any {
	return map[string]any{"plan": plan, "cancel_at_period_end": ends}
}
