package api

import (
	"github.com/danielgtaylor/huma/v2"
)

// operatorRoutes are those of those who run the service.
func (s *server) operatorRoutes(api huma.API) {
	register(s, api, asOperator, "GET /v1/admin/users", "adminListUsers", "Search the accounts", 200, s.adminListUsers)
	register(s, api, asOperator, "GET /v1/admin/users/{id}", "adminGetUser", "See an account", 200, s.adminGetUser)
	register(s, api, asOperator, "POST /v1/admin/users/{id}/suspend", "adminSuspendUser", "Suspend an account and end its sessions", 200, s.adminSuspendUser)
	register(s, api, asOperator, "POST /v1/admin/users/{id}/unsuspend", "adminUnsuspendUser", "End the suspension of an account", 200, s.adminUnsuspendUser)
	register(s, api, asOperator, "GET /v1/admin/orgs", "adminListOrgs", "Search the organizations", 200, s.adminListOrgs)
	register(s, api, asOperator, "GET /v1/admin/orgs/{org_id}", "adminGetOrg", "See an organization", 200, s.adminGetOrg)
	register(s, api, asOperator, "PATCH /v1/admin/orgs/{org_id}", "adminUpdateOrg", "Change the plan or the limits of an organization", 200, s.adminUpdateOrg)
	register(s, api, asOperator, "POST /v1/admin/orgs/{org_id}/suspend", "adminSuspendOrg", "Suspend an organization: its keys are refused, what it has asked for is done", 200, s.adminSuspendOrg)
	register(s, api, asOperator, "POST /v1/admin/orgs/{org_id}/unsuspend", "adminUnsuspendOrg", "End the suspension of an organization", 200, s.adminUnsuspendOrg)
	register(s, api, asOperator, "GET /v1/admin/keys", "adminListKeys", "List the API keys", 200, s.adminListKeys)
}
