package api

import (
	"context"
	"strconv"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// loggedRequest is a request as its organization sees it afterwards.
type loggedRequest struct {
	ID           string    `json:"id" doc:"X-Request-Id of its answer" example:"req_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Object       string    `json:"object" enum:"request"`
	ProjectID    *string   `json:"project_id" doc:"null: of the organization as a whole"`
	APIKeyID     *string   `json:"api_key_id"`
	AccountID    *string   `json:"account_id" doc:"Of a person; shown to them and with the scope audit:read"`
	Method       string    `json:"method"`
	Path         string    `json:"path" doc:"Without the query. What is no id stands as the name of the parameter" example:"/v1/generations/gen_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Operation    *string   `json:"operation" doc:"Its name in this document" example:"getGeneration"`
	Status       int       `json:"status" example:"404"`
	Code         *string   `json:"code" doc:"Of the problem; null: there was none" example:"not_found"`
	DurationMs   int       `json:"duration_ms"`
	IP           *string   `json:"ip" doc:"Shown to who made the request, and with the scope audit:read"`
	UserAgent    *string   `json:"user_agent" doc:"Shown to who made the request, and with the scope audit:read"`
	GenerationID *string   `json:"generation_id"`
	Mode         string    `json:"mode" enum:"live,test"`
	CreatedAt    time.Time `json:"created_at"`
}

// viewRequest shows a request. Which person asked, and from where, is for who may read
// the audit log, where that stands too, and for who asked.
func viewRequest(r *store.LoggedRequest, caller *auth.Caller) loggedRequest {
	shown := loggedRequest{
		ID: r.ID, Object: "request", ProjectID: r.ProjectID, APIKeyID: r.APIKeyID, AccountID: r.AccountID, Method: r.Method, Path: r.Path,
		Operation: r.Operation, Status: int(r.Status), Code: r.Code, DurationMs: r.Ms, IP: known(r.IP), UserAgent: known(r.UserAgent),
		GenerationID: r.GenerationID, Mode: store.KeyLive, CreatedAt: r.CreatedAt.UTC(),
	}
	if r.Test {
		shown.Mode = store.KeyTest
	}
	audits := caller.Kind != auth.KindKey && caller.May(auth.ScopeAuditRead)
	if !audits && !isOwn(r, caller) {
		shown.AccountID, shown.IP, shown.UserAgent = nil, nil, nil
	}
	return shown
}

// isOwn reports whether it was the caller who made a request: the same key or person.
func isOwn(r *store.LoggedRequest, caller *auth.Caller) bool {
	if r.APIKeyID != nil {
		return *r.APIKeyID == caller.KeyID
	}
	return r.AccountID != nil && *r.AccountID == caller.AccountID
}

type listRequestsInput struct {
	Status        string    `query:"status" pattern:"^([1-5]xx|[1-5][0-9][0-9])$" patternDescription:"a status such as 404 or 4xx" doc:"Such as 404, or 4xx for all of them"`
	Method        string    `query:"method" enum:"GET,HEAD,POST,PUT,PATCH,DELETE"`
	APIKeyID      string    `query:"api_key_id" maxLength:"100"`
	Operation     string    `query:"operation" maxLength:"100" doc:"A name in this document" example:"createGeneration"`
	GenerationID  string    `query:"generation_id" maxLength:"100"`
	ProjectID     string    `query:"project_id" maxLength:"100" doc:"Only the requests of this project"`
	CreatedAfter  time.Time `query:"created_after"`
	CreatedBefore time.Time `query:"created_before"`
	PageInput
}

// status reads 404 and 4xx, which the document's pattern lets in.
func (in *listRequestsInput) status() int {
	if class, all := in.Status, len(in.Status) == 3 && in.Status[1:] == "xx"; all {
		return int(class[0] - '0')
	}
	n, _ := strconv.Atoi(in.Status)
	return n
}

func (s *server) listRequests(ctx context.Context, in *listRequestsInput) (*pageOutput[loggedRequest], error) {
	selected, err := in.page("a request", store.ValidRequestID)
	if err != nil {
		return nil, err
	}
	caller := auth.FromContext(ctx)
	f := store.RequestFilter{
		Page: selected, OrgID: caller.OrgID, ProjectID: in.ProjectID, Test: caller.Test, Status: in.status(), Method: in.Method,
		APIKeyID: in.APIKeyID, Operation: in.Operation, GenerationID: in.GenerationID,
	}
	if caller.Kind == auth.KindKey {
		if in.ProjectID != "" && in.ProjectID != caller.ProjectID {
			return nil, refuse("not_found", "project_id is not the key's own project; leave it out.")
		}
		f.ProjectID = caller.ProjectID
	}
	if !in.CreatedAfter.IsZero() {
		f.CreatedAfter = &in.CreatedAfter
	}
	if !in.CreatedBefore.IsZero() {
		f.CreatedBefore = &in.CreatedBefore
	}
	var rows []*store.LoggedRequest
	err = s.search(ctx, "The list takes too long to find; narrow it with created_after and created_before.", func(ctx context.Context) error {
		rows, err = s.db.LoggedRequests(ctx, f)
		return err
	})
	if err != nil {
		return nil, err
	}
	view := func(r *store.LoggedRequest) loggedRequest { return viewRequest(r, caller) }
	return pageOf(&in.PageInput, rows, func(r *store.LoggedRequest) string { return r.ID }, view), nil
}

type getRequestInput struct {
	ID string `path:"id" example:"req_06f0r3k8cg7q1v2m4n6p8s9tb0"`
}

type getRequestOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         loggedRequest
}

func (s *server) getRequest(ctx context.Context, in *getRequestInput) (*getRequestOutput, error) {
	none := refuse("not_found", "There is no request %q: only those that asked for a change, and those that failed, are kept, for 30 days.", shorten(in.ID, maxName))
	if !store.ValidRequestID(in.ID) {
		return nil, none
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	caller := auth.FromContext(ctx)
	row, err := s.db.LoggedRequest(ctx, caller.OrgID, in.ID)
	if err != nil {
		return nil, notThere(err, "There is no request %q: only those that asked for a change, and those that failed, are kept, for 30 days.", in.ID)
	}
	ofProject := row.ProjectID != nil && *row.ProjectID == caller.ProjectID
	if caller.Kind == auth.KindKey && (!ofProject || caller.Test && !row.Test) {
		return nil, none
	}
	return &getRequestOutput{CacheControl: notKept, Body: viewRequest(row, caller)}, nil
}
