package api

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/store"
)

// keepRequest has a request that was answered written to the request log, if it is of
// an organization and asked for a change, or failed. The service's administration is in
// the audit log, which its organizations read a part of. Of what changes nothing there is
// no other limit: the request log keeps only so much of that.
func (s *server) keepRequest(c echo.Context, r *request, began time.Time) {
	reads := r.http.Method == http.MethodGet || r.http.Method == http.MethodHead
	if s.opts.RequestLog == nil || r.caller == nil || r.caller.OrgID == "" || r.area == areaOperator || reads && c.Response().Status < http.StatusBadRequest {
		return
	}
	switch c.Path() { // those that Huma does not know of
	case "/v1/generations/:id/events":
		r.operation = "followGeneration"
	case "/v1/images/:id/content":
		r.operation = "getImageContent"
	}
	path := keptPath(c)
	generation := generationOf(path, c.Response().Header().Get("Location"))
	if c.Response().Status >= http.StatusBadRequest || generation == "" && (r.operation == "estimate" || r.operation == "createGeneration") {
		if !s.opts.RequestLog.spares(cmp.Or(r.caller.KeyID, r.caller.AccountID, r.caller.Subject), reads) {
			return
		}
	}
	s.opts.RequestLog.add(store.LoggedRequest{
		ID: r.id, OrgID: r.caller.OrgID, ProjectID: known(r.caller.ProjectID), APIKeyID: known(r.caller.KeyID), AccountID: known(r.caller.AccountID),
		Method: r.http.Method, Path: path, Operation: known(r.operation),
		Status: int16(c.Response().Status), Code: known(r.code), Ms: int(time.Since(began).Milliseconds()),
		IP: s.clientAddress(r.http).String(), UserAgent: keptUserAgent(r.http),
		GenerationID: known(generation), Test: r.caller.Test, CreatedAt: began,
	})
}

// keptPath is the path of a request, in which only ids, and names where a route takes
// one, are as they were sent: anything else could be a secret in the wrong place.
func keptPath(c echo.Context) string {
	path := c.Path() + "/"
	for i, name := range c.ParamNames() {
		value := c.ParamValues()[i]
		if !isKeptID(value) && (!isKeptName(value) || name != "name" && name != "provider") {
			value = "{" + name + "}"
		}
		path = strings.Replace(path, "/:"+name+"/", "/"+value+"/", 1)
	}
	return strings.TrimSuffix(path, "/")
}

// isKeptID reports whether text is of the form of an id, which no secret has: a prefix
// and 26 characters.
func isKeptID(text string) bool {
	prefix, rest, _ := strings.Cut(text, "_")
	return len(prefix) <= 8 && len(rest) == 26 && isKeptName(prefix) && isKeptName(rest)
}

// isKeptName reports whether text could be the name of a model or a provider.
func isKeptName(text string) bool {
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && c != '-' && c != '.' {
			return false
		}
	}
	return text != "" && len(text) <= 32
}

// maxKeptUserAgent bounds what is kept of a header, in characters.
const maxKeptUserAgent = 200

func keptUserAgent(r *http.Request) string { return shorten(userAgent(r), maxKeptUserAgent) }

// generationOf is the generation that a request was about: the one in its path, whose
// image is, or that it has made, to which the answer's Location leads.
func generationOf(path, location string) string {
	for _, at := range []string{path, location} {
		for part := range strings.SplitSeq(at, "/") {
			if store.ValidGenerationID(part) {
				return part
			}
			if id, _, err := store.GenerationOfImage(part); err == nil {
				return id
			}
		}
	}
	return ""
}
