package api

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// door serves routes that need no more than the limits on addresses.
func door(t *testing.T) (*server, *echo.Echo, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	s := newServer(Options{
		DB: storetest.New(t), Signer: auth.NewSigner("", "database secret"), TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	e := echo.New()
	e.HTTPErrorHandler = s.writeError
	e.Use(s.identify, s.limitAddress)
	for _, name := range []string{"register", "login", "forgot_password", "reset_password", "verify_email", "resend_verification", "refresh", "logout", "oidc/:provider"} {
		e.Any(authPrefix+name, func(c echo.Context) error { return c.NoContent(http.StatusOK) })
	}
	e.Any("/v1/other", func(c echo.Context) error { return c.NoContent(http.StatusOK) })
	return s, e, &log
}

// passes returns how many requests from an address pass until one is refused, at
// most 200.
func passes(e *echo.Echo, method, path, remote, forwarded string) int {
	for n := range 200 {
		r := httptest.NewRequest(method, path, http.NoBody)
		r.RemoteAddr = remote
		if forwarded != "" {
			r.Header.Set("X-Forwarded-For", forwarded)
		}
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") != "" {
			return n
		}
	}
	return 200
}

func TestLimitAddress_EachRouteHasItsOwn(t *testing.T) {
	t.Parallel()
	_, e, _ := door(t)
	for route, want := range map[string]int{
		"POST /v1/auth/register": 10, "POST /v1/auth/login": 20, "POST /v1/auth/forgot_password": 10, "POST /v1/auth/reset_password": 10,
		"POST /v1/auth/verify_email": 10, "POST /v1/auth/resend_verification": 10, "POST /v1/auth/refresh": 120, "POST /v1/auth/logout": 60,
		"GET /v1/auth/oidc/google": 60, "GET /v1/auth/login": 200, "POST /v1/other": 200, "POST /v1/auth/none": 200,
	} {
		method, path, _ := strings.Cut(route, " ")
		got := passes(e, method, path, "203.0.113.5:1000", "")
		if got < want || got > want+1 { // a little time passes, too
			t.Errorf("%s: %d pass, want %d", route, got, want)
		}
	}
}

func TestLimitAddress_CountsWhoItIs(t *testing.T) {
	t.Parallel()
	_, e, log := door(t)
	const register = "/v1/auth/register"
	for _, step := range []struct {
		what, remote, forwarded string
		want                    int
	}{
		{"the first", "203.0.113.5:1", "", 10},
		{"from another port", "203.0.113.5:2", "", 0},
		{"as IPv6 maps it", "[::ffff:203.0.113.5]:2", "", 0},
		{"who claims to be someone else", "203.0.113.5:3", "203.0.113.77", 0},
		{"another address", "203.0.113.6:1", "", 10},
		{"through our proxy", "10.1.2.3:1", "203.0.113.7", 10},
		{"the same through another", "10.3.2.1:1", "203.0.113.99, 203.0.113.7", 0},
		{"IPv6", "[2001:db8:1:2::1]:1", "", 10},
		{"its neighbor", "[2001:db8:1:2:ffff::9]:1", "", 0},
		{"another network", "[2001:db8:1:3::1]:1", "", 10},
	} {
		if got := passes(e, "POST", register, step.remote, step.forwarded); got != step.want {
			t.Errorf("%s: %d pass, want %d", step.what, got, step.want)
		}
	}
	if strings.Contains(log.String(), "proxy") {
		t.Errorf("a stranger's header is taken for a proxy: %s", log)
	}
	for range 2 {
		passes(e, "POST", register, "127.0.0.1:1", "203.0.113.8")
	}
	if n := strings.Count(log.String(), "NANOBANANA_TRUSTED_PROXIES"); n != 1 {
		t.Errorf("a proxy that is not trusted is noted %d times, want once: %s", n, log)
	}
}

// visit is a request from an address.
func visit(remote string) *http.Request {
	r := httptest.NewRequest("POST", "/", http.NoBody)
	r.RemoteAddr = remote
	return r
}

// attempts returns how many attempts at the account of an address pass, of those that
// the visitors make in turn.
func attempts(t *testing.T, s *server, action, email string, remotes ...string) (n int) {
	t.Helper()
	for ; n < 200; n++ {
		if err := s.limitAccount(visit(remotes[n%len(remotes)]), action, email); err != nil {
			if p := problemFor(nil, err); p.Code != "rate_limited" || p.after <= 0 || strings.Contains(p.Detail, "@") {
				t.Errorf("refused by %+v", p)
			}
			return n
		}
	}
	return n
}

func TestLimitAccount_CountsTheAddressAndKeepsNoneOfIt(t *testing.T) {
	t.Parallel()
	s, _, _ := door(t)
	const guesser, owner = "203.0.113.9:1", "198.51.100.7:1"
	got := []int{
		attempts(t, s, "login", "ann@example.com", guesser), attempts(t, s, "login", " ANN@Example.com ", guesser),
		attempts(t, s, "login", "ann@example.com", owner), attempts(t, s, "login", "bob@example.com", guesser),
		attempts(t, s, "forgot_password", "ann@example.com", guesser), attempts(t, s, "forgot_password", "ann@example.com", owner),
		attempts(t, s, "login", "eve@example.com", "[2001:db8:1:2::1]:1", "[2001:db8:1:2::2]:1"),
	}
	if want := []int{10, 0, 10, 10, 5, 5, 10}; !slices.Equal(got, want) {
		t.Errorf("%v pass, want %v", got, want)
	}
	var readable int
	err := s.db.Pool().QueryRow(t.Context(), `SELECT count(*) FROM rate_limit WHERE bucket ~* 'ann|bob|eve|@|example'`).Scan(&readable)
	if err != nil || readable != 0 {
		t.Errorf("%d buckets tell an address, %v", readable, err)
	}
}

// However many visitors there are, guesses at one account have a bound.
func TestLimitAccount_OfAllVisitors(t *testing.T) {
	t.Parallel()
	s, _, _ := door(t)
	var remotes []string
	for i := range 150 {
		remotes = append(remotes, fmt.Sprintf("203.0.113.%d:1", i))
	}
	if n := attempts(t, s, "login", "ann@example.com", remotes...); n < 100 || n > 101 {
		t.Errorf("%d logins pass, want 100", n)
	}
	if n := attempts(t, s, "forgot_password", "ann@example.com", remotes...); n != 20 {
		t.Errorf("%d mails for a new password pass, want 20", n)
	}
}

// Who has a /48 of IPv6 registers no more often than five that have an address.
func TestLimitAddress_RegisteringFromANetwork(t *testing.T) {
	t.Parallel()
	_, e, _ := door(t)
	all := 0
	for i := range 8 {
		all += passes(e, "POST", "/v1/auth/register", fmt.Sprintf("[2001:db8:1:%x::1]:1", i), "")
	}
	if all != 50 {
		t.Errorf("%d register, want 50", all)
	}
	if n := passes(e, "POST", "/v1/auth/register", "[2001:db8:2::1]:1", ""); n != 10 {
		t.Errorf("%d register from another network, want 10", n)
	}
}
