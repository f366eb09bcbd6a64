package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// A creditRefusal is a CreditsError with what its organization's account says of it.
type creditRefusal struct {
	*jobs.CreditsError

	left   int64  // credits, of what there is or of the budget
	unpaid string // the state of the subscription, if it is for that that nothing is there
	more   string // how there is more, or it is paid, and who may see to that
}

// Unwrap returns the error that it explains.
func (e *creditRefusal) Unwrap() error { return e.CreditsError }

// explainRefusal adds to a refusal for want of credits what is behind it. Other errors,
// and what the database does not tell, stay as they are.
func (s *server) explainRefusal(ctx context.Context, orgID string, err error) error {
	var e *jobs.CreditsError
	if !errors.As(err, &e) {
		return err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	account, accountErr := s.presentAccount(ctx, orgID)
	if accountErr != nil {
		return err
	}
	sub, subErr := s.db.Subscription(ctx, orgID)
	if errors.Is(subErr, store.ErrNotFound) {
		sub, subErr = &store.Subscription{}, nil
	}
	plan, planErr := s.plans.Plan(ctx, account.Plan)
	if subErr != nil || planErr != nil {
		return err
	}
	r := &creditRefusal{CreditsError: e, left: e.Available}
	switch {
	case e.Budget != nil:
		r.left = max(0, *e.Budget-account.SpentBefore-account.UnderWayBefore-account.Reserved-account.Used)
	case sub.Unpaid() && (account.Held || account.Granted <= account.Bought): // nothing by its plan
		r.unpaid = *sub.Status
	}
	r.more = s.moreCredits(r, sub, plan)
	return r
}

// moreCredits says by which of the routes there is more, and for whom.
func (s *server) moreCredits(r *creditRefusal, sub *store.Subscription, plan *store.Plan) string {
	const buy = "GET /v1/plans lists larger plans, which POST /v1/billing/%s, and POST /v1/billing/credits gets more credits. " + whoPays
	switch {
	case r.Budget != nil:
		return "PUT /v1/billing/limits raises it. " + whoPays
	case !s.opts.Billing.On():
		return "Payments are not set up here: whoever runs the service gives more credits, or a larger plan."
	case r.unpaid != "":
		return "POST /v1/billing/portal opens where that is done. " + whoPays
	case plan.Metered: // whose use is let in, unless an operator has set its credits
		return "Whoever runs the service has set them, and gives more."
	case sub.Live():
		return fmt.Sprintf(buy, "subscription changes to")
	}
	return fmt.Sprintf(buy, "checkout gets")
}

// whoPays says who has the scope billing:write.
const whoPays = "An owner, a member with the role billing or a master key may do so."

// creditsProblem says what is left, until when, and how there is more.
func creditsProblem(r *creditRefusal) *problem {
	e, left := r.CreditsError, r.left
	resets := e.ResetsAt.UTC().Format(time.RFC3339)
	var p *problem
	switch {
	case e.Budget != nil:
		p = newProblem("spend_limit_reached", fmt.Sprintf("Your organization's budget is %s until %s, and this needs %d: more than is left of it. %s",
			creditText(*e.Budget), resets, e.Needed, r.more), nil)
	case r.unpaid != "":
		p = newProblem("payment_required", fmt.Sprintf("This needs %s, and %d are left: your organization's subscription is %s, and grants nothing until its invoice is paid. %s",
			creditText(e.Needed), max(0, left), r.unpaid, r.more), nil)
	default:
		p = newProblem("quota_exceeded", fmt.Sprintf("This needs %d of your organization's credits, and %d are left of its plan %s until %s. %s",
			e.Needed, left, e.Plan, resets, r.more), nil)
	}
	p.Available, p.Needed, p.ResetsAt = &left, &e.Needed, new(e.ResetsAt.UTC())
	return p
}

// quotaProblem does so of a key's own limit.
func quotaProblem(e *jobs.QuotaError) *problem {
	p := newProblem("quota_exceeded", fmt.Sprintf("This API key may ask for %d generations a calendar month, and has. The count begins anew on %s; PATCH /v1/keys/{id} raises monthly_limit.",
		e.Limit, e.ResetsAt.Format(time.RFC3339)), nil)
	p.Available, p.Needed, p.ResetsAt = new(int64(0)), new(int64(1)), new(e.ResetsAt.UTC())
	return p
}

func creditText(n int64) string {
	if n == 1 {
		return "1 credit"
	}
	return fmt.Sprintf("%d credits", n)
}

// shortOf returns the refusal of a generation that needs so many credits of an account
// as it is, or nil.
func shortOf(account *store.CreditAccount, needed int64) error {
	e := &jobs.CreditsError{Plan: account.Plan, Needed: needed, Available: max(0, account.Available()), ResetsAt: account.EndsAt}
	switch {
	case !account.Unbounded() && needed > account.Available():
	case account.SpendLimit != nil && needed > *account.Spendable():
		e.Budget = account.SpendLimit
	default:
		return nil
	}
	return e
}
