package api

import (
	"github.com/danielgtaylor/huma/v2"

	"github.com/nanobanana/nanobanana/api/auth"
)

// orgRoutes are those of organizations, their members and invitations.
func (s *server) orgRoutes(api huma.API) {
	register(s, api, asAccount, "GET /v1/orgs", "listOrgs", "List the organizations you belong to", 200, s.listOrgs)
	register(s, api, asAccount, "POST /v1/orgs", "createOrg", "Make an organization, whose owner you are", 201, s.createOrg)
	register(s, api, inOrg(auth.ScopeOrgRead), "GET /v1/orgs/{org_id}", "getOrg", "See an organization", 200, s.getOrg)
	register(s, api, inOrg(auth.ScopeOrgWrite), "PATCH /v1/orgs/{org_id}", "updateOrg", "Rename an organization", 200, s.updateOrg)
	register(s, api, inOrg(auth.ScopeOrgDelete), "DELETE /v1/orgs/{org_id}", "deleteOrg", "Delete an organization and all that it has", 202, s.deleteOrg)

	register(s, api, inOrg(auth.ScopeMembersRead), "GET /v1/orgs/{org_id}/members", "listMembers", "List who belongs to an organization", 200, s.listMembers)
	register(s, api, inOrg(auth.ScopeMembersWrite), "PATCH /v1/orgs/{org_id}/members/{account_id}", "updateMember", "Give a member another role", 200, s.updateMember)
	// Removing another takes members:write, leaving takes nothing: deleteMember tells.
	register(s, api, inOrg(""), "DELETE /v1/orgs/{org_id}/members/{account_id}", "deleteMember", "Remove a member, or leave", 204, s.deleteMember)

	write := inOrg(auth.ScopeMembersWrite)
	register(s, api, write, "POST /v1/orgs/{org_id}/invitations", "createInvitation", "Invite someone by e-mail", 201, s.createInvitation)
	register(s, api, inOrg(auth.ScopeMembersRead), "GET /v1/orgs/{org_id}/invitations", "listInvitations", "List open invitations", 200, s.listInvitations)
	register(s, api, write, "POST /v1/orgs/{org_id}/invitations/{id}/resend", "resendInvitation", "Mail an invitation again, with a new link", 200, s.resendInvitation)
	register(s, api, write, "DELETE /v1/orgs/{org_id}/invitations/{id}", "revokeInvitation", "Revoke an invitation", 204, s.revokeInvitation)
	register(s, api, asAccount, "POST /v1/invitations/accept", "acceptInvitation", "Accept an invitation that was mailed to you", 200, s.acceptInvitation)
}
