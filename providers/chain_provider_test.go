package providers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nanobanana/nanobanana/providers"
)

// A deviant provider does what the contract forbids.
type deviant func(context.Context) (*providers.Result, error)

func (deviant) Name() string { return "deviant" }

func (d deviant) Generate(ctx context.Context, _ providers.Request) (*providers.Result, error) {
	return d(ctx)
}

// What breaks the contract of Provider may have been paid for, and is one failed
// call like any other.
func TestChain_DeviantProvider(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]deviant{
		"Panics":     func(context.Context) (*providers.Result, error) { panic("boom") },
		"PlainError": func(context.Context) (*providers.Result, error) { return nil, errors.New("boom") },
		"Nothing":    func(context.Context) (*providers.Result, error) { return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, transport := simulate(t)
				cl := connect(t, providers.ChainOptions{Routes: append(
					[]providers.RouteOptions{{Name: "bad", API: "gemini", Provider: d}},
					routes(t, transport, "good")...,
				)})
				if _, err := cl.generate(t.Context(), "an owl"); err != nil {
					t.Error(err)
				}
				ask := cl.ask("an owl")
				ask.Unknown = 0
				_, err := cl.Generate(t.Context(), ask)
				var e *providers.Error
				if !errors.As(err, &e) || e.Kind != providers.KindServer || !e.Ambiguous {
					t.Errorf("error %v, want a fault of unknown outcome", err)
				}
				wantText(t, "ended", "bad=server_error good=ok bad=server_error", cl.outcomes())
				if s := cl.Status()[0]; s.InFlight != 0 || s.Failed != 2 {
					t.Errorf("status %+v, want two failures and nothing in flight", s)
				}
			})
		})
	}
}

// A picture that was paid for is not thrown away because it came too late.
func TestChain_LateResult(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		late := deviant(func(context.Context) (*providers.Result, error) {
			time.Sleep(2 * time.Minute)
			return &providers.Result{RequestID: "late"}, nil
		})
		cl := connect(t, providers.ChainOptions{Routes: []providers.RouteOptions{{Name: "late", API: "gemini", Provider: late}}})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		result, err := cl.generate(ctx, "an owl")
		if err != nil || result.RequestID != "late" {
			t.Errorf("result %v, error %v, want the late one", result, err)
		}
	})
}

// A panic of the caller's own takes nothing from the route.
func TestChain_CallerPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, transport := simulate(t)
		list := routes(t, transport, "aaaa")
		list[0].Concurrency = 1
		cl := connect(t, providers.ChainOptions{Routes: list})
		func() {
			defer func() {
				if p := recover(); p != "boom" {
					t.Errorf("panic %v, want boom", p)
				}
			}()
			ask := cl.ask("an owl")
			ask.Begin = func(context.Context, providers.Call) error { panic("boom") }
			_, _ = cl.Generate(t.Context(), ask)
		}()
		if _, err := cl.generate(t.Context(), "an owl"); err != nil {
			t.Error(err)
		}
	})
}

// A used-up quota of a day pauses the route until Google's midnight, and a person
// is called once.
func TestCooldown_UntilPacificMidnight(t *testing.T) {
	t.Parallel()
	for now, want := range map[string]string{
		"2026-11-21T06:00:00Z": "2026-11-21T08:00:00Z", // PST
		"2026-07-01T20:00:00Z": "2026-07-02T07:00:00Z", // PDT
		"2026-11-21T07:59:00Z": "2026-11-21T08:14:00Z", // not less than 15 minutes
	} {
		t.Run(now, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, transport := simulate(t)
				begin, err := time.Parse(time.RFC3339, now)
				if err != nil {
					t.Fatal(err)
				}
				var lines bytes.Buffer
				cl := connect(t, providers.ChainOptions{
					Routes: routes(t, transport, "aaaa"),
					Logger: slog.New(slog.NewTextHandler(&lines, nil)),
					Now:    func() time.Time { return begin },
				})
				cl.fails(t.Context(), t, "[[sim:day]]")
				cl.Apply(providers.RouteState{Name: "aaaa", Enabled: true, CooldownUntil: cl.changes[0].Until})
				cl.Apply(providers.RouteState{Name: "aaaa", Enabled: true}) // ended by an operator
				cl.fails(t.Context(), t, "[[sim:day]]")
				wantText(t, "paused until", want, cl.changes[0].Until.Format(time.RFC3339))
				if n := strings.Count(lines.String(), "level=ERROR"); n != 1 {
					t.Errorf("%d errors logged, want one:\n%s", n, &lines)
				}
			})
		})
	}
}

// Whatever happens, each call is begun and ended once, nothing follows a refusal,
// and no more outcomes stay unknown than were allowed.
func TestChain_RandomFaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dice := rand.New(rand.NewPCG(1, 2))
		answers := []func(http.ResponseWriter){
			draw, draw, draw,
			func(w http.ResponseWriter) { fail(w, 400) },
			func(w http.ResponseWriter) { fail(w, 401) },
			func(w http.ResponseWriter) { fail(w, 429) },
			func(w http.ResponseWriter) { w.Header().Set("Retry-After", "1"); fail(w, 429) },
			func(w http.ResponseWriter) { fail(w, 503) },
			func(w http.ResponseWriter) { fail(w, 504) },
			func(w http.ResponseWriter) { fail(w, 404) },
			func(w http.ResponseWriter) { _, _ = fmt.Fprint(w, `{"candidates":[]}`) },
			func(w http.ResponseWriter) { _, _ = fmt.Fprint(w, `{"promptFeedback":{"blockReason":"SAFETY"}}`) },
		}
		transport, _ := play(t, func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
			w.Header().Set("Content-Type", "application/json")
			answers[dice.IntN(len(answers))](w)
		})
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa", "bbbb", "cccc")})
		kinds := map[providers.Kind]int{}
		for range 2000 {
			open, unknown, refused := 0, 0, false
			ask := cl.ask("an owl")
			ask.Begin = func(context.Context, providers.Call) error {
				open++
				if open != 1 || refused || unknown > 1 {
					t.Errorf("a call with %d others under way, after a refusal: %v, after %d unknown outcomes", open-1, refused, unknown)
				}
				return nil
			}
			ask.End = func(_ providers.Call, _ *providers.Result, err error) {
				open--
				var e *providers.Error
				if errors.As(err, &e) {
					refused = e.Kind == providers.KindModeration || e.Kind == providers.KindInvalid
					if e.Ambiguous {
						unknown++
					}
				}
			}
			_, err := cl.Generate(t.Context(), ask)
			kinds[providers.KindOf(err)]++
			if open != 0 {
				t.Fatalf("%d calls never ended", open)
			}
			time.Sleep(time.Duration(dice.IntN(60)) * time.Second)
		}
		for _, s := range cl.Status() {
			if s.InFlight != 0 {
				t.Errorf("status %+v, want nothing in flight", s)
			}
		}
		if len(kinds) < 6 || kinds[""] < 200 {
			t.Errorf("outcomes %v, want many kinds and many served", kinds)
		}
	})
}
