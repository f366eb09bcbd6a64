package auth

import (
	"slices"
	"strings"
)

// Roles of people in an organization.
const (
	RoleOwner    = "owner"
	RoleAdmin    = "admin"
	RoleMember   = "member"
	RoleBilling  = "billing"
	RoleReadOnly = "read_only"
)

// Roles lists them, the most powerful first.
func Roles() []string { return []string{RoleOwner, RoleAdmin, RoleMember, RoleBilling, RoleReadOnly} }

// Scopes of what belongs to a project: all that the key of one can be granted.
const (
	ScopeGenerationsRead  = "generations:read"
	ScopeGenerationsWrite = "generations:write"
	ScopeEventsRead       = "events:read"
	ScopeWebhooksRead     = "webhooks:read"
	ScopeWebhooksWrite    = "webhooks:write"
	ScopeModelsRead       = "models:read"
	ScopeUsageRead        = "usage:read" // of the project; for people and master keys, of the organization
)

// Scopes of what belongs to an organization.
const (
	ScopeOrgRead         = "org:read"
	ScopeOrgWrite        = "org:write"
	ScopeOrgDelete       = "org:delete"
	ScopeMembersRead     = "members:read"
	ScopeMembersWrite    = "members:write"
	ScopeProjectsRead    = "projects:read"
	ScopeProjectsWrite   = "projects:write"
	ScopeKeysRead        = "keys:read"
	ScopeKeysWrite       = "keys:write"
	ScopeMasterKeysWrite = "master_keys:write"
	ScopeOwnersWrite     = "owners:write" // make owners, change and remove them
	ScopeAuditRead       = "audit:read"
	ScopeBillingRead     = "billing:read"
	ScopeBillingWrite    = "billing:write" // spend money, and say how much may be spent
)

// ProjectScopes lists those of a project.
func ProjectScopes() []string {
	return []string{
		ScopeGenerationsRead, ScopeGenerationsWrite, ScopeEventsRead, ScopeWebhooksRead, ScopeWebhooksWrite, ScopeModelsRead, ScopeUsageRead,
	}
}

// Grants are scopes and patterns of them: "*", "generations:*", "*:read".
type Grants []string

// Include reports whether a scope is granted.
func (g Grants) Include(scope string) bool {
	noun, verb, _ := strings.Cut(scope, ":")
	return slices.ContainsFunc(g, func(grant string) bool {
		if grant == "*" || grant == scope {
			return true
		}
		n, v, ok := strings.Cut(grant, ":")
		return ok && (n == "*" || n == noun) && (v == "*" || v == verb)
	})
}

// ValidProjectGrant reports whether a key of a project can be granted a scope or
// pattern: whether there is a scope that it includes.
func ValidProjectGrant(grant string) bool {
	return slices.ContainsFunc(ProjectScopes(), Grants{grant}.Include)
}

// RoleGrants is what a role may do.
func RoleGrants(role string) Grants {
	switch role {
	case RoleOwner:
		return Grants{"*"}
	case RoleAdmin:
		return Grants{
			"generations:*", "events:*", "webhooks:*", "models:*",
			ScopeOrgRead, ScopeOrgWrite, "members:*", "projects:*", "keys:*", ScopeUsageRead, ScopeBillingRead,
		}
	case RoleMember:
		return Grants{
			"generations:*", "events:*", "webhooks:*", "models:*",
			ScopeOrgRead, ScopeMembersRead, ScopeProjectsRead, ScopeKeysRead, ScopeUsageRead,
		}
	case RoleBilling:
		return Grants{ScopeOrgRead, ScopeMembersRead, ScopeProjectsRead, ScopeUsageRead, "billing:*"}
	case RoleReadOnly:
		return Grants{
			ScopeGenerationsRead, ScopeEventsRead, ScopeWebhooksRead, ScopeModelsRead,
			ScopeOrgRead, ScopeMembersRead, ScopeProjectsRead, ScopeKeysRead, ScopeUsageRead,
		}
	}
	return nil
}

// MasterGrants is what a master key may do: administer its organization, but
// neither make another of its kind nor delete the organization.
func MasterGrants() Grants {
	return Grants{
		ScopeOrgRead, ScopeOrgWrite, "members:*", "projects:*", "keys:*", ScopeAuditRead, ScopeUsageRead, "billing:*",
	}
}
