package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/nanobanana/nanobanana/api/auth"
)

// Cookies of who is signed in. The prefix makes browsers take the first from this
// host alone, over https (draft-ietf-httpbis-rfc6265bis, section 4.1.3.2).
const (
	cookieRefresh      = "__Host-nb_refresh"
	cookieRefreshPlain = "nb_refresh" // over http, which is for development
	cookieCSRF         = "nb_csrf"    // scripts of the page read it
	headerCSRF         = "X-CSRF-Token"
)

// isSecure reports whether a request came over https as its sender sees it. What anyone
// but the operator's own proxies writes into X-Forwarded-Proto does not count.
func (s *server) isSecure(r *http.Request) bool {
	return strings.HasPrefix(s.opts.BaseURL, "https://") || r.TLS != nil || s.isForwardedSecurely(r)
}

// refreshCookie is where the refresh token is kept for a request's sender.
func (s *server) refreshCookie(r *http.Request) string {
	if s.isSecure(r) {
		return cookieRefresh
	}
	return cookieRefreshPlain
}

// cookies are what an answer sets for a sign-in; nil takes them away.
func (s *server) cookies(r *http.Request, in *auth.SignIn) []string {
	refresh := &http.Cookie{Name: s.refreshCookie(r), HttpOnly: true, MaxAge: -1} //nolint:gosec // the rest is set below
	csrf := &http.Cookie{Name: cookieCSRF, MaxAge: -1}                            //nolint:gosec // scripts of the page have to read it
	if in != nil {
		refresh.Value, csrf.Value = in.RefreshToken, in.CSRFToken
		refresh.MaxAge = int(in.Session.ExpiresAt.Sub(s.opts.Now()).Seconds())
		csrf.MaxAge = refresh.MaxAge
	}
	set := make([]string, 0, 2)
	for _, c := range []*http.Cookie{refresh, csrf} {
		c.Path, c.Secure, c.SameSite = "/", s.isSecure(r), http.SameSiteLaxMode
		set = append(set, c.String())
	}
	return set
}

// refreshToken returns the refresh token that a request carries, if the page that sent
// it is one of ours: it can read the other cookie.
func (s *server) refreshToken(r *http.Request) (string, error) {
	if err := s.checkOrigin(r); err != nil {
		return "", err
	}
	cookie, err := r.Cookie(s.refreshCookie(r))
	if errors.Is(err, http.ErrNoCookie) {
		return "", refuse("session_ended", "No cookie %s was sent; sign in with POST /v1/auth/login.", s.refreshCookie(r))
	}
	if err != nil {
		return "", err
	}
	if !s.opts.Sessions.VerifyCSRF(cookie.Value, r.Header.Get(headerCSRF)) {
		return "", refuse("csrf_failed", "")
	}
	return cookie.Value, nil
}

// checkOrigin refuses what a browser sends for a page of another site.
func (s *server) checkOrigin(r *http.Request) error {
	check := http.NewCrossOriginProtection()
	if s.opts.BaseURL != "" {
		if err := check.AddTrustedOrigin(originOf(s.opts.BaseURL)); err != nil {
			return err
		}
	}
	if err := check.Check(r); err != nil {
		return refuse("csrf_failed", "The request comes from a page of another site.")
	}
	return nil
}

// originOf is the beginning of a URL, without a path.
func originOf(base string) string {
	scheme, rest, _ := strings.Cut(base, "://")
	host, _, _ := strings.Cut(rest, "/")
	return scheme + "://" + host
}
