package api

import (
	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/api/auth"
)

// auditRoutes are those of the audit log.
func (s *server) auditRoutes(_ *echo.Echo, api huma.API) {
	read := inOrg(auth.ScopeAuditRead)
	register(s, api, read, "GET /v1/orgs/{org_id}/audit_log", "listAuditLog", "See who has changed what in an organization", 200, s.listAuditLog)
	register(s, api, read, "GET /v1/orgs/{org_id}/audit_log/export", "exportAuditLog", "Get all of that, oldest first", 200, s.exportAuditLog)
	register(s, api, asOperator, "GET /v1/admin/audit_log", "adminListAuditLog", "See who has changed what anywhere", 200, s.listAdminAuditLog)
	text := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	api.OpenAPI().Paths["/v1/orgs/{org_id}/audit_log/export"].Get.Responses["200"] = &huma.Response{
		Description: "The entries; an answer that breaks off is not all of them",
		Content:     map[string]*huma.MediaType{"application/jsonl": text, "text/csv": text},
	}
}
