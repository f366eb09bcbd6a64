package api

import (
	"github.com/danielgtaylor/huma/v2"
)

// accountRoutes are those of a person about themselves.
func (s *server) accountRoutes(api huma.API) {
	register(s, api, asAccount, "GET /v1/me", "getMe", "See who you are", 200, s.getMe)
	register(s, api, asAccount, "PATCH /v1/me", "updateMe", "Change your name or password", 200, s.updateMe)
	register(s, api, asAccount, "DELETE /v1/me", "deleteMe", "Have everything about you erased", 204, s.deleteMe)
	register(s, api, asAccount, "GET /v1/me/export", "exportMe", "Get what is kept about you and the organizations you own, without secrets and pictures", 200, s.exportMe)
	register(s, api, asAccount, "GET /v1/me/sessions", "listSessions", "List where you are signed in", 200, s.listSessions)
	register(s, api, asAccount, "DELETE /v1/me/sessions/{id}", "endSession", "Sign out elsewhere", 204, s.endSession)
	register(s, api, asAccount, "DELETE /v1/me/sessions", "endOtherSessions", "Sign out everywhere else", 200, s.endOtherSessions)
}
