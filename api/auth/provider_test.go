package auth_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/auth"
)

func TestCheckProviders_TellsEveryFaultAtOnce(t *testing.T) {
	t.Parallel()
	err := auth.CheckProviders([]auth.Provider{
		{Name: "Big Name", Issuer: "ftp://a.example", Scopes: []string{"email"}},
		{
			Name: "a", Issuer: "http://a.example", ClientID: "x", Audience: "x", Join: true,
			RoleClaim: "role", DefaultRole: "owner",
		},
		{
			Name: "a", Issuer: "https://a.example?x", ClientID: "x", Organization: "acme", OrganizationClaim: "org",
			RoleClaim: "role", Roles: map[string]string{"boss": "king"}, DefaultRole: "king",
		},
		{Name: "b", Issuer: "https://b.example", ClientID: "x", Organizations: map[string]string{"acme": "Acme"}},
		{Name: "c", Issuer: "https://b.example", ClientID: "x", OrganizationClaim: "org"},
	})
	want := []string{
		`provider "Big Name": its name must be up to 40 lower-case letters, digits and hyphens`,
		`provider "Big Name": issuer must be an https:// address`,
		`provider "Big Name": it needs a client_id`,
		`provider "Big Name": scopes must include openid`,
		`provider "a": issuer must be an https:// address; http:// is for this machine only`,
		`provider "a": audience must be the API's own and not the client_id, or the tokens that tell a browser's page who signed in would open the API`,
		`provider "a": audience needs organization or organization_claim: a token speaks for one organization`,
		`provider "a": join needs organization or organization_claim`,
		`provider "a": role_claim and roles go together`,
		`provider "a": default_role can not be owner; name owners by role_claim`,
		`provider "a": there are two of this name`,
		`provider "a": issuer must have neither user, query nor fragment`,
		`provider "a": it takes organization or organization_claim, not both`,
		`provider "a": organization "acme" is no id of an organization, such as org_...`,
		`provider "a": roles: "king" is none of owner, admin, member, billing, read_only`,
		`provider "a": default_role "king" is none of admin, member, billing, read_only`,
		`provider "b": organizations needs organization_claim, the name of the claim that tells which`,
		`provider "b": organizations: "Acme" is no id of an organization, such as org_...`,
		`provider "c": there are two of its issuer`,
		`provider "c": organization_claim needs organizations, which says the organization of each value`,
	}
	if diff := cmp.Diff(strings.Join(want, "\n"), err.Error()); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	if _, err := auth.NewIssuers(auth.IssuersOptions{Providers: []auth.Provider{{}}, DatabaseSecret: "x"}); err == nil {
		t.Error("what is faulty was taken")
	}
}

func TestCheckProviders_TakesWhatIsRight(t *testing.T) {
	t.Parallel()
	no := false
	err := auth.CheckProviders([]auth.Provider{
		{Name: "google", Issuer: "https://accounts.google.com", ClientID: "1"},
		{
			Name: "okta", Issuer: "https://a.okta.com/oauth2/default", ClientID: "1", ClientSecret: "s", Scopes: []string{"openid", "groups"},
			Audience: "api://nanobanana", OrganizationClaim: "groups", Organizations: map[string]string{"images": "org_01000000000000000000000000"},
			RoleClaim: "groups", Roles: map[string]string{"bosses": "owner"}, DefaultRole: "read_only", Join: true, TrustEmail: &no,
		},
		{Name: "here", Issuer: "http://localhost:8081", ClientID: "1"},
		{Name: "there", Issuer: "http://[::1]:8081", ClientID: "1", Organization: "org_01000000000000000000000000", Audience: "api"},
	})
	if err != nil {
		t.Error(err)
	}
}
