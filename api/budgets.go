package api

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/store"
)

// budget is what an organization wants to spend in a period, and what it has used.
type budget struct {
	Object           string     `json:"object" enum:"budget"`
	OrganizationID   string     `json:"organization_id"`
	Credits          *int64     `json:"credits" doc:"In a period; null: no budget is set"`
	Amount           *string    `json:"amount" doc:"The same in US dollars, at what a credit costs in this period; null: no budget is set, or a credit has no price" example:"25.0000"`
	Alerts           []int      `json:"alerts" nullable:"false" doc:"Percents of the budget that budget.alert and a mail tell of when they are used"`
	HardStop         bool       `json:"hard_stop" doc:"Whether requests beyond the budget are refused: 402 spend_limit_reached"`
	DowngradeAt      *int       `json:"downgrade_at" doc:"Percent of the budget, used and reserved, from which on pictures are asked for in downgrade_quality"`
	DowngradeQuality *string    `json:"downgrade_quality" enum:"low,medium,high"`
	Used             int64      `json:"used" doc:"Credits of this period, also by the plan before a change that has not begun another"`
	Reserved         int64      `json:"reserved" doc:"Credits of what is under way"`
	Percent          *int64     `json:"percent" doc:"Used of the budget, rounded down"`
	PeriodStartedAt  time.Time  `json:"period_started_at"`
	ResetsAt         time.Time  `json:"resets_at" doc:"When the period is over"`
	UpdatedAt        *time.Time `json:"updated_at" doc:"When the budget was set"`
}

// viewBudget shows a budget, nil for none, with the account of its period.
func viewBudget(b *store.Budget, a *store.CreditAccount) budget {
	shown := budget{
		Object: "budget", OrganizationID: a.OrgID, Alerts: []int{}, Used: a.SpentBefore + a.Used, Reserved: a.UnderWayBefore + a.Reserved,
		PeriodStartedAt: a.Period.UTC(), ResetsAt: a.EndsAt.UTC(),
	}
	if b == nil {
		return shown
	}
	percent := int64(100)
	if b.Credits > 0 {
		percent = shown.Used * 100 / b.Credits
	}
	shown.Credits, shown.Percent, shown.UpdatedAt = &b.Credits, &percent, utc(&b.UpdatedAt)
	shown.Alerts, shown.HardStop, shown.DowngradeAt, shown.DowngradeQuality = b.Alerts, b.HardStop, b.DowngradeAt, b.DowngradeQuality
	if a.CreditMicros > 0 {
		shown.Amount = new(billing.Amount(b.Credits * int64(a.CreditMicros)))
	}
	return shown
}

type budgetOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         budget
}

func (s *server) getBudget(ctx context.Context, _ *struct{}) (*budgetOutput, error) {
	orgID := auth.FromContext(ctx).OrgID
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	b, err := budgetOf(ctx, s.db, orgID)
	if err != nil {
		return nil, err
	}
	account, err := s.presentAccount(ctx, orgID)
	if err != nil {
		return nil, err
	}
	return &budgetOutput{CacheControl: notKept, Body: viewBudget(b, account)}, nil
}

// budgetOf is an organization's budget, or nil.
func budgetOf(ctx context.Context, db *store.DB, orgID string) (*store.Budget, error) {
	b, err := db.Budget(ctx, orgID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return b, err
}

// setBudget sets what holds at once. What changes nothing leaves no trace.
func (s *server) setBudget(ctx context.Context, in *setBudgetInput) (*budgetOutput, error) {
	var shown budget
	err := s.changeOrg(ctx, auth.ScopeBillingWrite, func(ctx context.Context, by *orgChange) error {
		now := s.opts.Now()
		account, err := by.tx.OpenPeriod(ctx, by.org.ID, now)
		if err != nil {
			return err
		}
		wanted, err := in.Body.budget(account)
		if err != nil {
			return err
		}
		before, err := budgetOf(ctx, by.tx, by.org.ID)
		if err != nil {
			return err
		}
		shown = viewBudget(before, account)
		if before != nil && reflect.DeepEqual(auditBudget(before), auditBudget(wanted)) {
			return nil
		}
		after, err := by.tx.SetBudget(ctx, *wanted, now)
		if err != nil {
			return err
		}
		shown = viewBudget(after, account)
		return s.record(ctx, by.tx, change{
			Action: "budget.update", Kind: "budget", ID: by.org.ID, Before: auditBudget(before), After: auditBudget(after),
		})
	})
	if err != nil {
		return nil, err
	}
	return &budgetOutput{CacheControl: notKept, Body: shown}, nil
}

// deleteBudget takes a budget away. Doing it again changes nothing.
func (s *server) deleteBudget(ctx context.Context, _ *struct{}) (*struct{}, error) {
	return nil, s.changeOrg(ctx, auth.ScopeBillingWrite, func(ctx context.Context, by *orgChange) error {
		before, err := budgetOf(ctx, by.tx, by.org.ID)
		if err != nil || before == nil {
			return err
		}
		if err := by.tx.DeleteBudget(ctx, by.org.ID, s.opts.Now()); err != nil {
			return err
		}
		return s.record(ctx, by.tx, change{Action: "budget.delete", Kind: "budget", ID: by.org.ID, Before: auditBudget(before)})
	})
}

// auditBudget is what the audit log says of a budget.
func auditBudget(b *store.Budget) any {
	if b == nil {
		return nil
	}
	return map[string]any{
		"credits": b.Credits, "alerts": b.Alerts, "hard_stop": b.HardStop, "downgrade_at": b.DowngradeAt, "downgrade_quality": b.DowngradeQuality,
	}
}
