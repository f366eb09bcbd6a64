package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// foreignToken is an access token of the provider, with changes.
func (b *signOnBundle) foreignToken(changes jwt.MapClaims) string {
	b.Helper()
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": b.provider.Issuer(), "aud": "https://api.example.com", "sub": "robot", "org": "acme",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	for name, value := range changes {
		claims[name] = value
	}
	token, err := b.provider.Keypair.SignJWT(claims)
	b.must(err)
	return token
}

func setupForeign(t *testing.T) *signOnBundle {
	t.Helper()
	b := setupSignOn(t, func(p *auth.Provider) {
		p.Audience, p.OrganizationClaim = "https://api.example.com", "org"
		p.Organizations = map[string]string{"acme": "org_acme0000000000000000000000", "gone": "org_gone0000000000000000000000"}
		p.RoleClaim, p.Roles = "role", map[string]string{"reader": auth.RoleReadOnly, "owner": auth.RoleOwner}
	})
	b.exec(`INSERT INTO org (id, name, plan) VALUES ('org_acme0000000000000000000000', 'Acme', 'free')`)
	_, err := b.db.CreateProject(t.Context(), "org_acme0000000000000000000000", "project")
	b.must(err)
	return b
}

func TestForeignTokens_SpeakForTheirOrganization(t *testing.T) {
	t.Parallel()
	b := setupForeign(t)
	other, err := b.db.CreateOrg(t.Context(), "other", "free", nil)
	b.must(err)
	for name, c := range map[string]struct {
		token, method, path, body string
		status                    int
		code                      string
	}{
		"Generate":      {b.foreignToken(nil), "POST", "/v1/generations", `{"prompt":"a banana"}`, 202, ""},
		"Reader":        {b.foreignToken(jwt.MapClaims{"role": "reader"}), "GET", "/v1/generations", "", 200, ""},
		"ReaderWrites":  {b.foreignToken(jwt.MapClaims{"role": "reader"}), "POST", "/v1/generations", `{"prompt":"a banana"}`, 403, "permission_denied"},
		"Organization":  {b.foreignToken(nil), "GET", "/v1/orgs/org_acme0000000000000000000000", "", 200, ""},
		"Renames":       {b.foreignToken(nil), "PATCH", "/v1/orgs/org_acme0000000000000000000000", `{"name":"Mine"}`, 403, "permission_denied"},
		"OwnerRenames":  {b.foreignToken(jwt.MapClaims{"role": "owner"}), "PATCH", "/v1/orgs/org_acme0000000000000000000000", `{"name":"Ours"}`, 200, ""},
		"Others":        {b.foreignToken(nil), "GET", "/v1/orgs/" + other.ID, "", 404, "not_found"},
		"Account":       {b.foreignToken(nil), "GET", "/v1/me", "", 403, "permission_denied"},
		"UnknownOrg":    {b.foreignToken(jwt.MapClaims{"org": "evil"}), "GET", "/v1/generations", "", 403, "permission_denied"},
		"OrgIsGone":     {b.foreignToken(jwt.MapClaims{"org": "gone"}), "GET", "/v1/orgs/org_gone0000000000000000000000", "", 403, "permission_denied"},
		"Expired":       {b.foreignToken(jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()}), "GET", "/v1/generations", "", 401, "token_expired"},
		"OtherAudience": {b.foreignToken(jwt.MapClaims{"aud": "evil"}), "GET", "/v1/generations", "", 401, "invalid_token"},
		"OtherIssuer":   {b.foreignToken(jwt.MapClaims{"iss": "https://evil.example"}), "GET", "/v1/generations", "", 401, "invalid_token"},
		"AsOurs":        {b.foreignToken(jwt.MapClaims{"iss": auth.DefaultIssuer, "aud": "nanobanana"}), "GET", "/v1/me", "", 401, "invalid_token"},
	} {
		a := b.do(c.token, c.method, c.path, c.body)
		if a.status != c.status || a.code() != c.code || strings.Contains(a.body, "evil") {
			t.Errorf("%s: status %d, %s, want %d %s", name, a.status, a.body, c.status, c.code)
		}
	}
	if n := b.count(`SELECT count(*) FROM audit_entry WHERE actor_kind = 'token' AND actor_id = 'corp|robot'`); n != 1 {
		t.Errorf("%d audit entries, want that of the new name", n)
	}
}

// A suspended organization is refused wherever its tokens are good for something.
func TestForeignTokens_OfASuspendedOrganization(t *testing.T) {
	t.Parallel()
	b := setupForeign(t)
	b.exec(`UPDATE org SET suspended_at = now() WHERE id = 'org_acme0000000000000000000000'`)
	for _, path := range []string{"/v1/generations", "/v1/orgs/org_acme0000000000000000000000"} {
		if a := b.do(b.foreignToken(nil), "GET", path, ""); a.status != http.StatusForbidden || a.code() != "organization_suspended" {
			t.Errorf("%s: status %d, %s", path, a.status, a.body)
		}
	}
}

// A token is good only with whom has made it.
func TestForeignTokens_AreNotOurs(t *testing.T) {
	t.Parallel()
	b := setupForeign(t)
	account, err := b.db.CreateAccount(t.Context(), store.Account{Email: "ada@example.com"})
	b.must(err)
	ours, err := b.sessions.Issue(t.Context(), b.db, store.Session{AccountID: account.ID, Method: store.MethodPassword})
	b.must(err)
	if a := b.do(ours.AccessToken, "GET", "/v1/me", ""); a.status != http.StatusOK {
		t.Fatalf("ours: status %d, %s", a.status, a.body)
	}
	if caller, err := b.issuers.Authenticate(t.Context(), ours.AccessToken); err == nil {
		t.Errorf("ours was taken for a foreign one: %+v", caller)
	}
	if caller, err := b.sessions.Authenticate(t.Context(), b.foreignToken(nil)); err == nil {
		t.Errorf("a foreign one was taken for ours: %+v", caller)
	}
	// Ours with the claims of a foreign one, still signed by us.
	parts, foreign := strings.Split(ours.AccessToken, "."), strings.Split(b.foreignToken(nil), ".")
	if a := b.do(parts[0]+"."+foreign[1]+"."+parts[2], "GET", "/v1/generations", ""); a.code() != "invalid_token" {
		t.Errorf("mixed: status %d, %s", a.status, a.body)
	}
}

func TestForeignTokens_WhileTheIssuerIsAway(t *testing.T) {
	t.Parallel()
	b := setupForeign(t)
	token := b.foreignToken(nil)
	b.must(b.provider.Shutdown())
	a := b.do(token, "GET", "/v1/generations", "")
	if a.status != http.StatusServiceUnavailable || a.code() != "issuer_unavailable" || a.header.Get("Retry-After") == "" {
		t.Errorf("status %d, %s", a.status, a.body)
	}
}
