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
)

// routes is the whole API.
func (s *server) routes(e *echo.Echo, api huma.API) {
	// Callers with a key, within its project.
	key := huma.Middlewares{s.requireKey}
	register(api, key, "POST /v1/generations", "createGeneration", "Ask for images", 202, s.createGeneration)
	register(api, key, "POST /v1/generate", "generate", "Ask for images (the same as POST /v1/generations)", 202, s.createGeneration)
	register(api, key, "GET /v1/generations", "listGenerations", "List generations", 200, s.listGenerations)
	register(api, key, "GET /v1/generations/{id}", "getGeneration", "See how a generation is doing, or wait for its end", 200, s.getGeneration)
	register(api, key, "POST /v1/generations/{id}/cancel", "cancelGeneration", "Cancel a generation", 200, s.cancelGeneration)
	register(api, key, "DELETE /v1/generations/{id}", "deleteGeneration", "Cancel a generation and delete its prompt and images", 204, s.deleteGeneration)
	register(api, key, "GET /v1/models", "listModels", "List models", 200, s.listModels)
	register(api, key, "GET /v1/models/{name}", "getModel", "See a model", 200, s.getModel)

	// Callers with a key or with the signed URL of the image.
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		e.Add(method, "/v1/images/:id/content", s.imageContent)
	}

	// Anyone.
	e.GET("/", s.index)
	e.GET("/errors/:code", s.explainError)
	e.GET("/openapi.json", s.openAPI)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		e.Add(method, "/livez", s.livez)
		e.Add(method, "/readyz", s.readyz)
		e.Add(method, "/health", s.readyz)
	}
	describePlainRoutes(api.OpenAPI())
}

// parameterNames is where an operation keeps the names of its parameters.
const parameterNames = "parameters"

// register adds an operation. pattern is "METHOD /path/{param}", status that of
// success.
func register[In, Out any](api huma.API, access huma.Middlewares, pattern, id, summary string, status int, handle func(context.Context, *In) (*Out, error)) {
	method, path, _ := strings.Cut(pattern, " ")
	tag := strings.Split(path, "/")[2]
	huma.Register(api, huma.Operation{
		Method: method, Path: path, OperationID: id, Summary: summary, Tags: []string{tag}, DefaultStatus: status,
		Middlewares: access,
		Security:    []map[string][]string{{"key": {}}},
		Metadata:    map[string]any{parameterNames: namesOf(reflect.TypeFor[In]())},
		// limitBody sets both.
		MaxBodyBytes:    -1,
		BodyReadTimeout: -1,
	}, handle)
}

// namesOf lists the parameters of an input: those of the query and the body's.
func namesOf(input reflect.Type) []string {
	var names []string
	for _, f := range reflect.VisibleFields(input) {
		if f.Name == "Body" {
			names = append(names, namesOf(f.Type)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("query")+f.Tag.Get("json"), ",")
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// config is Huma without the parts that add to answers or serve pages.
func config() huma.Config {
	format := huma.Format{Marshal: encodeJSON, Unmarshal: decodeJSON}
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "NanoBanana", Version: "1",
				Description: "Asynchronous image generation: ask, then poll, long-poll or fetch the image's URL.",
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"key": {Type: "http", Scheme: "bearer", Description: "An API key: nb_live_... or nb_test_... . It may also be sent as X-API-Key."},
				},
			},
		},
		Formats:                      map[string]huma.Format{"application/json": format, "json": format},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
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

// decodeJSON reads v, and names the field of a number that is no whole one:
// Huma takes 1.0 for a whole number, Go does not.
func decodeJSON(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	var mistyped *json.UnmarshalTypeError
	if errors.As(err, &mistyped) && mistyped.Field != "" {
		return errors.New(mistyped.Field + mustBe + "a whole number written without fraction or exponent")
	}
	return err
}
