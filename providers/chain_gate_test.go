package providers_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nanobanana/nanobanana/providers"
)

// burst makes n requests at the same time and returns how many were served.
func (cl *client) burst(ctx context.Context, n int, prompt string) int {
	var served atomic.Int64
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if _, err := cl.generate(ctx, prompt); err == nil {
				served.Add(1)
			}
		})
	}
	wg.Wait()
	return int(served.Load())
}

// after answers once d has passed.
func after(r *http.Request, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-r.Context().Done():
		return false
	}
}

// A burst on a route that is dead costs it as many calls as open its breaker,
// however long it takes to fail and however slowly the calls are announced.
func TestGate_DeadRoute(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ answer, announce time.Duration }{
		"AtOnce":          {0, 0},
		"Slow":            {250 * time.Millisecond, 0},
		"SlowlyAnnounced": {100 * time.Millisecond, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				transport, calls := play(t, func(w http.ResponseWriter, r *http.Request, key string, _ int) {
					switch {
					case key == "good":
						draw(w)
					case after(r, c.answer):
						fail(w, 503)
					}
				})
				cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "dead", "good")})
				var served atomic.Int64
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() {
						ask := cl.ask("an owl")
						ask.Begin = func(context.Context, providers.Call) error {
							time.Sleep(c.announce) // of the bubble's clock
							return nil
						}
						if _, err := cl.Generate(t.Context(), ask); err == nil {
							served.Add(1)
						}
					})
				}
				wg.Wait()
				if served.Load() != 50 || calls("dead") > 5 || calls("good") != 50 {
					t.Errorf("%d served, %d calls to the dead route and %d to the good one, want 50, at most 5 and 50",
						served.Load(), calls("dead"), calls("good"))
				}
				if s := cl.Status()[0]; s.Breaker != "open" || s.InFlight != 0 {
					t.Errorf("status %+v, want it open and idle", s)
				}
			})
		})
	}
}

// A failure makes the gate wait longer for the calls that have not failed yet.
func TestGate_SuspicionGrows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport, calls := play(t, func(w http.ResponseWriter, r *http.Request, key string, call int) {
			switch {
			case key == "good":
				draw(w)
			case call == 1 && after(r, 100*time.Millisecond), call > 1 && after(r, 500*time.Millisecond):
				fail(w, 503)
			}
		})
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "dead", "good")})
		if served := cl.burst(t.Context(), 50, "an owl"); served != 50 || calls("dead") > 5 {
			t.Errorf("%d served with %d calls to the dead route, want 50 with at most 5", served, calls("dead"))
		}
	})
}

// A burst on a healthy route waits for its first success, or grows while nothing
// fails: 5, 10, 20 and 40 are under way after 0.9 s, and 80 after 1.2 s.
func TestGate_HealthyRoute(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ answer, most time.Duration }{
		"Fast": {50 * time.Millisecond, 101 * time.Millisecond},
		"Slow": {12 * time.Second, 13201 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				transport, calls := play(t, func(w http.ResponseWriter, r *http.Request, _ string, _ int) {
					if after(r, c.answer) {
						draw(w)
					}
				})
				cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "good", "spare")})
				begun := time.Now()
				if served := cl.burst(t.Context(), 50, "an owl"); served != 50 || calls("spare") != 0 {
					t.Errorf("%d served, %d of them by the spare, want 50 and none", served, calls("spare"))
				}
				if took := time.Since(begun); took > c.most {
					t.Errorf("took %s, want at most %s", took, c.most)
				}
				begun = time.Now()
				cl.burst(t.Context(), 50, "an owl")
				if took := time.Since(begun); took != c.answer {
					t.Errorf("the second burst took %s, want %s", took, c.answer)
				}
			})
		})
	}
}

// Without another route, a hundred calls are under way after 1.5 s.
func TestGate_OnlyRoute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport, calls := play(t, func(w http.ResponseWriter, r *http.Request, _ string, _ int) {
			if after(r, 12*time.Second) {
				draw(w)
			}
		})
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "only")})
		var wg sync.WaitGroup
		wg.Go(func() {
			if served := cl.burst(t.Context(), 100, "an owl"); served != 100 {
				t.Errorf("%d served, want 100", served)
			}
		})
		for _, want := range []int{5, 10, 20, 40, 80, 100} {
			synctest.Wait()
			if got := calls("only"); got != want {
				t.Errorf("%d calls under way, want %d", got, want)
			}
			time.Sleep(300 * time.Millisecond)
		}
		wg.Wait()
	})
}

// A route that takes calls and never answers gets fewer than a burst of a hundred
// has, and one whose host is out of reach only the first few: the others go on to
// the next.
func TestGate_HangingRoute(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reachable bool
		most      int
	}{"NoAnswer": {true, 80}, "OutOfReach": {false, 5}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				transport, calls := play(t, func(w http.ResponseWriter, r *http.Request, key string, _ int) {
					if key == "good" || !after(r, time.Hour) {
						draw(w)
					}
				})
				list := routes(t, transport, "dead", "good")
				if !c.reachable {
					black := providers.NewTransport()
					black.DialContext = func(context.Context, string, string) (net.Conn, error) {
						time.Sleep(10 * time.Second) // of the bubble's clock
						return nil, context.DeadlineExceeded
					}
					list[0] = routes(t, black, "dead")[0]
				}
				cl := connect(t, providers.ChainOptions{Routes: list})
				begun := time.Now()
				var wg sync.WaitGroup
				wg.Go(func() {
					if served := cl.burst(t.Context(), 100, "an owl"); served != 100 {
						t.Errorf("%d served, want 100", served)
					}
				})
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if n := cl.Status()[0].InFlight; n > c.most || n < min(5, c.most) || calls("good") != 100-n {
					t.Errorf("%d calls under way on the dead route and %d made by the good one, want at most %d and the rest", n, calls("good"), c.most)
				}
				wg.Wait()
				if took := time.Since(begun); took > 95*time.Second {
					t.Errorf("took %s", took)
				}
			})
		})
	}
}

func TestGate_WaitEndsWithContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		transport, calls := play(t, func(w http.ResponseWriter, r *http.Request, _ string, _ int) {
			<-hold
			draw(w)
		})
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { _, _ = cl.generate(t.Context(), "an owl") })
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if e := cl.fails(ctx, t, "an owl"); e.Kind != providers.KindCanceled {
				t.Errorf("error %v, want the cancellation", e)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		if calls("aaaa") != 5 {
			t.Errorf("%d calls, want 5", calls("aaaa"))
		}
		close(hold)
		wg.Wait()
	})
}

// The bound holds for two processes in real time and over real sockets, as the
// acceptance of the service has it.
func TestGate_TwoProcesses(t *testing.T) {
	t.Parallel()
	var dead, good atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Goog-Api-Key") == "dead" {
			dead.Add(1)
			fail(w, 503)
			return
		}
		good.Add(1)
		draw(w)
	}))
	defer srv.Close()
	transport := providers.NewTransport()
	transport.DialContext = nil
	transport.Proxy = nil
	defer transport.CloseIdleConnections()
	redirected := roundTripper(func(r *http.Request) (*http.Response, error) {
		r.URL.Host = srv.Listener.Addr().String()
		return transport.RoundTrip(r)
	})
	var wg sync.WaitGroup
	var served atomic.Int64
	for range 2 {
		cl := connect(t, providers.ChainOptions{Routes: routes(t, redirected, "dead", "good")})
		wg.Go(func() { served.Add(int64(cl.burst(t.Context(), 50, "an owl"))) })
	}
	wg.Wait()
	if served.Load() != 100 || dead.Load() > 10 || good.Load() != 100 {
		t.Errorf("%d served, %d calls to the dead route and %d to the good one, want 100, at most 10 and 100",
			served.Load(), dead.Load(), good.Load())
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A failure makes a route that has served prove itself anew, and is forgotten
// after a minute.
func TestGate_AfterFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pause time.Duration
		want  int // calls under way
	}{
		"Recent":    {0, 2},
		"Forgotten": {61 * time.Second, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				hold := make(chan struct{})
				transport, calls := play(t, func(w http.ResponseWriter, _ *http.Request, _ string, call int) {
					switch {
					case call == 1:
						draw(w)
					case call <= 4:
						fail(w, 503)
					default:
						<-hold
						draw(w)
					}
				})
				cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
				cl.burst(t.Context(), 1, "an owl")
				cl.burst(t.Context(), 1, "an owl")
				time.Sleep(c.pause)
				var wg sync.WaitGroup
				wg.Go(func() { cl.burst(t.Context(), 20, "an owl") })
				synctest.Wait()
				if got := calls("aaaa") - 4; got != c.want {
					t.Errorf("%d calls under way, want %d", got, c.want)
				}
				close(hold)
				wg.Wait()
			})
		})
	}
}
