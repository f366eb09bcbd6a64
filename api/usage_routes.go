package api

import (
	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/api/auth"
)

// usageRoutes are those of what was used, and what it costs.
func (s *server) usageRoutes(_ *echo.Echo, api huma.API) {
	read := inEither(auth.ScopeUsageRead, auth.ScopeUsageRead)
	register(s, api, read, "GET /v1/usage", "getUsage", "See what was used, by the hour or the day", 200, s.getUsage)
	register(s, api, read, "GET /v1/usage/summary", "getUsageSummary", "See what is left, and until when", 200, s.getUsageSummary)
	register(s, api, read, "GET /v1/usage/export.csv", "exportUsage", "Get what was used as a table", 200, s.exportUsage)
	register(s, api, read, "GET /v1/organization/usage/images", "getOrganizationImageUsage", "See what was used, as the OpenAI API tells it", 200, s.getOrganizationImages)
	register(s, api, read, "GET /v1/organization/costs", "getOrganizationCosts", "See what it costs, as the OpenAI API tells it", 200, s.getOrganizationCosts)
	register(s, api, asOperator, "GET /v1/admin/usage", "adminListUsage", "See what organizations used, what it brings and what it costs", 200, s.adminListUsage)
	api.OpenAPI().Paths["/v1/usage/export.csv"].Get.Responses["200"] = &huma.Response{
		Description: "A row for each bucket and group in which something ended, below a header; an answer that breaks off is not all of them",
		Content:     map[string]*huma.MediaType{"text/csv": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}
}
