package api

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/api/limit"
	"github.com/nanobanana/nanobanana/store"
)

// rate is how often something may happen.
type rate struct {
	n      int
	period time.Duration
}

// authPrefix begins the routes of signing in and out.
const authPrefix = "/v1/auth/"

// addressRates are the limits of one address on the routes of signing in and out, by
// what follows authPrefix; the first that fits counts. It is never written to.
var addressRates = []struct {
	prefix string
	rate
}{
	{"register", rate{10, time.Hour}},
	{"login", rate{20, 10 * time.Minute}},
	{"forgot_password", rate{10, time.Hour}},
	{"reset_password", rate{10, time.Hour}},
	{"verify", rate{10, time.Hour}},
	{"resend", rate{10, time.Hour}},
	{"refresh", rate{120, 10 * time.Minute}},
	{"oidc", rate{60, 10 * time.Minute}},
	{"", rate{60, 10 * time.Minute}}, // whatever there may be
}

// accountRates are the limits on one e-mail address, from wherever. It is never
// written to.
var accountRates = map[string]rate{
	"login":           {10, 15 * time.Minute},
	"forgot_password": {5, time.Hour},
}

// limitAddress counts requests that sign in or out, or prepare it, by where they come
// from, before anything of them is read.
func (s *server) limitAddress(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		name, ok := strings.CutPrefix(c.Path(), authPrefix)
		reads := c.Request().Method == http.MethodGet || c.Request().Method == http.MethodHead
		if !ok || reads && !strings.HasPrefix(name, "oidc") {
			return next(c)
		}
		name, _, _ = strings.Cut(name, "/")
		if err := s.limitVisitor(c.Request(), name); err != nil {
			return err
		}
		return next(c)
	}
}

// limitVisitor counts one request to a route of signing in and out, named by what
// follows authPrefix, by where it comes from, or refuses it.
func (s *server) limitVisitor(r *http.Request, name string) error {
	s.noteProxy(r)
	for _, row := range addressRates {
		if strings.HasPrefix(name, row.prefix) {
			return s.limitRate(r.Context(), addressKey(s.clientAddress(r))+"/"+name, row.rate, "from your address")
		}
	}
	return nil
}

// addressKey names who has an address. Whoever has one of IPv6 has all that share its
// first 64 bits (RFC 6177).
func addressKey(address netip.Addr) string {
	if address.Is6() {
		if prefix, err := address.WithZone("").Prefix(64); err == nil {
			address = prefix.Addr()
		}
	}
	return "ip:" + address.String()
}

// limitAccount counts an attempt at the account of an e-mail address, "login" or
// "forgot_password", whether or not there is one, or refuses it. Only a keyed hash of
// the address is kept.
func (s *server) limitAccount(ctx context.Context, action, email string) error {
	key := "account:" + s.opts.Signer.Blind("limit", store.EmailKey(email)) + "/" + action
	return s.limitRate(ctx, key, accountRates[action], "for this e-mail address")
}

// limitRate counts one of what a key names, or refuses it.
func (s *server) limitRate(ctx context.Context, key string, r rate, whose string) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	taken, err := s.limits.Take(ctx, []limit.Bucket{{Key: key, Limit: r.n, Period: r.period}})
	if err != nil || taken.Allowed {
		return err
	}
	after := taken.States[0].RetryAfter
	return limited(after, "There were more than %s %s. Ask again in %s.",
		quantity(r.n, "such request", "in "+periodText(r.period)), whose, waitText(after))
}

// periodText is an hour or a number of minutes, for people.
func periodText(d time.Duration) string {
	if d == time.Hour {
		return "an hour"
	}
	return fmt.Sprintf("%d minutes", int(d.Minutes()))
}

// noteProxy says once that requests seem to come through a proxy that nobody has
// named: everyone behind it shares the limits of one address.
func (s *server) noteProxy(r *http.Request) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || r.Header.Get("X-Forwarded-For") == "" {
		return
	}
	if a := peer.Addr().Unmap(); (a.IsPrivate() || a.IsLoopback()) && !s.isOwnProxy(a) {
		s.proxyNoted.Do(func() {
			s.opts.Logger.Warn("requests come through a proxy that is not trusted: name it in NANOBANANA_TRUSTED_PROXIES, or all of them share the limits of its address", "proxy", a.String())
		})
	}
}
