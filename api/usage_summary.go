package api

import (
	"context"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// usageSummary is how an organization stands. Its account is one, whichever project
// asks; what was delivered is the caller's own.
type usageSummary struct {
	Object      string         `json:"object" enum:"usage_summary"`
	Plan        string         `json:"plan" example:"free"`
	PeriodStart time.Time      `json:"period_start"`
	ResetsAt    time.Time      `json:"resets_at" doc:"When the period is over and the plan's credits are granted anew"`
	Metered     bool           `json:"metered" doc:"What is used beyond the granted is let in, and billed afterwards"`
	Granted     int64          `json:"granted" doc:"Credits: the plan's, and what was bought or given"`
	Used        int64          `json:"used"`
	Reserved    int64          `json:"reserved" doc:"For generations under way"`
	Available   *int64         `json:"available" doc:"null: as many as are asked for, since the plan is metered and paid"`
	Budget      *summaryBudget `json:"budget" doc:"null: nobody has set one"`
	Images      int64          `json:"images" doc:"Delivered since the full hour that the period begins in: the organization's or, for the key of a project, that project's"`
	Spend       spentAmount    `json:"spend" doc:"What these cost"`
}

type summaryBudget struct {
	Credits  int64 `json:"credits" doc:"That the organization wants to use in a period at most"`
	Left     int64 `json:"left" doc:"Of these, what is neither used nor reserved"`
	HardStop bool  `json:"hard_stop" doc:"Nothing is let in beyond it"`
}

type usageSummaryOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         usageSummary
}

func (s *server) getUsageSummary(ctx context.Context, _ *struct{}) (*usageSummaryOutput, error) {
	caller := auth.FromContext(ctx)
	project := ""
	if caller.Kind == auth.KindKey {
		project = caller.ProjectID
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	summary, err := s.db.UsageSummary(ctx, caller.OrgID, project, s.opts.Now())
	if err != nil {
		return nil, err
	}
	if caller.Test {
		summary.Used = store.UsageSums{}
	}
	return &usageSummaryOutput{CacheControl: notKept, Body: viewUsageSummary(summary)}, nil
}

func viewUsageSummary(u *store.UsageSummary) usageSummary {
	a := u.Account
	shown := usageSummary{
		Object: "usage_summary", Plan: a.Plan, PeriodStart: a.Period.UTC(), ResetsAt: a.EndsAt.UTC(), Metered: a.Metered,
		Granted: a.Granted, Used: a.Used, Reserved: a.Reserved, Images: u.Used.Images, Spend: costOf(u.Used.Micros),
	}
	if !a.Unbounded() {
		shown.Available = new(max(0, a.Available()))
	}
	if b := u.Spending; b != nil {
		shown.Budget = &summaryBudget{Credits: b.Credits, Left: max(0, b.Credits-a.SpentBefore-a.UnderWayBefore-a.Used-a.Reserved), HardStop: b.HardStop}
	}
	return shown
}
