package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// Headers by which a person says for which organization, for which project and in
// which mode they ask. Keys know it by themselves.
const (
	headerOrg     = "NanoBanana-Organization"
	headerProject = "NanoBanana-Project"
	headerMode    = "NanoBanana-Mode"
)

// access says who may call an operation. Every operation has one; the document
// shows it.
type access struct {
	area  string
	scope string // what has to be granted; empty: nothing more

	// keyScope is what the key of a project has to be granted instead, in areaEither.
	keyScope string

	// cookie says that the operation itself asks for the refresh token.
	cookie bool

	// person says that an access token shows who asks, where there is one.
	person bool
}

// Areas.
const (
	areaProject  = "project"                 // within a project: its keys, and people of its organization
	areaOrg      = "organization"            // within an organization: master keys and people
	areaEither   = "project or organization" // a project's keys within it; master keys and people within their organization
	areaAccount  = "account"                 // people, about themselves
	areaOperator = "operator"                // who runs the service
	areaOpen     = "anyone"
)

func inProject(scope string) access { return access{area: areaProject, scope: scope} }
func inOrg(scope string) access     { return access{area: areaOrg, scope: scope} }

// inEither admits who may be admitted to either. What answers shows the key of a
// project nothing but that project's.
func inEither(scope, keyScope string) access {
	return access{area: areaEither, scope: scope, keyScope: keyScope}
}

// readsGenerations is the access of the routes that a signed URL opens as well.
var readsGenerations = inProject(auth.ScopeGenerationsRead)

var (
	asAccount  = access{area: areaAccount}
	asOperator = access{area: areaOperator}
	asAnyone   = access{area: areaOpen}
	asHolder   = access{area: areaOpen, person: true}
	asSession  = access{area: areaOpen, cookie: true}
)

// admit returns the middleware that lets an operation run only for who may.
func (s *server) admit(a access) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		c := humaecho.Unwrap(ctx)
		requestOf(c.Request().Context()).operation = strings.TrimPrefix(ctx.Operation().OperationID, headOperation)
		if err := s.admitRequest(c, a); err != nil {
			s.writeError(err, c)
			return
		}
		next(ctx)
	}
}

// admitRequest puts the request's caller into its context, as one who asks within
// the area, or refuses it.
func (s *server) admitRequest(c echo.Context, a access) error {
	if a.area == areaOpen {
		return nil
	}
	caller, err := s.authenticate(c.Request())
	if err != nil {
		return err
	}
	r := requestOf(c.Request().Context())
	r.area = a.area
	r.keyID, r.accountID, r.projectID, r.caller = caller.KeyID, caller.AccountID, caller.ProjectID, caller
	if err := s.checkAddress(c.Request(), caller); err != nil {
		return err
	}
	switch a.area {
	case areaProject:
		caller, err = s.placeInProject(c.Request().Context(), caller, placeOf(c.Request()))
	case areaOrg:
		caller, err = s.placeInOrg(c, caller)
	case areaEither:
		if caller.Kind == auth.KindKey {
			a.scope = a.keyScope
		} else {
			caller, err = s.placeInOrg(c, caller)
		}
	case areaAccount:
		if caller.Kind != auth.KindAccount {
			err = refuse("permission_denied", "This is for people who have signed in; an API key has no account.")
		}
	case areaOperator:
		if !caller.Operator {
			err = refuse("permission_denied", "This is for those who run the service.")
		}
	}
	if err != nil {
		return err
	}
	r.projectID, r.caller = caller.ProjectID, caller
	c.SetRequest(c.Request().WithContext(auth.NewContext(c.Request().Context(), caller)))
	if a.scope != "" && !caller.May(a.scope) {
		return refuseScope(caller, a.scope)
	}
	r.admitted = s.opts.Now()
	return nil
}

func refuseScope(caller *auth.Caller, scope string) error {
	switch caller.Kind {
	case auth.KindKey:
		return refuse("scope_missing", "This API key was not granted the scope %s; use one that was, or have its scopes changed.", scope)
	case auth.KindMaster:
		return refuse("permission_denied", "A master key is never granted the scope %s; an owner who has signed in is.", scope)
	}
	return refuse("permission_denied", "The role %s is not granted the scope %s; ask an owner of the organization.", caller.Role, scope)
}

// A place is where within an organization a person asks. Empty fields are not said.
type place struct {
	org, project string
	mode         string // store.KeyLive, the default, or store.KeyTest
	changes      bool   // something is asked that an archived project does not take
}

// placeOf returns where a request is asked. What is in an archived project may be read
// and deleted.
func placeOf(r *http.Request) place {
	return place{
		org: r.Header.Get(headerOrg), project: r.Header.Get(headerProject), mode: r.Header.Get(headerMode),
		changes: !slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodDelete}, r.Method),
	}
}

// placeInProject returns the caller as one of a project: a key as one of its own.
func (s *server) placeInProject(ctx context.Context, caller *auth.Caller, at place) (*auth.Caller, error) {
	if caller.Kind == auth.KindKey {
		return caller, nil
	}
	if caller.Kind == auth.KindMaster {
		return nil, refuse("permission_denied", "A master key administers its organization; use the key of a project, which POST /v1/keys makes.")
	}
	org, err := s.placeNamed(caller, at.org)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	reach, err := s.db.ProjectReach(ctx, org.OrgID, at.project)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, refuse("not_found", "The organization has no project %q.", shorten(at.project, maxName))
	case errors.Is(err, store.ErrAmbiguous):
		return nil, refuse("project_required", "The organization has not exactly one project; say which in the header %s.", headerProject)
	case err != nil:
		return nil, err
	case reach.OrgSuspendedAt != nil:
		return nil, auth.ErrSuspended
	case reach.ArchivedAt != nil && at.changes:
		return nil, refuse("project_archived", "The project is archived, for good: what is in it can be read and deleted, and nothing else.")
	}
	in := *org
	in.ProjectID = reach.ProjectID
	in.Limits = auth.Limits{Plan: reach.Plan, OrgRate: reach.OrgRateLimit, ProjectRate: reach.ProjectRateLimit, Downgrades: reach.Downgrades}
	switch at.mode {
	case "", store.KeyLive:
	case store.KeyTest:
		in.Test = true
	default:
		return nil, refuse("invalid_request", "The header %s is live or test.", headerMode)
	}
	return &in, nil
}

// orgParameter is the parameter of paths that name an organization.
const orgParameter = "org_id"

// placeInOrg returns the caller as one of the organization that the path or the
// header names, or of the only one there is.
func (s *server) placeInOrg(c echo.Context, caller *auth.Caller) (*auth.Caller, error) {
	if caller.Kind == auth.KindKey {
		return nil, refuse("permission_denied", "The key of a project does not administer its organization; use a master key, or sign in.")
	}
	named := c.Request().Header.Get(headerOrg)
	if slices.Contains(c.ParamNames(), orgParameter) {
		named = c.Param(orgParameter)
	}
	return s.placeNamed(caller, named)
}

// placeNamed returns the caller as one of an organization: the one that is named, or
// else the only one.
func (s *server) placeNamed(caller *auth.Caller, orgID string) (*auth.Caller, error) {
	if orgID == "" {
		switch {
		case caller.Kind != auth.KindAccount:
			return caller, nil
		case len(caller.Orgs) == 1:
			orgID = caller.Orgs[0].OrgID
		default:
			return nil, refuse("organization_required", "You belong to %d organizations; say which in the header %s.", len(caller.Orgs), headerOrg)
		}
	}
	in := caller.Within(orgID)
	if in == nil {
		return nil, refuse("not_found", "You belong to no organization %q.", shorten(orgID, maxName))
	}
	if in.Suspended {
		return nil, auth.ErrSuspended
	}
	return in, nil
}

// authenticate returns whom the request's credential speaks for.
func (s *server) authenticate(r *http.Request) (*auth.Caller, error) {
	credential, err := keyOf(r.Header)
	if err != nil {
		return nil, err
	}
	if err := s.limitLookUp(r, credential); err != nil {
		return nil, err
	}
	caller, err := s.authenticateCredential(r.Context(), credential)
	return caller, s.limitGuesses(r, err)
}

// maxToken is more bytes than any access token needs; longer ones are not looked into.
const maxToken = 16 << 10

// authenticateCredential returns whom an API key or an access token speaks for.
func (s *server) authenticateCredential(ctx context.Context, credential string) (*auth.Caller, error) {
	switch {
	case !auth.IsToken(credential):
	case len(credential) > maxToken:
		return nil, &auth.TokenError{Err: auth.ErrInvalidToken, Reason: fmt.Sprintf("it has more than %d bytes", maxToken)}
	case !s.opts.Sessions.Owns(credential) && s.opts.Issuers.Issued(credential):
		return s.opts.Issuers.Authenticate(ctx, credential)
	default:
		return s.opts.Sessions.Authenticate(ctx, credential)
	}
	return s.opts.Keys.Authenticate(ctx, credential)
}

// checkAddress refuses a key that is used from where it may not be.
func (s *server) checkAddress(r *http.Request, caller *auth.Caller) error {
	if len(caller.Allow) == 0 {
		return nil
	}
	address := s.clientAddress(r)
	for _, prefix := range caller.Allow {
		if prefix.Contains(address) {
			return nil
		}
	}
	return refuse("ip_not_allowed", "This API key may not be used from the address %s; its ip_allowlist says from where.", address)
}

// middlewares are those of an operation.
func (s *server) middlewares(a access) huma.Middlewares {
	return huma.Middlewares{s.admit(a), s.checkQuery, s.checkBody(a)}
}

// security is what the document says of who may call.
func (a access) security() []map[string][]string {
	switch {
	case a.cookie:
		return []map[string][]string{{"session": {}}}
	case a.person:
		return []map[string][]string{{"token": {}}, {}}
	case a.area == areaOpen:
		return []map[string][]string{}
	case a.area == areaAccount:
		return []map[string][]string{{"token": {}}}
	}
	return []map[string][]string{{"key": {}}, {"token": {}}}
}

// extensions are the same for programs.
func (a access) extensions() map[string]any {
	said := map[string]any{"area": a.area}
	if a.scope != "" {
		said["scope"] = a.scope
	}
	if a.keyScope != "" {
		said["key_scope"] = a.keyScope
	}
	return map[string]any{"x-access": said}
}

// describe says it for people.
func (a access) describe() string {
	var who string
	switch a.area {
	case areaProject:
		who = "For a project's keys, and for people of its organization, who name the project in the header " + headerProject + " unless there is only one."
	case areaOrg:
		who = "For master keys, and for people of the organization, who name it in the header " + headerOrg + " if they belong to several."
	case areaEither:
		who = "For a project's keys, about the project; for master keys and people of the organization, who name it in the header " + headerOrg + " if they belong to several, about all of it."
	case areaAccount:
		who = "For people who have signed in."
	case areaOperator:
		who = "For those who run the service."
	case areaOpen:
		who = "For anyone."
	}
	if a.cookie {
		who = "For whoever has the cookies of a sign-in, and shows so in the header " + headerCSRF + "."
	}
	if a.person {
		who = "For whoever has signed in to the account, or knows its password."
	}
	if a.scope != "" {
		who += " Needs the scope " + a.scope + "."
	}
	if a.keyScope != "" && a.keyScope != a.scope {
		who += " The key of a project needs " + a.keyScope + "."
	}
	return strings.TrimSpace(who)
}
