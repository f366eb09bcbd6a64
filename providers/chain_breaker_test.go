package providers_test

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nanobanana/nanobanana/providers"
)

// A patient is an upstream that a test makes sick and well again.
type patient struct{ status atomic.Int64 } // 0 draws

func (p *patient) answer(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
	if status := p.status.Load(); status != 0 {
		fail(w, int(status))
		return
	}
	draw(w)
}

// sicken opens the breaker of a client's only route.
func (p *patient) sicken(t *testing.T, cl *client) {
	t.Helper()
	p.status.Store(503)
	for range 2 {
		_, _ = cl.generate(t.Context(), "an owl")
	}
	if s := cl.Status()[0]; s.Breaker != "open" || s.Failed != 5 {
		t.Fatalf("status %+v, want it open after five failures", s)
	}
}

func TestBreaker_OpensProbesCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &patient{}
		transport, calls := play(t, p.answer)
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
		p.sicken(t, cl)
		e := cl.fails(t.Context(), t, "an owl")
		if e.Kind != providers.KindBusy || e.Code != "breaker_open" || e.RetryAfter < 13*time.Second || e.RetryAfter > 20*time.Second {
			t.Errorf("error %+v, want it busy for about 15 s", e)
		}
		if _, ok := cl.First(cl.ask("").Model, providers.Request{}); ok {
			t.Error("a call is announced to an open breaker")
		}
		time.Sleep(17 * time.Second)
		wantText(t, "state without traffic", "probe_ready", cl.Status()[0].Breaker)
		if _, ok := cl.First(cl.ask("").Model, providers.Request{}); !ok {
			t.Error("no probe is announced")
		}
		if served := cl.burst(t.Context(), 20, "an owl"); served != 0 || calls("aaaa") != 6 {
			t.Errorf("%d served with %d calls, want none with a single probe after five", served, calls("aaaa"))
		}
		wantText(t, "state after the probe", "open", cl.Status()[0].Breaker)
		p.status.Store(0)
		time.Sleep(17 * time.Second)
		if _, err := cl.generate(t.Context(), "an owl"); err != nil {
			t.Error(err)
		}
		wantText(t, "state after a good probe", "closed", cl.Status()[0].Breaker)
		wantText(t, "changes", "aaaa open, aaaa open, aaaa closed", cl.whatChanged())
		if served := cl.burst(t.Context(), 20, "an owl"); served != 20 {
			t.Errorf("%d served, want 20", served)
		}
	})
}

// Whoever is refused by a breaker that opens meanwhile does not wait for a repetition.
func TestBreaker_EndsRepetitions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &patient{}
		p.status.Store(503)
		transport, calls := play(t, p.answer)
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
		begun := time.Now()
		e := cl.fails(t.Context(), t, "an owl")
		if took := time.Since(begun); e.Kind != providers.KindOverload || took > 1500*time.Millisecond {
			t.Errorf("error %v after %s, want overloaded within 1.5 s", e, took)
		}
		if cl.burst(t.Context(), 10, "an owl"); calls("aaaa") != 5 {
			t.Errorf("%d calls, want 5", calls("aaaa"))
		}
	})
}

// A hanging upstream opens the breaker: the timeout's own error would not.
func TestBreaker_OpensOnTimeouts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport, calls := play(t, func(_ http.ResponseWriter, r *http.Request, _ string, _ int) {
			<-r.Context().Done()
		})
		list := routes(t, transport, "aaaa")
		list[0].Timeouts = map[string]time.Duration{"1K": 20 * time.Second}
		cl := connect(t, providers.ChainOptions{Routes: list})
		for range 5 {
			begun := time.Now()
			e := cl.fails(t.Context(), t, "an owl")
			if took := time.Since(begun); e.Kind != providers.KindTimeout || !e.Ambiguous || took != 20*time.Second {
				t.Errorf("error %+v after %s, want an unknown outcome after 20 s", e, took)
			}
		}
		if e := cl.fails(t.Context(), t, "an owl"); e.Code != "breaker_open" || calls("aaaa") != 5 {
			t.Errorf("error %v after %d calls, want the breaker open after five", e, calls("aaaa"))
		}
	})
}

// An upstream that was given less time than is usual has proved nothing.
func TestBreaker_ShortDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, transport := simulate(t)
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa", "bbbb")})
		for range 6 {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			if e := cl.fails(ctx, t, "[[sim:hang]]"); e.Kind != providers.KindTimeout || !e.Ambiguous {
				t.Errorf("error %+v, want an unknown outcome", e)
			}
			cancel()
		}
		wantText(t, "state", "closed", cl.Status()[0].Breaker)
	})
}

// What says nothing about the upstream's health leaves the breaker as it is.
func TestBreaker_Neutral(t *testing.T) {
	t.Parallel()
	for _, prompt := range []string{
		"[[sim:safety]]", "[[sim:block]]", "[[sim:invalid]]", "[[sim:text]]", "[[sim:429 retry=500ms]]",
	} {
		t.Run(prompt, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, transport := simulate(t)
				cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
				for range 12 {
					cl.fails(t.Context(), t, prompt)
					time.Sleep(2 * time.Second)
				}
				wantText(t, "state", "closed", cl.Status()[0].Breaker)
			})
		})
	}
}

// Calls that prove nothing do not hide failures from the breaker, either.
func TestBreaker_NeutralDoesNotDilute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, transport := simulate(t)
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
		for range 5 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			for range 3 {
				cl.fails(ctx, t, "[[sim:hang]]") // cancelled
			}
			cl.fails(t.Context(), t, "[[sim:504]]")
		}
		wantText(t, "state", "open", cl.Status()[0].Breaker)
	})
}

// A probe that the caller cancels proves nothing: the next call is the probe.
func TestBreaker_CancelledProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, hang := &patient{}, &atomic.Bool{}
		transport, calls := play(t, func(w http.ResponseWriter, r *http.Request, key string, call int) {
			if hang.Load() {
				<-r.Context().Done()
				return
			}
			p.answer(w, r, key, call)
		})
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
		p.sicken(t, cl)
		p.status.Store(0)
		hang.Store(true)
		time.Sleep(17 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if e := cl.fails(ctx, t, "an owl"); e.Kind != providers.KindCanceled {
				t.Errorf("error %v, want the cancellation", e)
			}
		})
		synctest.Wait()
		wantText(t, "state with a probe under way", "half_open", cl.Status()[0].Breaker)
		if e := cl.fails(t.Context(), t, "an owl"); e.Code != "breaker_open" || e.RetryAfter < time.Second {
			t.Errorf("error %+v, want it busy while the probe is under way", e)
		}
		cancel()
		wg.Wait()
		wantText(t, "state after the cancelled probe", "probe_ready", cl.Status()[0].Breaker)
		hang.Store(false)
		if served := cl.burst(t.Context(), 1, "an owl"); served != 1 || calls("aaaa") != 7 {
			t.Errorf("%d served with %d calls, want one with seven", served, calls("aaaa"))
		}
		wantText(t, "changes", "aaaa open, aaaa closed", cl.whatChanged())
	})
}

// An upstream that judges a probe's request works; of one that has no time for it
// nobody knows, and the next call is the probe.
func TestBreaker_RefusedProbe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status         int64
		state, changes string
	}{
		"Invalid":     {400, "closed", "aaaa open, aaaa closed"},
		"RateLimited": {429, "probe_ready", "aaaa open, aaaa cooldown"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &patient{}
				transport, _ := play(t, p.answer)
				cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
				p.sicken(t, cl)
				p.status.Store(c.status)
				time.Sleep(17 * time.Second)
				cl.fails(t.Context(), t, "an owl")
				wantText(t, "state", c.state, cl.Status()[0].Breaker)
				wantText(t, "changes", c.changes, cl.whatChanged())
			})
		})
	}
}

// Where all routes are full, a call waits for 5 s at most.
func TestBulkhead_Full(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		transport, calls := play(t, func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
			<-hold
			draw(w)
		})
		list := routes(t, transport, "aaaa", "bbbb")
		list[0].Concurrency, list[1].Concurrency = 2, 1
		cl := connect(t, providers.ChainOptions{Routes: list})
		var wg sync.WaitGroup
		wg.Go(func() {
			if served := cl.burst(t.Context(), 3, "an owl"); served != 3 {
				t.Errorf("%d served, want 3", served)
			}
		})
		synctest.Wait()
		if calls("aaaa") != 2 || calls("bbbb") != 1 {
			t.Errorf("%d and %d calls, want 2 and 1", calls("aaaa"), calls("bbbb"))
		}
		begun := time.Now()
		e := cl.fails(t.Context(), t, "an owl")
		if took := time.Since(begun); took != 5*time.Second {
			t.Errorf("it waited for %s, want 5 s", took)
		}
		if e.Kind != providers.KindBusy || e.Code != "full" || e.RetryAfter < time.Second || e.RetryAfter > 2*time.Second {
			t.Errorf("error %+v, want it full for a second", e)
		}
		if s := cl.Status()[0]; s.InFlight != 2 || s.Concurrency != 2 {
			t.Errorf("status %+v, want 2 of 2 in flight", s)
		}
		close(hold)
		wg.Wait()
	})
}

// A call from before the breaker opened is not its probe, however it ends.
func TestBreaker_Stragglers(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 503} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				refuse, release, probed := make(chan struct{}), make(chan struct{}), make(chan struct{})
				transport, calls := play(t, func(w http.ResponseWriter, _ *http.Request, _ string, call int) {
					switch {
					case call > 1 && call <= 6:
						<-refuse
						fail(w, 401)
						return
					case call > 6 && call <= 9:
						<-release
						if status != 200 {
							fail(w, status)
							return
						}
					case call == 10:
						<-probed
					}
					draw(w)
				})
				cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa"), OpenFor: 5 * time.Second})
				cl.burst(t.Context(), 1, "an owl")
				var wg sync.WaitGroup
				wg.Go(func() { cl.burst(t.Context(), 8, "an owl") })
				synctest.Wait()
				close(refuse)
				synctest.Wait()
				wantText(t, "state", "open", cl.Status()[0].Breaker)
				time.Sleep(6 * time.Second)
				wg.Go(func() {
					if served := cl.burst(t.Context(), 1, "an owl"); served != 1 {
						t.Error("the probe was not served")
					}
				})
				synctest.Wait()
				if s := cl.Status()[0]; s.Breaker != "half_open" || calls("aaaa") != 10 {
					t.Fatalf("status %+v after %d calls, want a probe as the tenth", s, calls("aaaa"))
				}
				close(release)
				synctest.Wait()
				wantText(t, "state after the stragglers", "half_open", cl.Status()[0].Breaker)
				close(probed)
				wg.Wait()
				wantText(t, "state after the probe", "closed", cl.Status()[0].Breaker)
			})
		})
	}
}
