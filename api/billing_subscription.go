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
	NextPlan          *string    `json:"next_plan" doc:"That takes its place when the period ends; null: none"`
	CancelAtPeriodEnd bool       `json:"cancel_at_period_end"`
	LatestInvoice     *string    `json:"latest_invoice"`
}

func viewSubscription(org *store.Org, sub *store.Subscription) subscription {
	shown := subscription{Object: "subscription", OrganizationID: org.ID, Plan: org.Plan, Status: "none"}
	if sub == nil || sub.Subscription == nil {
		return shown
	}
	shown.ID, shown.PeriodStart, shown.PeriodEnd = sub.Subscription, utc(sub.PeriodStart), utc(sub.PeriodEnd)
	shown.NextPlan, shown.CancelAtPeriodEnd, shown.LatestInvoice = sub.NextPlan, sub.CancelAtPeriodEnd, sub.LatestInvoice
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
	if sub != nil && sub.NextPlan != nil && !sub.PeriodEnd.After(s.opts.Now()) { // the next plan begins with the next period
		if _, err := s.db.OpenPeriod(ctx, orgID, s.opts.Now()); err != nil {
			return nil, err
		}
		if org, err = s.db.Org(ctx, orgID); err != nil {
			return nil, err
		}
		if sub, err = s.db.Subscription(ctx, orgID); err != nil {
			return nil, err
		}
	}
	return &subscriptionOutput{CacheControl: notKept, Body: viewSubscription(org, sub)}, nil
}

type changeSubscriptionBody struct {
	Plan              *string `json:"plan,omitempty" maxLength:"100" doc:"One that costs more begins once the rest of the period is paid for, which is tried at once; any other, and one that is billed by use, when the period ends" example:"pro"`
	CancelAtPeriodEnd *bool   `json:"cancel_at_period_end,omitempty" doc:"true: it ends with its period; false: it goes on after all"`
}

type changeSubscriptionInput struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"1 to 255 visible ASCII characters. A second request with the same key changes nothing more, for a day."`
	Body           changeSubscriptionBody
}

// changeSubscription changes a subscription at Stripe and applies what is there then.
func (s *server) changeSubscription(ctx context.Context, in *changeSubscriptionInput) (*subscriptionOutput, error) {
	asked := &in.Body
	if asked.Plan == nil && asked.CancelAtPeriodEnd == nil {
		return nil, &jobs.InvalidError{Faults: []jobs.Fault{{Param: "plan", Code: "required", Message: "plan or cancel_at_period_end is required"}}}
	}
	var plan *store.Plan
	if asked.Plan != nil {
		var err error
		if plan, err = s.salePlan(ctx, *asked.Plan); err != nil {
			return nil, err
		}
	}
	if err := s.checkBilling(); err != nil {
		return nil, err
	}
	orgID := auth.FromContext(ctx).OrgID
	claim, err := s.creationKey(ctx, orgID, "subscription", store.NewID("ask"), asked)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, billingTimeout)
	defer cancel()
	if done, err := s.isClaimed(ctx, claim); err != nil || done {
		return s.showUnless(ctx, orgID, err)
	}
	before, err := s.liveSubscription(ctx, orgID)
	if err != nil {
		return nil, err
	}
	wanted, err := s.subscriptionChange(ctx, before, plan, asked.CancelAtPeriodEnd)
	if err != nil {
		return nil, err
	}
	if err := s.opts.Billing.ChangeSubscription(ctx, *before.Subscription, *wanted); err != nil {
		return nil, err
	}
	// What Stripe has answered may be of an earlier request with the same key.
	if _, err := jobs.SyncSubscription(ctx, s.db, s.opts.Billing, *before.Subscription, s.opts.Now()); err != nil {
		return nil, err
	}
	err = s.db.Transact(ctx, func(tx *store.DB) error {
		if done, err := claimCreation(ctx, tx, claim); err != nil || done != "" {
			return err
		}
		after, err := tx.Subscription(ctx, orgID)
		if err != nil {
			return err
		}
		return s.record(ctx, tx, change{
			Action: "subscription.update", Kind: "subscription", ID: *before.Subscription,
			Before: auditedSubscription(before), After: auditedSubscription(after),
		})
	})
	return s.showUnless(ctx, orgID, err)
}

// isClaimed reports whether a request with the key, which may be nil, is done.
func (s *server) isClaimed(ctx context.Context, key *store.IdempotencyKey) (done bool, err error) {
	errFree := errors.New("it is free, and stays so")
	err = s.db.Transact(ctx, func(tx *store.DB) error {
		before, err := claimCreation(ctx, tx, key)
		if err == nil && before == "" {
			err = errFree
		}
		return err
	})
	if errors.Is(err, errFree) {
		return false, nil
	}
	return err == nil, err
}

func (s *server) showUnless(ctx context.Context, orgID string, err error) (*subscriptionOutput, error) {
	if err != nil {
		return nil, err
	}
	return s.showSubscription(ctx, orgID)
}

// liveSubscription is what an organization has, as Stripe says now.
func (s *server) liveSubscription(ctx context.Context, orgID string) (*store.Subscription, error) {
	sub, err := s.db.Subscription(ctx, orgID)
	if err == nil && sub.Live() {
		if _, err := jobs.SyncSubscription(ctx, s.db, s.opts.Billing, *sub.Subscription, s.opts.Now()); err != nil {
			return nil, err
		}
		sub, err = s.db.Subscription(ctx, orgID)
	}
	if errors.Is(err, store.ErrNotFound) || err == nil && !sub.Live() {
		return nil, refuse("no_subscription", "")
	}
	return sub, err
}

// turn is for how long before the end of a period its plan stays: whoever changes it
// is to know which period the change is of, whatever Stripe's clock says.
const turn = 5 * time.Minute

// subscriptionChange is what Stripe is asked for. plan may be nil.
func (s *server) subscriptionChange(ctx context.Context, now *store.Subscription, plan *store.Plan, ends *bool) (*billing.SubscriptionChange, error) {
	key, err := askKey(ctx)
	if err != nil {
		return nil, err
	}
	asked := &billing.SubscriptionChange{CancelAtPeriodEnd: ends, Key: now.OrgID + ":" + key}
	if plan == nil {
		return asked, nil
	}
	switch {
	case now.Plan == nil || now.Unpaid():
		return nil, refuse("billing_refused", "The subscription is not paid. Its plan can be changed once it is; POST /v1/billing/portal opens where that is done.")
	case now.PeriodEnd == nil || s.opts.Now().Add(turn).After(*now.PeriodEnd):
		return nil, refuse("billing_refused", "The subscription's period is about to end. Its plan can be changed in the next one, in ten minutes.")
	}
	paid, err := s.db.Plan(ctx, *now.Plan)
	if err != nil {
		return nil, err
	}
	asked.Plan, asked.Paid, asked.Priced, asked.Waits = &plan.Name, paid.Name, paid.Name, plan.Waits(paid)
	if now.NextPlan != nil {
		asked.Priced = *now.NextPlan
	}
	return asked, nil
}

// auditedSubscription is what the log keeps of a subscription.
func auditedSubscription(sub *store.Subscription) map[string]any {
	return map[string]any{"plan": sub.Plan, "next_plan": sub.NextPlan, "cancel_at_period_end": sub.CancelAtPeriodEnd}
}
