package simulator

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

type endpoint struct {
	ID            string            `json:"id"`
	Object        string            `json:"object"`
	APIVersion    *string           `json:"api_version"`
	Application   *string           `json:"application"`
	Created       int64             `json:"created"`
	Description   *string           `json:"description"`
	EnabledEvents []string          `json:"enabled_events"`
	Livemode      bool              `json:"livemode"`
	Metadata      map[string]string `json:"metadata"`
	Status        string            `json:"status"`
	URL           string            `json:"url"`
	Secret        string            `json:"_secret"` // told once, in the answer that creates it
}

func endpointRoutes() []route {
	return []route{
		{
			method: http.MethodPost, path: "/v1/webhook_endpoints", required: []string{"enabled_events", "url"}, answer: createEndpoint,
			params: params{"url": text, "enabled_events.*": text, "api_version": text, "description": clearable}.and(metadata),
		},
		{method: http.MethodGet, path: "/v1/webhook_endpoints", params: paging, answer: listEndpoints},
		{method: http.MethodGet, path: "/v1/webhook_endpoints/{id}", answer: retrieveEndpoint},
		{method: http.MethodDelete, path: "/v1/webhook_endpoints/{id}", answer: deleteEndpoint},
	}
}

func createEndpoint(t *tx) (any, error) {
	to, err := url.Parse(t.form.text("url"))
	if err != nil || to.Host == "" || to.Scheme != "http" && to.Scheme != "https" {
		return nil, invalid("url", "url_invalid", "Invalid URL: An explicit scheme (such as https) must be provided.")
	}
	e := &endpoint{
		ID: t.state.newID("we"), Object: "webhook_endpoint", APIVersion: orNull(t.form.text("api_version")), Created: t.unix(),
		Description: orNull(t.form.text("description")), EnabledEvents: t.form.list("enabled_events"), Metadata: t.form.metadata(nil),
		Status: "enabled", URL: t.form.text("url"), Secret: strings.Replace(t.state.newID("whsec"), "_00", "_", 1),
	}
	t.state.Endpoints[e.ID] = e
	told, _ := wire(e).(map[string]any)
	told["secret"] = e.Secret
	return told, nil
}

func listEndpoints(t *tx) (any, error) {
	found := newestFirst(t.state.Endpoints, func(*endpoint) bool { return true })
	return page(t, "/v1/webhook_endpoints", found, func(e *endpoint) string { return e.ID })
}

func retrieveEndpoint(t *tx) (any, error) {
	if e := t.state.Endpoints[t.id]; e != nil {
		return e, nil
	}
	return nil, unknownID(http.StatusNotFound, "webhook endpoint", "id", t.id)
}

func deleteEndpoint(t *tx) (any, error) {
	if _, err := retrieveEndpoint(t); err != nil {
		return nil, err
	}
	delete(t.state.Endpoints, t.id)
	return map[string]any{"id": t.id, "object": "webhook_endpoint", "deleted": true}, nil
}

// wants reports whether events of a type are sent to the endpoint.
func (e *endpoint) wants(kind string) bool {
	return slices.ContainsFunc(e.EnabledEvents, func(pattern string) bool { return matchesType(pattern, kind) })
}

// matchesType reports whether a type is a pattern's: itself, `*`, or `invoice.*`.
func matchesType(pattern, kind string) bool {
	before, star := strings.CutSuffix(pattern, "*")
	return pattern == kind || star && strings.HasPrefix(kind, before)
}
