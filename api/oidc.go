package api

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/api/auth"
)

const oidcPath = "/v1/auth/oidc"

// oidcRoutes are those of single sign-on. Their callback is no operation of Huma's:
// providers add parameters of their own to it.
func (s *server) oidcRoutes(e *echo.Echo, api huma.API) {
	register(s, api, asAnyone, "GET "+oidcPath, "listSignOnProviders", "List the providers of single sign-on", 200, s.listSignOnProviders)
	register(s, api, asAnyone, "GET "+oidcPath+"/{provider}", "beginSignOn", "Sign in with a provider of single sign-on: to be opened in a browser", 302, s.beginSignOn)
	e.GET(oidcPath+"/:provider/callback", s.finishSignOn)
	describeSignOn(api.OpenAPI())
}

// signOnProvider is a provider as people see it.
type signOnProvider struct {
	Object string `json:"object" enum:"sign_on_provider"`
	Name   string `json:"name" example:"google"`
	Issuer string `json:"issuer" example:"https://accounts.google.com"`
	URL    string `json:"url" doc:"To be opened in a browser; it takes return_to"`
}

type signOnProviders struct {
	Object string           `json:"object" enum:"list"`
	Data   []signOnProvider `json:"data" nullable:"false"`
}

type signOnProvidersOutput struct{ Body signOnProviders }

func (s *server) listSignOnProviders(ctx context.Context, _ *struct{}) (*signOnProvidersOutput, error) {
	list := []signOnProvider{}
	for _, p := range s.opts.Issuers.Providers() {
		list = append(list, signOnProvider{
			Object: "sign_on_provider", Name: p.Name, Issuer: p.Issuer, URL: s.base(requestOf(ctx).http) + oidcPath + "/" + p.Name,
		})
	}
	return &signOnProvidersOutput{signOnProviders{Object: "list", Data: list}}, nil
}

type beginSignOnInput struct {
	Provider string `path:"provider" example:"google"`
	ReturnTo string `query:"return_to" doc:"Where to go afterwards: a path of this service, such as /console. Without it the answer is that of POST /v1/auth/login"`
}

type beginSignOnOutput struct {
	CacheControl string `header:"Cache-Control"`
	Location     string `header:"Location"`
	SetCookie    string `header:"Set-Cookie"`
}

func (s *server) beginSignOn(ctx context.Context, in *beginSignOnInput) (*beginSignOnOutput, error) {
	if in.ReturnTo != "" && !auth.LocalPath(in.ReturnTo) {
		return nil, refuse("invalid_request", "return_to must be a path of this service that begins with one slash, such as /console.")
	}
	r := requestOf(ctx).http
	callback := s.base(r) + oidcPath + "/" + in.Provider + "/callback"
	begun, err := s.opts.Issuers.Begin(ctx, in.Provider, callback, in.ReturnTo)
	if err != nil {
		return nil, err
	}
	return &beginSignOnOutput{
		CacheControl: noStore, Location: begun.URL, SetCookie: s.flowCookie(r, begun.Mark, begun.Sealed, begun.Life).String(),
	}, nil
}

// flowCookie keeps a sign-in until the browser is back from the provider. A page of
// another site sends it there, so it can not be Strict.
func (s *server) flowCookie(r *http.Request, mark, sealed string, life time.Duration) *http.Cookie {
	c := &http.Cookie{
		Name: "nb_oidc_" + mark, Value: sealed, Path: "/", MaxAge: int(life.Seconds()),
		Secure: s.isSecure(r), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if c.Secure {
		c.Name = "__Host-" + c.Name
	}
	if life == 0 {
		c.MaxAge = -1 // to be taken away
	}
	return c
}

// finishSignOn is where the provider sends the browser back to. Whatever comes of it,
// the sign-in can not be finished once more, unless the provider could not be asked.
func (s *server) finishSignOn(c echo.Context) error {
	r := c.Request()
	cookie := s.flowCookie(r, auth.FlowMark(c.QueryParams()), "", 0)
	sealed := ""
	if kept, err := r.Cookie(cookie.Name); err == nil {
		sealed = kept.Value
	}
	who, err := s.opts.Issuers.Finish(r.Context(), c.Param("provider"), c.QueryParams(), sealed)
	if sealed != "" && !errors.Is(err, auth.ErrIssuerAway) {
		c.SetCookie(cookie)
	}
	if err != nil {
		return err
	}
	a, signIn, err := s.signOn(r.Context(), who)
	if err != nil {
		return err
	}
	for _, set := range s.cookies(r, signIn) {
		c.Response().Header().Add("Set-Cookie", set)
	}
	c.Response().Header().Set("Cache-Control", noStore)
	if who.ReturnTo != "" {
		return c.Redirect(http.StatusSeeOther, who.ReturnTo)
	}
	return c.JSON(http.StatusOK, loginAnswer{viewAccount(a), viewSignIn(signIn)})
}

// describeSignOn puts the callback into the document.
func describeSignOn(doc *huma.OpenAPI) {
	text := &huma.Schema{Type: "string"}
	op := &huma.Operation{
		Method: http.MethodGet, Path: oidcPath + "/{provider}/callback", OperationID: "finishSignOn", Tags: []string{"auth"},
		Summary: "Where a provider of single sign-on sends the browser back to",
		Description: asAnyone.describe() + " It signs in with the cookie that GET /v1/auth/oidc/{provider} has set, once. " +
			"This is the redirect URI that the provider has to know. HEAD does not work here.",
		Security: asAnyone.security(), Extensions: asAnyone.extensions(),
		Parameters: []*huma.Param{
			{Name: "provider", In: "path", Required: true, Schema: text},
			{Name: "code", In: "query", Schema: text},
			{Name: "state", In: "query", Schema: text},
			{Name: "iss", In: "query", Schema: text},
			{Name: "error", In: "query", Description: "Why the provider did not sign them in", Schema: text},
		},
		Responses: map[string]*huma.Response{
			"200": jsonResponse(doc, "Signed in, without return_to", reflect.TypeFor[loginAnswer]()),
			"303": {Description: "Signed in; on to return_to. POST /v1/auth/refresh gets an access token"},
		},
	}
	describeProblems(doc, op, 403)
	doc.AddOperation(op)
}
