package providers_test

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/providers"
)

// Whoever waits for a full route is served before whoever comes later.
func TestQueue_FirstComeFirstServed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport, _ := play(t, func(w http.ResponseWriter, r *http.Request, _ string, _ int) {
			if after(r, 500*time.Millisecond) {
				draw(w)
			}
		})
		list := routes(t, transport, "aaaa")
		list[0].Concurrency = 5
		cl := connect(t, providers.ChainOptions{Routes: list})
		var mu sync.Mutex
		var order []int
		var worst time.Duration
		var wg sync.WaitGroup
		job := func(n int) {
			begun := time.Now()
			ask := cl.ask("an owl")
			ask.Begin = func(context.Context, providers.Call) error {
				mu.Lock()
				defer mu.Unlock()
				order, worst = append(order, n), max(worst, time.Since(begun))
				return nil
			}
			if _, err := cl.Generate(t.Context(), ask); err != nil {
				t.Errorf("job %d: %v", n, err)
			}
		}
		// A burst of 25, then 9.8 jobs a second against a capacity of 10.
		for n := range 325 {
			wg.Go(func() { job(n) })
			if n < 25 {
				time.Sleep(time.Millisecond)
			} else {
				time.Sleep(102 * time.Millisecond)
			}
		}
		wg.Wait()
		if !slices.IsSorted(order) || worst > 3*time.Second {
			t.Errorf("the longest wait was %s, want at most 3 s, and the order %v", worst, order)
		}
	})
}

// A call takes the first permit of any route that could serve it, and none that it
// no longer wants.
func TestQueue_AnyRoute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport, calls := play(t, func(w http.ResponseWriter, r *http.Request, key string, _ int) {
			if after(r, map[string]time.Duration{"aaaa": 4 * time.Second, "bbbb": time.Second}[key]) {
				draw(w)
			}
		})
		list := routes(t, transport, "aaaa", "bbbb")
		list[0].Concurrency, list[1].Concurrency = 1, 1
		cl := connect(t, providers.ChainOptions{Routes: list})
		var wg sync.WaitGroup
		wg.Go(func() {
			if served := cl.burst(t.Context(), 2, "an owl"); served != 2 {
				t.Errorf("%d served, want 2", served)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if e := cl.fails(ctx, t, "an owl"); e.Kind != providers.KindDeadline {
			t.Errorf("error %v, want that the time was over", e)
		}
		begun := time.Now()
		if result, err := cl.generate(t.Context(), "an owl"); err != nil || result.Route != "bbbb" || time.Since(begun) != 1500*time.Millisecond {
			t.Errorf("result %v, error %v after %s, want the second route after 1.5 s", result, err, time.Since(begun))
		}
		wg.Wait()
		if served := cl.burst(t.Context(), 2, "an owl"); served != 2 {
			t.Errorf("%d served of two routes with room, want 2", served)
		}
		if diff := cmp.Diff([]int{2, 3}, []int{calls("aaaa"), calls("bbbb")}); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}

// Who waits for a route that takes a pause meanwhile does not call it.
func TestQueue_PauseMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport, calls := play(t, func(w http.ResponseWriter, r *http.Request, _ string, _ int) {
			if after(r, time.Second) {
				w.Header().Set("Retry-After", "60")
				fail(w, 429)
			}
		})
		list := routes(t, transport, "aaaa")
		list[0].Concurrency = 1
		cl := connect(t, providers.ChainOptions{Routes: list})
		var wg sync.WaitGroup
		wg.Go(func() { cl.burst(t.Context(), 1, "an owl") })
		synctest.Wait()
		for range 3 {
			wg.Go(func() {
				if e := cl.fails(t.Context(), t, "an owl"); e.Code != "cooldown" || e.RetryAfter < 59*time.Second {
					t.Errorf("error %+v, want the pause", e)
				}
			})
		}
		wg.Wait()
		if calls("aaaa") != 1 {
			t.Errorf("%d calls, want one", calls("aaaa"))
		}
	})
}
