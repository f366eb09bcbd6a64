package api

import (
	"fmt"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
)

// creditsProblem says what is left, until when, and how there is more.
func creditsProblem(e *jobs.CreditsError) *problem {
	resets := e.ResetsAt.UTC().Format(time.RFC3339)
	if e.Budget != nil {
		return newProblem("spend_limit_reached", fmt.Sprintf("Your organization's budget is %d credits until %s, and this needs %d: more than is left of it. PUT /v1/billing/limits raises it.",
			*e.Budget, resets, e.Needed), nil)
	}
	return newProblem("quota_exceeded", fmt.Sprintf("This needs %d of your organization's credits, and %d are left of its plan %s until %s. POST /v1/billing/checkout gets a larger plan, POST /v1/billing/credits more credits.",
		e.Needed, e.Available, e.Plan, resets), nil)
}
