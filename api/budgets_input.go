package api

import (
	"fmt"
	"math/big"
	"slices"

	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// maxBudget is the most credits of a budget.
const maxBudget = 1_000_000_000

// setBudgetBody asks for a budget. What is left out is as its default says, whatever
// it was before.
type setBudgetBody struct {
	Credits          *int64  `json:"credits,omitempty" nullable:"true" minimum:"0" maximum:"1000000000" doc:"In a period; either this or amount"`
	Amount           *string `json:"amount,omitempty" nullable:"true" pattern:"^[0-9]{1,9}(\\.[0-9]{1,6})?$" doc:"US dollars in a period, in place of credits: as many whole credits as they pay for at what one costs now" example:"25.00"`
	Alerts           []int   `json:"alerts,omitempty" nullable:"false" maxItems:"10" doc:"Percents of the budget to be told of, from 1 to 1000; default 80 and 100"`
	HardStop         bool    `json:"hard_stop,omitempty" doc:"Refuse requests beyond the budget; default false"`
	DowngradeAt      *int    `json:"downgrade_at,omitempty" nullable:"true" minimum:"1" maximum:"1000" doc:"Percent of the budget, used and reserved, from which on pictures are asked for in downgrade_quality, where that costs less; default never"`
	DowngradeQuality *string `json:"downgrade_quality,omitempty" nullable:"true" enum:"low,medium,high" doc:"Needed with downgrade_at"`
}

type setBudgetInput struct{ Body setBudgetBody }

// budget returns what is asked for, of the organization of an account and at its
// price, or all that is wrong with it.
func (b *setBudgetBody) budget(account *store.CreditAccount) (*store.Budget, error) {
	var faults []jobs.Fault
	add := func(param, code, message string) {
		faults = append(faults, jobs.Fault{Param: param, Code: code, Message: message})
	}
	wanted := &store.Budget{
		OrgID: account.OrgID, Alerts: []int{80, 100}, HardStop: b.HardStop, DowngradeAt: b.DowngradeAt, DowngradeQuality: b.DowngradeQuality,
	}
	switch {
	case b.Credits != nil && b.Amount != nil:
		add("amount", "conflict", "amount and credits say the same; send one of them")
	case b.Credits != nil:
		wanted.Credits = *b.Credits
	case b.Amount == nil:
		add("credits", "required", "credits must say how much may be spent in a period")
	case account.CreditMicros == 0:
		add("amount", "unsupported_value", fmt.Sprintf("amount is of no use: a credit has no price on the plan %s; send credits", account.Plan))
	default:
		wanted.Credits = creditsFor(*b.Amount, account.CreditMicros)
		switch {
		case wanted.Credits == 0:
			add("amount", "out_of_range", fmt.Sprintf("amount pays for no credit: one costs %s US dollars; send credits 0 to spend nothing", billing.Amount(int64(account.CreditMicros))))
		case wanted.Credits > maxBudget:
			add("amount", "out_of_range", fmt.Sprintf("amount must not pay for more than %d credits", maxBudget))
		}
	}
	if b.Alerts != nil {
		wanted.Alerts = slices.Compact(slices.Sorted(slices.Values(b.Alerts)))
	}
	if n := len(wanted.Alerts); n > 0 && (wanted.Alerts[0] < 1 || wanted.Alerts[n-1] > 1000) {
		add("alerts", "out_of_range", "alerts must be percents from 1 to 1000")
	}
	switch {
	case b.DowngradeAt != nil && b.DowngradeQuality == nil:
		add("downgrade_quality", "required", "downgrade_quality must say what is asked for from downgrade_at on")
	case b.DowngradeAt == nil && b.DowngradeQuality != nil:
		add("downgrade_at", "required", "downgrade_at must say from when on downgrade_quality is asked for")
	}
	if len(faults) > 0 {
		return nil, &jobs.InvalidError{Faults: faults}
	}
	return wanted, nil
}

// creditsFor is how many whole credits an amount of dollars pays for: "25.00".
func creditsFor(amount string, creditMicros int) int64 {
	dollars, ok := new(big.Rat).SetString(amount)
	if !ok {
		return 0 // the document's pattern lets none in
	}
	dollars.Mul(dollars, big.NewRat(1_000_000, int64(creditMicros)))
	return new(big.Int).Quo(dollars.Num(), dollars.Denom()).Int64()
}
