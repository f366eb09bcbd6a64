package api

import (
	"github.com/danielgtaylor/huma/v2"

	"github.com/nanobanana/nanobanana/api/auth"
)

// budgetRoutes are those of what an organization wants to spend.
func (s *server) budgetRoutes(api huma.API) {
	read, write := inOrg(auth.ScopeBillingRead), inOrg(auth.ScopeBillingWrite)
	register(s, api, read, "GET /v1/billing/limits", "getBudget", "See the budget and what is used of it", 200, s.getBudget)
	register(s, api, write, "PUT /v1/billing/limits", "setBudget", "Set a budget in place of the one there is", 200, s.setBudget)
	register(s, api, write, "DELETE /v1/billing/limits", "deleteBudget", "Have no budget", 204, s.deleteBudget)
}
