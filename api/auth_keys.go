package api

import (
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/api/auth"
)

// accessKeySet is a JWK Set (RFC 7517, section 5).
type accessKeySet struct {
	Keys []auth.AccessKey `json:"keys" nullable:"false"`
}

// accessKeys publishes the keys that access tokens are signed with. The next one is in
// the set for a month before it signs, so an hour in caches is short.
func (s *server) accessKeys(c echo.Context) error {
	c.Response().Header().Set("Cache-Control", "public, max-age=3600")
	c.Response().Header().Set("Content-Type", "application/jwk-set+json") // RFC 7517, section 8.5.2
	return c.JSON(http.StatusOK, accessKeySet{Keys: s.opts.Sessions.JWKS()})
}

func describeAccessKeys(doc *huma.OpenAPI) {
	answer := jsonResponse(doc, "The keys", reflect.TypeFor[accessKeySet]())
	answer.Content = map[string]*huma.MediaType{"application/jwk-set+json": answer.Content["application/json"]}
	doc.AddOperation(&huma.Operation{
		Method: http.MethodGet, Path: accessKeysPath, OperationID: "getAccessTokenKeys", Tags: []string{"auth"},
		Summary:     "Fetch the public keys that access tokens are signed with",
		Description: "That a token is signed and in its time does not show that its session goes on: GET /v1/me does.",
		Security:    asAnyone.security(),
		Extensions:  asAnyone.extensions(),
		Responses:   map[string]*huma.Response{"200": answer},
	})
}
