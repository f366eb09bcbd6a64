package api

import (
	"github.com/danielgtaylor/huma/v2"

	"github.com/nanobanana/nanobanana/api/auth"
)

// priceRoutes are those of what generations cost, before and after.
func (s *server) priceRoutes(api huma.API) {
	register(s, api, asAnyone, "GET /v1/plans", "listPlans", "List the plans", 200, s.listPlans)
	register(s, api, inProject(auth.ScopeGenerationsWrite), "POST /v1/estimate", "estimate", "See what a generation would cost, and whether it would be accepted", 200, s.estimate)
	register(s, api, inProject(auth.ScopeGenerationsRead), "GET /v1/generations/{id}/receipt", "getReceipt", "See what a generation cost, and why", 200, s.getReceipt)
}
