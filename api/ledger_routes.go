package api

import (
	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/api/auth"
)

// ledgerRoutes are those of credits and of the log of requests.
func (s *server) ledgerRoutes(_ *echo.Echo, api huma.API) {
	read := inOrg(auth.ScopeBillingRead)
	register(s, api, read, "GET /v1/billing/credits", "getCredits", "See how many credits are left", 200, s.getCredits)
	register(s, api, read, "GET /v1/billing/ledger", "listLedger", "See what the credits were spent on", 200, s.listLedger)
	register(s, api, read, "GET /v1/billing/ledger.csv", "exportLedger", "Get all of that as a table, oldest first", 200, s.exportLedger)
	api.OpenAPI().Paths["/v1/billing/ledger.csv"].Get.Responses["200"] = &huma.Response{
		Description: "The entries; an answer that breaks off is not all of them",
		Content:     map[string]*huma.MediaType{"text/csv": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}
	requests := inEither(auth.ScopeKeysRead, auth.ScopeGenerationsRead)
	register(s, api, requests, "GET /v1/requests", "listRequests", "See the requests of the last 30 days that asked for a change or failed", 200, s.listRequests)
	register(s, api, requests, "GET /v1/requests/{id}", "getRequest", "See one of them, by the X-Request-Id of its answer", 200, s.getRequest)
	register(s, api, asOperator, "GET /v1/admin/orgs/{org_id}/credits", "adminGetCredits", "See the credits of an organization and who changed them", 200, s.adminGetCredits)
	register(s, api, asOperator, "POST /v1/admin/orgs/{org_id}/credits", "adminChangeCredits", "Give an organization credits, or take or set them", 200, s.adminChangeCredits)
}
