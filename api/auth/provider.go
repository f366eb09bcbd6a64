package auth

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Provider is an issuer of single sign-on (OpenID Connect) as an operator
// configures it.
type Provider struct {
	// Name is part of its routes, and names it to people.
	Name string `json:"name"`

	// Issuer is its address, exactly as its tokens say it.
	Issuer string `json:"issuer"`

	// ClientID and ClientSecret are what it knows this service by. A public client
	// has no secret.
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`

	// Scopes are asked for at sign-in; default openid, email and profile.
	Scopes []string `json:"scopes"`

	// Audience is that of access tokens which the API takes; empty: it takes none.
	Audience string `json:"audience"`

	// Organization is that of everyone whom the issuer vouches for. In its place,
	// OrganizationClaim names the claim which tells it, and Organizations the
	// organization of each of its values.
	Organization      string            `json:"organization"`
	OrganizationClaim string            `json:"organization_claim"`
	Organizations     map[string]string `json:"organizations"`

	// RoleClaim names the claim which tells the role in the organization, and Roles
	// the role of each of its values. DefaultRole is that of everyone else; default
	// member.
	RoleClaim   string            `json:"role_claim"`
	Roles       map[string]string `json:"roles"`
	DefaultRole string            `json:"default_role"`

	// Join makes who signs in for the first time a member of the organization.
	Join bool `json:"join"`

	// TrustEmail says whether an address that the issuer calls verified is; default
	// true. Whose issuer lets people choose any address must say false: it would
	// hand them the accounts of others.
	TrustEmail *bool `json:"trust_email"`
}

var (
	providerName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)
	orgID        = regexp.MustCompile(`^org_[0-9a-v]{26}$`)
)

// ProviderLabel is what a fault of a configuration calls a provider: its name, or its
// place in the list if it has none.
func ProviderLabel(index int, name string) string {
	if name == "" {
		return strconv.Itoa(index + 1)
	}
	return strconv.Quote(name)
}

// CheckProviders returns every fault of a configuration at once.
func CheckProviders(providers []Provider) error {
	var errs []error
	names, issuers := map[string]bool{}, map[string]bool{}
	for i, p := range providers {
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("provider %s: %s", ProviderLabel(i, p.Name), fmt.Sprintf(format, args...)))
		}
		if !providerName.MatchString(p.Name) {
			bad("its name must be up to 40 lower-case letters, digits and hyphens")
		}
		if p.Name != "" && names[p.Name] {
			bad("there are two of this name")
		}
		if p.Issuer != "" && issuers[p.Issuer] {
			bad("there are two of its issuer")
		}
		names[p.Name], issuers[p.Issuer] = true, true
		if problem := checkIssuerURL(p.Issuer); problem != "" {
			bad("issuer %s", problem)
		}
		if p.ClientID == "" {
			bad("it needs a client_id")
		}
		if p.Scopes != nil && !slices.Contains(p.Scopes, "openid") {
			bad("scopes must include openid")
		}
		if p.Audience != "" && p.Audience == p.ClientID {
			bad("audience must be the API's own and not the client_id, or the tokens that tell a browser's page who signed in would open the API")
		}
		p.checkMapping(bad)
	}
	return errors.Join(errs...)
}

// checkMapping looks at what turns claims into organizations and roles.
func (p *Provider) checkMapping(bad func(format string, args ...any)) {
	switch {
	case p.Organization != "" && p.OrganizationClaim != "":
		bad("it takes organization or organization_claim, not both")
	case p.OrganizationClaim != "" && len(p.Organizations) == 0:
		bad("organization_claim needs organizations, which says the organization of each value")
	case p.OrganizationClaim == "" && len(p.Organizations) > 0:
		bad("organizations needs organization_claim, the name of the claim that tells which")
	}
	mapped := p.Organization != "" || p.OrganizationClaim != ""
	if p.Audience != "" && !mapped {
		bad("audience needs organization or organization_claim: a token speaks for one organization")
	}
	if p.Join && !mapped {
		bad("join needs organization or organization_claim")
	}
	for _, id := range slices.Sorted(maps.Values(p.Organizations)) {
		if !orgID.MatchString(id) {
			bad("organizations: %q is no id of an organization, such as org_...", id)
		}
	}
	if p.Organization != "" && !orgID.MatchString(p.Organization) {
		bad("organization %q is no id of an organization, such as org_...", p.Organization)
	}
	if (p.RoleClaim == "") != (len(p.Roles) == 0) {
		bad("role_claim and roles go together")
	}
	for _, value := range slices.Sorted(maps.Keys(p.Roles)) {
		if !slices.Contains(Roles(), p.Roles[value]) {
			bad("roles: %q is none of %s", p.Roles[value], strings.Join(Roles(), ", "))
		}
	}
	switch {
	case p.DefaultRole == RoleOwner:
		bad("default_role can not be owner; name owners by role_claim")
	case p.DefaultRole != "" && !slices.Contains(Roles(), p.DefaultRole):
		bad("default_role %q is none of %s", p.DefaultRole, strings.Join(Roles()[1:], ", "))
	}
}

// checkIssuerURL says what is wrong with an issuer: it is an https address without
// query or fragment (OpenID Connect Discovery 1.0, section 3). http is for this
// machine alone, where nobody else listens.
func checkIssuerURL(issuer string) string {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "must be an https:// address"
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(issuer, "#"):
		return "must have neither user, query nor fragment"
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return "must be an https:// address; http:// is for this machine only"
	}
	return ""
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// trustsEmail reports whether an address is its bearer's if the issuer says so.
func (p *Provider) trustsEmail() bool { return p.TrustEmail == nil || *p.TrustEmail }

// organizationOf is the organization of who has the claims, or why there is none.
func (p *Provider) organizationOf(claims map[string]any) (id, problem string) {
	if p.OrganizationClaim == "" {
		return p.Organization, ""
	}
	values := claimValues(claims[p.OrganizationClaim])
	if len(values) == 0 {
		return "", fmt.Sprintf("the issuer %s does not say in the claim %s which organization this is", p.Name, p.OrganizationClaim)
	}
	for _, value := range values {
		mapped := p.Organizations[value]
		if mapped == "" || mapped == id {
			continue
		}
		if id != "" {
			return "", fmt.Sprintf("the claim %s of the issuer %s names more than one organization", p.OrganizationClaim, p.Name)
		}
		id = mapped
	}
	if id == "" {
		return "", fmt.Sprintf("the claim %s of the issuer %s names no organization that is known here; whoever runs this service can add it", p.OrganizationClaim, p.Name)
	}
	return id, ""
}

// roleOf is the most powerful role that the claims name, or the default.
func (p *Provider) roleOf(claims map[string]any) string {
	named := map[string]bool{}
	if p.RoleClaim != "" {
		for _, value := range claimValues(claims[p.RoleClaim]) {
			named[p.Roles[value]] = true
		}
	}
	for _, role := range Roles() {
		if named[role] {
			return role
		}
	}
	if p.DefaultRole != "" {
		return p.DefaultRole
	}
	return RoleMember
}

// claimValues are those of a claim that is a text or a list of them.
func claimValues(claim any) []string {
	switch claim := claim.(type) {
	case string:
		return []string{claim}
	case []any:
		var values []string
		for _, v := range claim {
			if text, ok := v.(string); ok {
				values = append(values, text)
			}
		}
		return values
	}
	return nil
}
