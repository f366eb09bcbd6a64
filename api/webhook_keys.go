package api

import (
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/jobs/webhook"
)

const webhookKeysPath = "/v1/webhooks/jwks.json"

// webhookKeys publishes the keys that verify v1a signatures. An hour in caches is
// short beside how rarely they change, and the former stays in the set.
func (s *server) webhookKeys(c echo.Context) error {
	c.Response().Header().Set("Cache-Control", "public, max-age=3600")
	c.Response().Header().Set("Content-Type", "application/jwk-set+json") // RFC 7517, section 8.5.2
	return c.JSON(http.StatusOK, s.opts.Keyring.JWKS())
}

func describeWebhookKeys(doc *huma.OpenAPI) {
	answer := jsonResponse(doc, "The keys", reflect.TypeFor[webhook.JWKS]())
	answer.Content = map[string]*huma.MediaType{"application/jwk-set+json": answer.Content["application/json"]}
	doc.AddOperation(&huma.Operation{
		Method: http.MethodGet, Path: webhookKeysPath, OperationID: "getWebhookKeys", Tags: []string{"webhooks"},
		Summary:     "Fetch the public keys that webhooks are signed with",
		Description: "For the v1a signatures (Ed25519). They are the same for all customers: check the event's project_id as well.",
		Security:    asAnyone.security(),
		Extensions:  asAnyone.extensions(),
		Responses:   map[string]*huma.Response{"200": answer},
	})
}
