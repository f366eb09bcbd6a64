package auth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// A SignOnError is why someone could not be signed in. Its text is for them, and
// says nothing that the issuer said.
type SignOnError struct {
	Text   string
	Denied bool  // the issuer, or they themselves, did not want it
	Cause  error // for the log, or nil
}

func (e *SignOnError) Error() string { return e.Text }
func (e *SignOnError) Unwrap() error { return e.Cause }

func signOnError(cause error, format string, args ...any) error {
	return &SignOnError{Text: fmt.Sprintf(format, args...), Cause: cause}
}

// A SignOn is a sign-in that has begun.
type SignOn struct {
	URL    string // where the browser goes next
	Mark   string // names the cookie, among those of other tabs
	Sealed string // what the cookie holds until the browser is back
	Life   time.Duration
}

// An Identified is who has signed in, as a provider says.
type Identified struct {
	Provider string // its name
	Issuer   string
	Subject  string
	Name     string // empty if it does not say
	Email    string // as it says it
	Verified bool   // the address is theirs

	// OrgID is the organization they become a member of, in Role; empty: none.
	OrgID string
	Role  string

	ReturnTo string // where they wanted to go; empty: nowhere
}

// Begin begins a sign-in with a provider, who is to send the browser back to
// redirectURL. returnTo is empty or a LocalPath. It fails with ErrUnknownIssuer or
// ErrIssuerAway.
func (i *Issuers) Begin(ctx context.Context, provider, redirectURL, returnTo string) (*SignOn, error) {
	one, err := i.named(provider)
	if err != nil {
		return nil, err
	}
	d, err := one.discovery.get(ctx)
	if err != nil {
		return nil, one.away(err)
	}
	f := flow{
		State: randomToken(), Nonce: randomToken(), Verifier: oauth2.GenerateVerifier(),
		RedirectURL: redirectURL, ReturnTo: returnTo, ExpiresAt: i.now().Add(flowLife),
	}
	return &SignOn{
		URL:  one.config(d, redirectURL).AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)),
		Mark: f.State[:flowMark], Sealed: i.sealer.seal(provider, f), Life: flowLife,
	}, nil
}

// FlowMark is SignOn.Mark of the sign-in that a callback belongs to, or empty.
func FlowMark(query url.Values) string {
	state := query.Get("state")
	if len(state) < flowMark || strings.ContainsFunc(state, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' && c != '_'
	}) {
		return ""
	}
	return state[:flowMark]
}

// Finish ends a sign-in: query is what the browser brings back from the provider,
// sealed what its cookie held. It fails with ErrUnknownIssuer, ErrIssuerAway or a
// SignOnError.
func (i *Issuers) Finish(ctx context.Context, provider string, query url.Values, sealed string) (*Identified, error) {
	one, err := i.named(provider)
	if err != nil {
		return nil, err
	}
	f, err := i.openFlow(provider, query, sealed)
	if err != nil {
		return nil, err
	}
	d, err := one.discovery.get(ctx)
	if err != nil {
		return nil, one.away(err)
	}
	if iss := query.Get("iss"); iss != "" && iss != one.Issuer || iss == "" && d.saysIss {
		return nil, signOnError(nil, "The answer is not of the issuer that was asked.")
	}
	if code := query.Get("error"); code != "" {
		return nil, refusedBy(provider, code)
	}
	token, err := one.exchange(ctx, d, f, query.Get("code"))
	if err != nil {
		return nil, err
	}
	claims, err := i.verifyID(ctx, one, f, token)
	if err != nil {
		return nil, err
	}
	if err := one.complete(ctx, d, token, claims); err != nil {
		return nil, err
	}
	return one.identify(f, claims)
}

// openFlow returns the sign-in that the browser comes back from.
func (i *Issuers) openFlow(provider string, query url.Values, sealed string) (*flow, error) {
	if sealed == "" {
		return nil, signOnError(nil, "This browser has not begun to sign in, has done so already, or took more than %d minutes.", int(flowLife.Minutes()))
	}
	f, err := i.sealer.open(provider, sealed)
	switch {
	case err != nil:
		return nil, signOnError(err, "The cookie of the sign-in is not of this service or this provider.")
	case !f.hasState(query.Get("state")):
		return nil, signOnError(nil, "The answer belongs to another sign-in.")
	case !i.now().Before(f.ExpiresAt):
		return nil, signOnError(nil, "The sign-in took more than %d minutes.", int(flowLife.Minutes()))
	}
	return f, nil
}

// refusedBy turns the issuer's error codes (RFC 6749, section 4.1.2.1; OpenID Connect
// Core 1.0, section 3.1.2.6).
func refusedBy(provider, code string) error {
	switch code {
	case "access_denied", "consent_required", "login_required", "interaction_required", "account_selection_required":
		return &SignOnError{Denied: true, Text: fmt.Sprintf("The provider %s did not sign you in: it was declined there, or you are not admitted to this application.", provider)}
	case "server_error", "temporarily_unavailable":
		return fmt.Errorf("%w: %s: it says %s", ErrIssuerAway, provider, code)
	}
	return signOnError(nil, "The provider %s refused the request; whoever runs this service should look at its client there.", provider)
}

func (i *issuer) config(d *discovered, redirectURL string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: i.ClientID, ClientSecret: i.ClientSecret, Endpoint: d.endpoint, RedirectURL: redirectURL, Scopes: i.Scopes,
	}
}

// exchange turns the code into tokens.
func (i *issuer) exchange(ctx context.Context, d *discovered, f *flow, code string) (*oauth2.Token, error) {
	if code == "" {
		return nil, signOnError(nil, "The answer has no code.")
	}
	ctx = oidc.ClientContext(ctx, i.client)
	token, err := i.config(d, f.RedirectURL).Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	var refused *oauth2.RetrieveError
	switch {
	case err == nil:
		return token, nil
	case errors.As(err, &refused) && refused.Response != nil && refused.Response.StatusCode < 500:
		cause := fmt.Errorf("the token endpoint answered %d", refused.Response.StatusCode) // the error holds its whole body
		return nil, signOnError(cause, "The provider %s does not take the code: it was used before, its time is over, or the client's secret is wrong.", i.Name)
	case errors.As(err, &refused):
		return nil, i.away(errors.New("its token endpoint fails"))
	case errors.Is(err, context.Canceled):
		return nil, err
	}
	var address *url.Error
	if errors.As(err, &address) {
		return nil, i.away(address)
	}
	return nil, signOnError(errors.New("the token endpoint's answer can not be read"), "The provider %s answered with no token.", i.Name)
}

// verifyID returns the claims of the ID token, which is verified as OpenID Connect
// Core 1.0, section 3.1.3.7, says.
func (i *Issuers) verifyID(ctx context.Context, one *issuer, f *flow, token *oauth2.Token) (map[string]any, error) {
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return nil, signOnError(nil, "The provider %s sent no ID token.", one.Name)
	}
	if _, err := one.keys.get(ctx); err != nil {
		return nil, one.away(err)
	}
	bad := func(reason string) error {
		return signOnError(errors.New("ID token: "+reason), "What the provider %s says of you can not be verified: %s.", one.Name, reason)
	}
	id, err := oidc.NewVerifier(one.Issuer, one, &oidc.Config{
		ClientID: one.ClientID, SupportedSigningAlgs: []string{oidc.RS256, oidc.ES256}, Now: i.now,
	}).Verify(ctx, raw)
	var expired *oidc.TokenExpiredError
	switch {
	case errors.As(err, &expired):
		return nil, bad("it has expired")
	case err != nil:
		return nil, bad("its signature, issuer or audience is not right")
	case id.Nonce != f.Nonce:
		return nil, bad("it belongs to another sign-in")
	case id.IssuedAt.After(i.now().Add(skew)):
		return nil, bad("it comes from the future; is a clock wrong?")
	case id.AccessTokenHash != "" && id.VerifyAccessToken(token.AccessToken) != nil:
		return nil, bad("it belongs to another access token")
	}
	claims := map[string]any{}
	if err := id.Claims(&claims); err != nil {
		return nil, bad("it can not be read")
	}
	azp, said := claims["azp"]
	if said && azp != one.ClientID || !said && slices.ContainsFunc(id.Audience, func(a string) bool { return a != one.ClientID }) {
		return nil, bad("it was made for another application")
	}
	return claims, nil
}

// complete asks the issuer for what the ID token does not say: many leave out of it
// whatever they tell elsewhere (OpenID Connect Core 1.0, section 5.4). What it then
// says of someone else is not used (section 5.3.2).
func (i *issuer) complete(ctx context.Context, d *discovered, token *oauth2.Token, claims map[string]any) error {
	needed := []string{"email"}
	if i.Join {
		needed = append(needed, i.OrganizationClaim, i.RoleClaim)
	}
	lacks := slices.ContainsFunc(needed, func(name string) bool { return name != "" && claims[name] == nil })
	if !lacks || d.provider.UserInfoEndpoint() == "" || checkEndpoint(d.provider.UserInfoEndpoint()) != nil {
		return nil
	}
	info, err := d.provider.UserInfo(oidc.ClientContext(ctx, i.client), oauth2.StaticTokenSource(token))
	if errors.Is(err, context.Canceled) {
		return err
	}
	if err != nil {
		return i.away(errors.New("its userinfo endpoint fails")) // the error holds its whole body
	}
	more := map[string]any{}
	if info.Subject != claims["sub"] || info.Claims(&more) != nil {
		return nil
	}
	for name, value := range more {
		if _, said := claims[name]; !said {
			claims[name] = value
		}
	}
	return nil
}

// identify reads who it is from the claims.
func (i *issuer) identify(f *flow, claims map[string]any) (*Identified, error) {
	who := &Identified{Provider: i.Name, Issuer: i.Issuer, ReturnTo: f.ReturnTo}
	who.Subject, _ = claims["sub"].(string)
	if !isSubject(who.Subject) {
		return nil, signOnError(nil, "The provider %s does not say who you are.", i.Name)
	}
	who.Name, _ = claims["name"].(string)
	who.Email, _ = claims["email"].(string)
	// Some send the text "true".
	said := claims["email_verified"] == true || claims["email_verified"] == "true"
	who.Verified = who.Email != "" && said && i.trustsEmail()
	if !i.Join {
		return who, nil
	}
	var problem string
	if who.OrgID, problem = i.organizationOf(claims); problem != "" {
		return nil, &SignOnError{Denied: true, Text: "You can not be made a member: " + problem + "."}
	}
	who.Role = i.roleOf(claims)
	return who, nil
}
