package api

import (
	"context"

	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/store"
)

// offeredPlan is a plan as customers see it.
type offeredPlan struct {
	Object        string     `json:"object" enum:"plan"`
	Name          string     `json:"name" example:"hobby"`
	Title         string     `json:"title"`
	Price         view.Money `json:"price" doc:"A month"`
	Period        string     `json:"period" enum:"month,day" doc:"How often credits are granted"`
	Credits       int        `json:"credits" doc:"Granted in each period"`
	CreditPrice   string     `json:"credit_price" example:"0.0200" doc:"What a credit costs or, where it is in the plan's price, is worth; US dollars"`
	RateLimit     *int       `json:"rate_limit" doc:"Generations an hour; null: any number"`
	Concurrency   *int       `json:"concurrency" doc:"Generations at the same time; null: as many as there is room for"`
	RetentionDays *int       `json:"retention_days" doc:"How long images are kept; null: for good"`
	Priority      int        `json:"priority" minimum:"1" maximum:"4" doc:"1 runs first"`
	Metered       bool       `json:"metered" doc:"What is used beyond the granted credits is let in, and billed afterwards"`
}

type offeredPlanList struct {
	Object string        `json:"object" enum:"list"`
	Data   []offeredPlan `json:"data" nullable:"false" doc:"Whoever registers is on the first"`
}

type listPlansOutput struct{ Body offeredPlanList }

func (s *server) listPlans(ctx context.Context, _ *struct{}) (*listPlansOutput, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	plans, err := s.db.Plans(ctx)
	if err != nil {
		return nil, err
	}
	list := offeredPlanList{Object: "list", Data: []offeredPlan{}}
	for _, p := range plans {
		if p.Offered {
			list.Data = append(list.Data, viewPlan(p))
		}
	}
	return &listPlansOutput{Body: list}, nil
}

func viewPlan(p *store.Plan) offeredPlan {
	return offeredPlan{
		Object: "plan", Name: p.Name, Title: p.Title, Price: view.Dollars(p.PriceMicros), Period: p.Period, Credits: p.Credits,
		CreditPrice: billing.Amount(int64(p.CreditMicros)), RateLimit: unlessZero(p.RateLimit), Concurrency: unlessZero(p.Concurrency),
		RetentionDays: p.RetentionDays, Priority: p.Priority, Metered: p.Metered,
	}
}

// unlessZero is nil where 0 stands for no limit.
func unlessZero(n int) *int {
	if n == 0 {
		return nil
	}
	return &n
}
