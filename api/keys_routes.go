package api

import (
	"github.com/danielgtaylor/huma/v2"

	"github.com/nanobanana/nanobanana/api/auth"
)

// keyRoutes are those of API keys. What changes a master key takes more than the scope
// shown here: changeKey tells.
func (s *server) keyRoutes(api huma.API) {
	read, write := inOrg(auth.ScopeKeysRead), inOrg(auth.ScopeKeysWrite)
	register(s, api, read, "GET /v1/keys", "listKeys", "List an organization's API keys", 200, s.listKeys)
	register(s, api, write, "POST /v1/keys", "createKey", "Make an API key", 201, s.createKey)
	register(s, api, read, "GET /v1/keys/{id}", "getKey", "See an API key", 200, s.getKey)
	register(s, api, write, "PATCH /v1/keys/{id}", "updateKey", "Change an API key", 200, s.updateKey)
	register(s, api, write, "DELETE /v1/keys/{id}", "revokeKey", "Revoke an API key at once", 200, s.revokeKey)
	register(s, api, write, "POST /v1/keys/{id}/rotate", "rotateKey", "Make an API key that takes the place of another", 201, s.rotateKey)
}
