package api

import (
	"context"
	"fmt"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/api/limit"
	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/store"
)

// estimate is what a generation would cost, and what would come of asking for it.
type estimate struct {
	Object          string           `json:"object" enum:"estimate"`
	Model           string           `json:"model" doc:"As asked"`
	ModelUsed       string           `json:"model_used" doc:"Of GET /v1/models"`
	Downgraded      *view.Downgraded `json:"downgraded" doc:"Says so when the quality would be lower than what is asked"`
	Size            *string          `json:"size" example:"1024x1024" doc:"Of the images"`
	Images          int              `json:"images"`
	PerImage        int              `json:"per_image" doc:"Credits"`
	Credits         int              `json:"credits" doc:"That would be reserved: no more is charged, and only for what is delivered"`
	UnitPrice       string           `json:"unit_price" example:"0.0200" doc:"Of a credit, in the organization's plan; US dollars"`
	Cost            view.Money       `json:"cost" doc:"What the credits are worth at unit_price; not what is invoiced"`
	Test            bool             `json:"test" doc:"It would be of test mode, which is free"`
	WouldBeAccepted bool             `json:"would_be_accepted" doc:"As things are now"`
	Reasons         []estimateReason `json:"reasons" nullable:"false" doc:"Why not"`
	Available       *int64           `json:"available" doc:"Credits that the organization may use now; null: any number, or none are needed"`
	ResetsAt        *time.Time       `json:"resets_at" doc:"When there are new ones; null where none are needed"`
	ETASeconds      int              `json:"eta_seconds" doc:"A guess at the time that the images take once it is their turn"`
}

// estimateReason is a problem that the request would be answered with.
type estimateReason struct {
	Code    string `json:"code" doc:"quota_exceeded, spend_limit_reached, payment_required, rate_limited; see GET /errors/{code}"`
	Message string `json:"message"`
}

// estimateInput is a submission that is not made.
type estimateInput struct{ Body generationBody }

var _ huma.Resolver = (*estimateInput)(nil)

// Resolve finds the same faults as with a submission.
func (in *estimateInput) Resolve(ctx huma.Context) []error { return in.Body.faults(ctx.Context()) }

type estimateOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         *estimate
}

func (s *server) estimate(ctx context.Context, in *estimateInput) (*estimateOutput, error) {
	made, err := s.estimateOf(ctx, auth.FromContext(ctx), in.Body.request())
	if err != nil {
		return nil, err
	}
	return &estimateOutput{CacheControl: "private, no-store", Body: made}, nil
}

// estimateOf counts nothing against the caller's limits, and takes nothing.
func (s *server) estimateOf(ctx context.Context, caller *auth.Caller, request jobs.GenerationRequest) (*estimate, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	g, err := s.queue.Preview(ctx, submissionOf(caller, request))
	if err != nil {
		return nil, err
	}
	out := &estimate{
		Object: "estimate", Model: g.Model, ModelUsed: g.ModelUsed, Downgraded: view.DowngradedOf(g.Params), Images: g.N, Test: g.Test, Reasons: []estimateReason{},
		UnitPrice: billing.Amount(0), Cost: view.Dollars(0), ETASeconds: int(s.views.ETA(g).Seconds()),
	}
	if p := g.Params; p.Width > 0 {
		out.Size = new(fmt.Sprintf("%dx%d", p.Width, p.Height))
	}
	refusals, err := s.foresee(ctx, caller)
	if err != nil {
		return nil, err
	}
	if g.Credits != nil {
		account, err := s.presentAccount(ctx, caller.OrgID)
		if err != nil {
			return nil, err
		}
		out.price(*g.Credits, account)
		if refused := shortOf(account, int64(out.Credits)); refused != nil {
			refusals = append(refusals, s.explainRefusal(ctx, caller.OrgID, refused))
		}
	}
	for _, refused := range refusals {
		p := problemFor(requestOf(ctx).http, refused)
		out.Reasons = append(out.Reasons, estimateReason{Code: p.Code, Message: p.Detail})
	}
	out.WouldBeAccepted = len(refusals) == 0
	return out, nil
}

// price fills in what so many credits cost on an account.
func (e *estimate) price(credits int, account *store.CreditAccount) {
	e.Credits, e.PerImage = credits, credits/e.Images
	e.UnitPrice = billing.Amount(int64(account.CreditMicros))
	e.Cost = view.Dollars(int64(credits) * int64(account.CreditMicros))
	e.ResetsAt = new(account.EndsAt.UTC())
	if !account.Unbounded() {
		e.Available = new(max(0, account.Available()))
	}
	if spendable := account.Spendable(); spendable != nil {
		left := max(0, *spendable)
		if e.Available == nil || left < *e.Available {
			e.Available = &left
		}
	}
}

// foresee returns the refusals that a submission of the caller's would meet before its
// credits are looked at. What other processes have counted lately it may not know.
func (s *server) foresee(ctx context.Context, caller *auth.Caller) (refusals []error, err error) {
	if most := caller.Limits.KeyMonthly; most != nil {
		used, err := s.db.APIKeyUsage(ctx, caller.UsageID, s.opts.Now())
		if err != nil {
			return nil, err
		}
		if used >= *most {
			_, ends := store.MonthOf(s.opts.Now())
			refusals = append(refusals, &jobs.QuotaError{Limit: *most, ResetsAt: ends})
		}
	}
	all, err := s.policies(ctx, caller)
	if err != nil {
		return nil, err
	}
	states := make([]limit.State, len(all))
	full := false
	for i, p := range all {
		states[i], _ = s.limits.Last(p.bucket)
		if states[i].Remaining == 0 {
			full, states[i].RetryAfter = true, states[i].NextAfter
		}
	}
	if full {
		refusals = append(refusals, s.refuseSubmission(all, states))
	}
	return refusals, nil
}
