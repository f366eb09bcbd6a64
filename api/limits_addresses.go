package api

import (
	"context"
	"errors"
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
	{"confirm", rate{20, 10 * time.Minute}}, // no route: a password that a person's own change asks for
	{"forgot_password", rate{10, time.Hour}},
	{"reset_password", rate{10, time.Hour}},
	{"verify", rate{10, time.Hour}},
	{"resend", rate{10, time.Hour}},
	{"refresh", rate{120, 10 * time.Minute}},
	{"oidc", rate{60, 10 * time.Minute}},
	{"", rate{60, 10 * time.Minute}}, // whatever there may be
}

// networkFactor is how many times the limit of one address of IPv6 the network it is in
// has for registering. Providers give out 48 bits to whoever asks (RFC 6177), which are
// 65,536 addresses here.
const networkFactor = 5

// accountRates are the limits on one e-mail address: of each visitor, so that one who
// guesses does not lock its owner out, and of all together. It is never written to.
var accountRates = map[string]struct{ visitor, all rate }{
	"login":           {rate{10, 15 * time.Minute}, rate{100, 15 * time.Minute}},
	"forgot_password": {rate{5, time.Hour}, rate{20, time.Hour}},
}

// Neither is ever written to.
var (
	// confirmRate is the limit on guesses at the password of an account by whoever is
	// signed in to it, or holds its mailed link.
	confirmRate = rate{10, 15 * time.Minute}

	// mailRate is the limit on mails to one address that anyone can have sent.
	mailRate = rate{5, time.Hour}
)

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
		if !strings.HasPrefix(name, row.prefix) {
			continue
		}
		address := s.clientAddress(r)
		buckets := []limit.Bucket{row.bucket(addressKey(address) + "/" + name)}
		if network, ok := networkKey(address); ok && name == "register" {
			wide := rate{row.n * networkFactor, row.period}
			buckets = []limit.Bucket{row.bucket(network + "/" + name + "/" + addressKey(address)), wide.bucket(network + "/" + name)}
		}
		return s.limitRates(r.Context(), "from your address", buckets...)
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

// networkKey names the network that an address of IPv6 is in.
func networkKey(address netip.Addr) (string, bool) {
	if !address.Is6() {
		return "", false
	}
	prefix, err := address.WithZone("").Prefix(48)
	return "ip:" + prefix.String(), err == nil
}

// emailBucket begins the keys of what is counted for an e-mail address. Only a keyed
// hash of the address is kept.
func (s *server) emailBucket(email string) string {
	return "account:" + s.opts.Signer.Blind("limit", store.EmailKey(email))
}

// limitAccount counts an attempt at the account of an e-mail address, "login" or
// "forgot_password", whether or not there is one, or refuses it.
func (s *server) limitAccount(r *http.Request, action, email string) error {
	key, rates := s.emailBucket(email)+"/"+action, accountRates[action]
	return s.limitRates(r.Context(), "for this e-mail address",
		rates.visitor.bucket(key+"/"+addressKey(s.clientAddress(r))), rates.all.bucket(key))
}

// limitConfirming counts a guess at the password of an account that is named otherwise
// than by its address, or refuses it.
func (s *server) limitConfirming(ctx context.Context, accountID string) error {
	return s.limitRates(ctx, "for this account", confirmRate.bucket("account:"+accountID+"/confirm"))
}

// limitMails counts a mail to an address that anyone can have sent, or refuses it.
func (s *server) limitMails(ctx context.Context, email string) error {
	return s.limitRates(ctx, "for this e-mail address", mailRate.bucket(s.emailBucket(email)+"/mail"))
}

// mayMail counts such a mail, and reports whether it may be sent.
func (s *server) mayMail(ctx context.Context, email string) (bool, error) {
	err := s.limitMails(ctx, email)
	var refused *refusal
	if errors.As(err, &refused) {
		return false, nil
	}
	return err == nil, err
}

// bucket counts what a key names.
func (r rate) bucket(key string) limit.Bucket {
	return limit.Bucket{Key: key, Limit: r.n, Period: r.period}
}

// limitRates counts one of what all the buckets count, or refuses it.
func (s *server) limitRates(ctx context.Context, whose string, buckets ...limit.Bucket) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	taken, err := s.limits.Take(ctx, buckets)
	if err != nil || taken.Allowed {
		return err
	}
	var full limit.State // the one to wait for
	for _, state := range taken.States {
		if state.RetryAfter > full.RetryAfter {
			full = state
		}
	}
	return limited(full.RetryAfter, "There were more than %s %s. Ask again in %s.",
		quantity(full.Limit, "such request", "in "+periodText(full.Period)), whose, waitText(full.RetryAfter))
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
