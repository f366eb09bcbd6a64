package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"
)

const accessKeysPath = "/v1/auth/jwks.json"

// authRoutes are those of signing in and out.
func (s *server) authRoutes(e *echo.Echo, api huma.API) {
	register(s, api, asAnyone, "POST /v1/auth/register", "register", "Make an account, with an organization, a project and a first key", 201, s.registerAccount)
	register(s, api, asAnyone, "POST /v1/auth/login", "login", "Sign in with a password", 200, s.login)
	register(s, api, asSession, "POST /v1/auth/refresh", "refresh", "Get another access token, with the cookie of the last answer", 200, s.refresh)
	register(s, api, asSession, "POST /v1/auth/logout", "logout", "Sign out", 204, s.logout)
	register(s, api, asHolder, "POST /v1/auth/verify_email", "verifyEmail", "Show that an e-mail address is yours", 200, s.verifyEmail)
	register(s, api, asAccount, "POST /v1/auth/resend_verification", "resendVerification", "Have the link that verifies your e-mail address sent again", 202, s.resendVerification)
	register(s, api, asAnyone, "POST /v1/auth/forgot_password", "forgotPassword", "Have a link that sets a new password sent", 202, s.forgotPassword)
	register(s, api, asAnyone, "POST /v1/auth/reset_password", "resetPassword", "Set a new password with the link that was sent", 204, s.resetPassword)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		e.Add(method, accessKeysPath, s.accessKeys)
	}
	describeAccessKeys(api.OpenAPI())
	s.oidcRoutes(e, api)
}
