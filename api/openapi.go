package api

import (
	_ "embed" // the document
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/jobs/view"
)

// document is what finishDocument makes, kept beside the code so that a change
// of the contract shows in review. TestOpenAPI holds the two together.
//
//go:embed openapi.json
var document []byte

func (s *server) openAPI(c echo.Context) error {
	return c.Blob(http.StatusOK, "application/openapi+json", document)
}

// index tells a visitor where to begin.
func (s *server) index(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{
		"name": "NanoBanana", "version": s.opts.Version,
		"openapi": "/openapi.json", "generate": "POST /v1/generations", "models": "/v1/models", "health": "/readyz",
	})
}

// errorExplanation is what the type of a problem leads to.
type errorExplanation struct {
	Code      string `json:"code"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Type      string `json:"type"`
	Retryable bool   `json:"retryable"`
	Detail    string `json:"detail"`
}

func (s *server) explainError(c echo.Context) error {
	kind := kindOf(c.Param("code"))
	if kind.Code != c.Param("code") {
		return refuse("not_found", "There is no such error code.")
	}
	return c.JSON(http.StatusOK, errorExplanation{
		Code: kind.Code, Title: kind.Title, Status: kind.Status, Type: kind.Type, Retryable: kind.Retryable, Detail: kind.Detail,
	})
}

// describePlainRoutes puts the routes that Huma does not serve into the document.
func describePlainRoutes(doc *huma.OpenAPI) {
	image := &huma.Operation{
		Method: http.MethodGet, Path: "/v1/images/{id}/content", OperationID: "getImageContent", Tags: []string{"images"},
		Summary:     "Fetch an image",
		Description: "Takes a key of the image's project, or the signature that the image's url carries. Range, If-Range and If-None-Match work as in RFC 9110.",
		Security:    append(readsGenerations.security(), map[string][]string{}),
		Extensions:  readsGenerations.extensions(),
		Parameters: []*huma.Param{
			{Name: "id", In: "path", Required: true, Schema: &huma.Schema{Type: "string"}},
			{Name: "sig", In: "query", Description: "Instead of a key", Schema: &huma.Schema{Type: "string"}},
			{Name: "variant", In: "query", Description: "thumbnail: at most 320 pixels a side, or the image itself until there is one; original: as the provider sent it", Schema: &huma.Schema{Type: "string", Enum: []any{view.VariantThumbnail, view.VariantOriginal}}},
			{Name: "wait", In: "query", Description: "Seconds to wait for an image that is being made, at most 30", Schema: &huma.Schema{Type: "integer"}},
		},
		Responses: map[string]*huma.Response{
			"200": {Description: "The image", Content: map[string]*huma.MediaType{
				"image/png": {}, "image/jpeg": {}, "image/webp": {},
			}},
			"206": {Description: "A part of the image"},
			"304": {Description: "Not modified"},
			"202": jsonResponse(doc, "The image is being made; see Retry-After", reflect.TypeFor[pendingImage]()),
		},
	}
	describeProblems(doc, image, 400, 401, 404, 410, 416, 422)
	doc.AddOperation(image)
	head := *image
	head.Method, head.OperationID, head.Summary = http.MethodHead, "headImageContent", "See an image's headers"
	doc.AddOperation(&head)
	describeWebhookKeys(doc)
	describeStreams(doc)
	for _, r := range []struct{ path, id, summary string }{
		{"/livez", "livez", "Whether the process lives"},
		{"/readyz", "readyz", "Whether it can serve requests"},
		{"/health", "health", "The same as /readyz"},
	} {
		op := &huma.Operation{
			Method: http.MethodGet, Path: r.path, OperationID: r.id, Summary: r.summary, Tags: []string{"health"},
			Security: asAnyone.security(), Extensions: asAnyone.extensions(),
			Responses: map[string]*huma.Response{"200": jsonResponse(doc, "It does", reflect.TypeFor[health]())},
		}
		if r.path != "/livez" {
			describeProblems(doc, op, 503)
		}
		doc.AddOperation(op)
	}
	explain := &huma.Operation{
		Method: http.MethodGet, Path: "/errors/{code}", OperationID: "explainError", Summary: "Explain an error code", Tags: []string{"errors"},
		Security: asAnyone.security(), Extensions: asAnyone.extensions(),
		Parameters: []*huma.Param{{Name: "code", In: "path", Required: true, Schema: &huma.Schema{Type: "string"}}},
		Responses:  map[string]*huma.Response{"200": jsonResponse(doc, "The code", reflect.TypeFor[errorExplanation]())},
	}
	describeProblems(doc, explain, 404)
	doc.AddOperation(explain)
}

// describeStreams does so with the events of a generation.
func describeStreams(doc *huma.OpenAPI) {
	stream := &huma.Operation{
		Method: http.MethodGet, Path: "/v1/generations/{id}/events", OperationID: "followGeneration", Tags: []string{"generations"},
		Summary: "Follow a generation",
		Description: "Server-sent events, from the first or from behind Last-Event-ID, to the end of the generation; then the stream ends. " +
			"status tells each state: generation_id, status, sequence, created_at, stage, queue_position, eta_seconds. " +
			"progress tells how far it is: generation_id, progress, stage, queue_position, eta_seconds; one without an id is only a hint, and is not repeated. " +
			"image is one image with its generation_id; those of a generation come together, at its end. done is the whole generation, and always the last. " +
			"Ids are to be taken as they are. A comment comes after 15 seconds without an event. " +
			"Takes a key of the generation's project, or the signature that its urls.events carries: for an EventSource, which can set no headers, on a page of any origin. " +
			"Who has that URL can follow this one generation and see all of it in done, so hand it to nobody else. " +
			"100 streams may be open for each key, and 100 for each signed URL. " +
			"While the database is away, who sends Last-Event-ID gets 200 with retry and nothing more: connect again to go on.",
		Security: append(readsGenerations.security(), map[string][]string{}), Extensions: readsGenerations.extensions(),
		Parameters: []*huma.Param{
			{Name: "id", In: "path", Required: true, Schema: &huma.Schema{Type: "string"}},
			{Name: "sig", In: "query", Description: "Instead of a key: the signature of the generation's urls.events", Schema: &huma.Schema{Type: "string"}},
			{Name: "Last-Event-ID", In: "header", Description: "The id of the last event received", Schema: &huma.Schema{Type: "string"}},
			{Name: "last_event_id", In: "query", Description: "The same, for clients that can not set headers", Schema: &huma.Schema{Type: "string"}},
		},
		Responses: map[string]*huma.Response{
			"200": {Description: "The events", Content: map[string]*huma.MediaType{
				"text/event-stream": {Schema: &huma.Schema{Type: "string"}},
			}},
			"204": {Description: "There is nothing behind Last-Event-ID: it was that of done"},
		},
	}
	describeProblems(doc, stream, 429)
	doc.AddOperation(stream)
	head := *stream
	head.Method, head.OperationID, head.Summary = http.MethodHead, "headGenerationEvents", "See whether there is a stream, and its headers"
	doc.AddOperation(&head)
}

func jsonResponse(doc *huma.OpenAPI, description string, t reflect.Type) *huma.Response {
	return &huma.Response{Description: description, Content: map[string]*huma.MediaType{
		"application/json": {Schema: doc.Components.Schemas.Schema(t, true, t.Name())},
	}}
}

func describeProblems(doc *huma.OpenAPI, op *huma.Operation, statuses ...int) {
	schema := doc.Components.Schemas.Schema(reflect.TypeFor[problem](), true, "Problem")
	for _, status := range statuses {
		op.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status),
			Content:     map[string]*huma.MediaType{problemType: {Schema: schema}},
		}
	}
}

// finishDocument adds what the types of inputs and outputs do not tell.
func finishDocument(doc *huma.OpenAPI) {
	for path, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Patch, item.Delete} {
			if op == nil || !strings.HasPrefix(path, "/v1/") || path == "/v1/images/{id}/content" || path == webhookKeysPath {
				continue
			}
			delete(op.Responses, "default")
			statuses := []int{400, 401, 422, 500, 503}
			if strings.Contains(path, "{") {
				statuses = append(statuses, 404)
			}
			if op.RequestBody != nil {
				statuses = append(statuses, 408, 409, 413, 415)
			}
			switch op.OperationID {
			case "testWebhookEndpoint", "redeliver", "getDefaultWebhookSecret":
				statuses = append(statuses, 409)
			case "createWebhookEndpoint", "listGenerations":
				statuses = append(statuses, 404)
			}
			if op.OperationID == "createGeneration" || op.OperationID == "generate" {
				describeDryRun(doc, op)
			}
			if op.OperationID == "getGeneration" {
				op.Responses["304"] = &huma.Response{Description: "Nothing has changed"}
			}
			describeProblems(doc, op, statuses...)
		}
	}
	schemas := doc.Components.Schemas.Map()
	for name, schema := range schemas {
		if !strings.HasSuffix(name, "Body") {
			schema.AdditionalProperties = nil // answers may gain members
		}
	}
	reason := schemas["WebhookEndpoint"].Properties["disabled_reason"]
	reason.Enum = append(reason.Enum, nil)
	for _, name := range []string{"usage", "error"} {
		property := schemas["Generation"].Properties[name]
		schemas["Generation"].Properties[name] = &huma.Schema{
			Description: property.Description,
			AnyOf:       []*huma.Schema{{Ref: property.Ref}, {Type: "null"}},
		}
	}
	describeEvents(doc)
	describeWebhooks(doc)
}
