package providers_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nanobanana/nanobanana/providers"
)

// A model that a route does not have is not asked for there for five minutes. The
// route's other models are none the worse for it, and a person is called once.
func TestGone_OneModel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		transport, calls := play(t, func(w http.ResponseWriter, r *http.Request, key string, call int) {
			if key == "aaaa" && strings.Contains(r.URL.Path, "retired") && call < 20 {
				fail(w, 404)
				return
			}
			draw(w)
		})
		list := routes(t, transport, "aaaa", "bbbb")
		cl := connect(t, providers.ChainOptions{Routes: list, Logger: slog.New(slog.NewTextHandler(&lines, nil))})
		retired := cl.ask("an owl")
		retired.Model.Upstream = "gemini-retired"
		for range 12 {
			if result, err := cl.Generate(t.Context(), retired); err != nil || result.Route != "bbbb" {
				t.Fatalf("result %v, error %v, want the second route", result, err)
			}
		}
		if result, err := cl.generate(t.Context(), "an owl"); err != nil || result.Route != "aaaa" || calls("aaaa") != 2 {
			t.Errorf("result %v, error %v after %d calls to the first route, want it to serve the other model with its second", result, err, calls("aaaa"))
		}
		if call, ok := cl.First(retired.Model, providers.Request{}); !ok || call.Route != "bbbb" {
			t.Errorf("first call %+v, want the second route", call)
		}
		cl.Apply(providers.RouteState{Name: "bbbb"})
		begun := len(cl.begun)
		_, err := cl.Generate(t.Context(), retired)
		if providers.KindOf(err) != providers.KindModelGone || len(cl.begun) != begun {
			t.Errorf("error %v, want the model gone without a call", err)
		}
		time.Sleep(5 * time.Minute)
		_, err = cl.Generate(t.Context(), retired)
		if providers.KindOf(err) != providers.KindModelGone || calls("aaaa") != 3 {
			t.Errorf("error %v after %d calls, want the model gone after another call", err, calls("aaaa"))
		}
		if n := strings.Count(lines.String(), "level=ERROR"); n != 1 {
			t.Errorf("%d errors logged, want one:\n%s", n, &lines)
		}
		wantText(t, "breaker", "closed", cl.Status()[0].Breaker)
	})
}

// What an upstream asks for is part of when the nearest route opens, not more.
func TestChain_RetryAfter(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		a, b  providers.Error
		least time.Duration
		most  time.Duration
	}{
		"LongFaultElsewhereOpen": {providers.Error{Kind: providers.KindOverload, RetryAfter: 2 * time.Hour}, providers.Error{Kind: providers.KindOverload}, 0, 0},
		"LongFaults":             {providers.Error{Kind: providers.KindOverload, RetryAfter: 2 * time.Hour}, providers.Error{Kind: providers.KindServer, RetryAfter: time.Minute}, time.Minute, 75 * time.Second},
		"ShortFault":             {providers.Error{Kind: providers.KindServer, RetryAfter: time.Second}, providers.Error{Kind: providers.KindServer}, 0, 0},
		"Unknown":                {providers.Error{Kind: providers.KindTimeout, RetryAfter: time.Hour, Ambiguous: true}, providers.Error{Kind: providers.KindTimeout, Ambiguous: true}, 0, 0},
		"Absurd":                 {providers.Error{Kind: providers.KindRate, RetryAfter: math.MaxInt64}, providers.Error{Kind: providers.KindRate, RetryAfter: math.MaxInt64}, 24 * time.Hour, 29 * time.Hour},
		"Negative":               {providers.Error{Kind: providers.KindRate, RetryAfter: math.MinInt64}, providers.Error{Kind: providers.KindQuota, Status: 400, RetryAfter: -1}, 30 * time.Second, 40 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var list []providers.RouteOptions
				for i, e := range []providers.Error{c.a, c.b} {
					list = append(list, providers.RouteOptions{Name: fmt.Sprint("r", i), API: "gemini", Provider: deviant(func(context.Context) (*providers.Result, error) { return nil, &e })})
				}
				cl := connect(t, providers.ChainOptions{Routes: list})
				if e := cl.fails(t.Context(), t, "an owl"); e.RetryAfter < c.least || e.RetryAfter > c.most {
					t.Errorf("retry after %s, want %s to %s", e.RetryAfter, c.least, c.most)
				}
				for _, s := range cl.Status() {
					if left := time.Until(s.CooldownUntil); !s.CooldownUntil.IsZero() && (left < time.Second || left > 24*time.Hour+time.Second) {
						t.Errorf("status %+v, want a pause of at most a day", s)
					}
				}
			})
		})
	}
}
