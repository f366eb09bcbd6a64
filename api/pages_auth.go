package api

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/jobs/mail"
)

// verifyPage asks whoever opened the link of a mail for the password of the account.
func (s *server) verifyPage(c echo.Context) error {
	return s.linkPage(c, "verify", verifyAsk(s.base(c.Request()), c.QueryParam("token")))
}

func verifyAsk(base, token string) webPage {
	return webPage{
		Title: "Confirm your e-mail address", Form: mail.VerifyPath, Token: token,
		Text: []string{
			"Enter the password that you chose when you signed up, to show that it was you, and that the mail with this link reached you.",
			"If it was not you, close this page: nothing happens.",
		},
		Note: "If you have no password, because you sign in through single sign-on, send this with your access token instead:",
		Example: "curl -X POST " + base + "/v1/auth/verify_email \\\n" +
			"  -H \"Authorization: Bearer $ACCESS_TOKEN\" \\\n" +
			"  -H 'Content-Type: application/json' \\\n" +
			"  -d '{\"token\":\"" + plainToken(token) + "\"}'",
	}
}

// resetPage asks for a new password.
func (s *server) resetPage(c echo.Context) error {
	return s.linkPage(c, "reset", resetAsk(c.QueryParam("token")))
}

func resetAsk(token string) webPage {
	return webPage{
		Title: "Choose a new password", Form: mail.ResetPath, Token: token,
		Text: []string{"You are signed out everywhere once it is set."},
	}
}

// invitationPage says how to accept an invitation.
func (s *server) invitationPage(c echo.Context) error {
	return s.linkPage(c, "message", webPage{
		Title: "You are invited", Token: c.QueryParam("token"),
		Text: []string{
			"Sign in with the address that the invitation was sent to, or sign up with it and confirm it. Then accept the invitation with your access token:",
		},
		Example: "curl -X POST " + s.base(c.Request()) + "/v1/invitations/accept \\\n" +
			"  -H \"Authorization: Bearer $ACCESS_TOKEN\" \\\n" +
			"  -H 'Content-Type: application/json' \\\n" +
			"  -d '{\"token\":\"" + plainToken(c.QueryParam("token")) + "\"}'",
	})
}

// linkPage shows a page of a link, unless its token was lost on the way.
func (s *server) linkPage(c echo.Context, name string, p webPage) error {
	if plainToken(p.Token) == "" {
		return s.show(c, http.StatusBadRequest, "message", webPage{
			Title: p.Title, Fault: "The link is not whole. Copy all of it from the mail, or ask for another one.",
		})
	}
	return s.show(c, http.StatusOK, name, p)
}

// plainToken returns a token that has the form of ours, or nothing: it is shown where
// people copy from.
func plainToken(token string) string {
	for _, b := range []byte(token) {
		if (b < '0' || b > '9') && (b < 'A' || b > 'Z') && (b < 'a' || b > 'z') && b != '-' && b != '_' {
			return ""
		}
	}
	if len(token) > maxLinkToken {
		return ""
	}
	return token
}

// maxLinkToken is more characters than a token of a link has.
const maxLinkToken = 128

// verifyForm proves an address, as POST /v1/auth/verify_email does.
func (s *server) verifyForm(c echo.Context) error {
	values, err := s.form(c, "verify_email")
	ask := verifyAsk(s.base(c.Request()), values["token"])
	if err == nil {
		_, err = s.verifyEmail(c.Request().Context(), &verifyEmailInput{Body: verifyEmailBody{Token: values["token"], Password: values["password"]}})
	}
	if err != nil {
		return s.showFault(c, "verify", ask, err)
	}
	return s.show(c, http.StatusOK, "message", webPage{
		Title: "Thank you", Text: []string{"Your e-mail address is confirmed. You can close this page."},
	})
}

// resetForm sets a new password, as POST /v1/auth/reset_password does.
func (s *server) resetForm(c echo.Context) error {
	values, err := s.form(c, "reset_password")
	ask := resetAsk(values["token"])
	if err == nil {
		_, err = s.resetPassword(c.Request().Context(), &resetPasswordInput{
			Body: resetPasswordBody{Token: values["token"], Password: values["password"]},
		})
	}
	if err != nil {
		return s.showFault(c, "reset", ask, err)
	}
	return s.show(c, http.StatusOK, "message", webPage{
		Title: "Your password is set", Text: []string{"You are signed out everywhere. Sign in with the new password."},
	})
}
