package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/api/auth"
)

// routes is the whole API. Each operation says who may call it.
func (s *server) routes(e *echo.Echo, api huma.API) {
	s.workRoutes(e, api)
	s.webhookRoutes(api)
	s.authRoutes(e, api)
	s.accountRoutes(api)
	s.orgRoutes(api)
	s.projectRoutes(api)
	s.keyRoutes(api)
	s.auditRoutes(e, api)
	s.priceRoutes(api)
	s.usageRoutes(e, api)
	s.billingRoutes(e, api)
	s.budgetRoutes(api)
	s.ledgerRoutes(e, api)
	s.operatorRoutes(api)
	s.pageRoutes(e)

	// Anyone.
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		e.Add(method, "/", s.index)
		e.Add(method, "/errors/:code", s.explainError)
		e.Add(method, "/openapi.json", s.openAPI)
		e.Add(method, webhookKeysPath, s.webhookKeys)
		e.Add(method, "/livez", s.livez)
		e.Add(method, "/readyz", s.readyz)
		e.Add(method, "/health", s.readyz)
	}
	describePlainRoutes(api.OpenAPI())
}

// workRoutes are those of generations and what comes of them.
func (s *server) workRoutes(e *echo.Echo, api huma.API) {
	read, write := inProject(auth.ScopeGenerationsRead), inProject(auth.ScopeGenerationsWrite)
	register(s, api, write, "POST /v1/generations", "createGeneration", "Ask for images", 202, s.createGeneration)
	register(s, api, write, "POST /v1/generate", "generate", "Ask for images (the same as POST /v1/generations)", 202, s.createGeneration)
	register(s, api, read, "GET /v1/generations", "listGenerations", "List generations", 200, s.listGenerations)
	register(s, api, read, "GET /v1/generations/{id}", "getGeneration", "See how a generation is doing, or wait for its end", 200, s.getGeneration)
	register(s, api, write, "POST /v1/generations/{id}/cancel", "cancelGeneration", "Cancel a generation", 200, s.cancelGeneration)
	register(s, api, write, "DELETE /v1/generations/{id}", "deleteGeneration", "Cancel a generation and delete its prompt and images", 204, s.deleteGeneration)
	register(s, api, inProject(auth.ScopeEventsRead), "GET /v1/events", "listEvents", "Follow what has happened", 200, s.listEvents)
	register(s, api, inProject(auth.ScopeEventsRead), "GET /v1/events/{id}", "getEvent", "See an event", 200, s.getEvent)
	register(s, api, inProject(auth.ScopeModelsRead), "GET /v1/models", "listModels", "List models", 200, s.listModels)
	register(s, api, inProject(auth.ScopeModelsRead), "GET /v1/models/{name}", "getModel", "See a model", 200, s.getModel)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		e.Add(method, "/v1/generations/:id/events", s.generationEvents) // with scope generations:read, or the stream's signed URL
		e.Add(method, "/v1/images/:id/content", s.imageContent)         // with scope generations:read, or the image's signed URL
	}
}

// webhookRoutes are those of endpoints, their secrets and deliveries.
func (s *server) webhookRoutes(api huma.API) {
	read, write := inProject(auth.ScopeWebhooksRead), inProject(auth.ScopeWebhooksWrite)
	register(s, api, write, "POST /v1/webhook_endpoints", "createWebhookEndpoint", "Have events sent to a URL", 201, s.createWebhookEndpoint)
	register(s, api, read, "GET /v1/webhook_endpoints", "listWebhookEndpoints", "List webhook endpoints", 200, s.listWebhookEndpoints)
	register(s, api, read, "GET /v1/webhook_endpoints/{id}", "getWebhookEndpoint", "See a webhook endpoint", 200, s.getWebhookEndpoint)
	register(s, api, write, "PATCH /v1/webhook_endpoints/{id}", "updateWebhookEndpoint", "Change a webhook endpoint", 200, s.updateWebhookEndpoint)
	register(s, api, write, "DELETE /v1/webhook_endpoints/{id}", "deleteWebhookEndpoint", "Delete a webhook endpoint", 204, s.deleteWebhookEndpoint)
	register(s, api, write, "POST /v1/webhook_endpoints/{id}/enable", "enableWebhookEndpoint", "Send to a webhook endpoint again", 200, s.enableWebhookEndpoint)
	register(s, api, write, "POST /v1/webhook_endpoints/{id}/disable", "disableWebhookEndpoint", "Send nothing to a webhook endpoint, but keep it for a replay", 200, s.disableWebhookEndpoint)
	register(s, api, write, "POST /v1/webhook_endpoints/{id}/rotate", "rotateWebhookEndpoint", "Give a webhook endpoint a new secret", 200, s.rotateWebhookEndpoint)
	register(s, api, write, "POST /v1/webhook_endpoints/{id}/test", "testWebhookEndpoint", "Send a test.ping to a webhook endpoint", 202, s.testWebhookEndpoint)
	register(s, api, read, "GET /v1/webhook_endpoints/{id}/deliveries", "listDeliveries", "List what was sent to a webhook endpoint", 200, s.listDeliveries)
	register(s, api, read, "GET /v1/webhook_endpoints/{id}/deliveries/{event_id}", "getDelivery", "See a delivery and its latest attempts", 200, s.getDelivery)
	register(s, api, write, "POST /v1/webhook_endpoints/{id}/deliveries/{event_id}/redeliver", "redeliver", "Send an event once more", 202, s.redeliver)
	register(s, api, write, "POST /v1/webhook_endpoints/{id}/replay", "replay", "Send a range of events once more", 202, s.replay)
	// Whoever has the secret can sign as we do: it takes more than reading.
	register(s, api, write, "GET /v1/webhooks/default/secret", "getDefaultWebhookSecret", "See the secret that signs what is sent to a generation's webhook_url", 200, s.getDefaultSecret)
	register(s, api, write, "POST /v1/webhooks/default/rotate", "rotateDefaultWebhookSecret", "Replace the secret that signs what is sent to a generation's webhook_url", 200, s.rotateDefaultSecret)
}

// parameterNames is where an operation keeps its parameters.
const parameterNames = "parameters"

// headOperation begins the name of what answers HEAD to an operation.
const headOperation = "head-"

// register adds an operation. pattern is "METHOD /path/{param}", status that of
// success. HEAD answers as GET does, without the body (RFC 9110, section 9.3.2).
func register[In, Out any](s *server, api huma.API, a access, pattern, id, summary string, status int, handle func(context.Context, *In) (*Out, error)) {
	method, path, _ := strings.Cut(pattern, " ")
	tag := strings.Split(path, "/")[2]
	op := huma.Operation{
		Method: method, Path: path, OperationID: id, Summary: summary, Tags: []string{tag}, DefaultStatus: status,
		Description: a.describe(),
		Middlewares: s.middlewares(a),
		Security:    a.security(),
		Extensions:  a.extensions(),
		Metadata:    map[string]any{parameterNames: parametersOf(reflect.TypeFor[In]())},
		// limitBody sets both.
		MaxBodyBytes:    -1,
		BodyReadTimeout: -1,
	}
	huma.Register(api, op, handle)
	if method == http.MethodGet {
		op.Method, op.OperationID, op.Hidden = http.MethodHead, headOperation+id, true
		huma.Register(api, op, handle)
	}
}

// config is Huma without the parts that add to answers or serve pages.
func config() huma.Config {
	format := huma.Format{Marshal: encodeJSON, Unmarshal: decodeJSON}
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "NanoBanana", Version: "1",
				Description: "Asynchronous image generation: ask, then poll, long-poll or fetch the image's URL. HEAD works wherever GET does.",
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"key":     {Type: "http", Scheme: "bearer", Description: "An API key: nb_live_..., nb_test_... or nb_master_... . It may also be sent as X-API-Key."},
					"session": {Type: "apiKey", In: "cookie", Name: cookieRefresh, Description: "The refresh token that POST /v1/auth/login sets; over http it is called " + cookieRefreshPlain + "."},
					"token":   {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "The access token of a person, from POST /v1/auth/login, or of an issuer of single sign-on."},
				},
			},
		},
		Formats:       map[string]huma.Format{"application/json": format, "json": format},
		DefaultFormat: "application/json",
	}
}

// encodeJSON writes v at once, so that an error in the middle leaves no half
// answer. That the caller has gone is no error of ours.
func encodeJSON(w io.Writer, v any) error {
	var text bytes.Buffer
	if err := writeJSON(&text, v); err != nil {
		return err
	}
	_, _ = w.Write(text.Bytes())
	return nil
}

// decodeJSON reads v, and names the field that has the wrong type without
// speaking of Go: Huma takes 1.0 for a whole number, Go does not.
func decodeJSON(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	var mistyped *json.UnmarshalTypeError
	switch {
	case !errors.As(err, &mistyped):
		return err
	case mistyped.Field == "":
		return errors.New("the " + shorten(mistyped.Value, maxName) + " is out of range")
	}
	return errors.New(mistyped.Field + mustBe + typeName(mistyped.Type.Kind()))
}

// typeName says which JSON a kind is read from.
func typeName(kind reflect.Kind) string {
	switch kind {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a JSON object"
	}
	return "a whole number written without fraction or exponent"
}
