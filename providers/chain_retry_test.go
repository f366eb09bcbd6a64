package providers_test

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/providers"
)

// A repetition after a rate limit is never earlier than the upstream asked, and
// not much later.
func TestRetry_NeverEarly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		transport, _ := play(t, func(w http.ResponseWriter, _ *http.Request, _ string, call int) {
			at = append(at, time.Now())
			if call%2 == 1 {
				w.Header().Set("Retry-After", "2")
				fail(w, 429)
				return
			}
			draw(w)
		})
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
		for range 50 {
			if _, err := cl.generate(t.Context(), "an owl"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second) // the pause is over
		}
		for i := 0; i < len(at); i += 2 {
			if gap := at[i+1].Sub(at[i]); gap < 2*time.Second || gap > 2501*time.Millisecond {
				t.Errorf("repeated after %s, want 2 to 2.5 s", gap)
			}
		}
	})
}

// Others do not use the route while the upstream wants a pause, even a short one.
func TestRetry_OthersPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport, calls := play(t, func(w http.ResponseWriter, _ *http.Request, key string, call int) {
			if key == "aaaa" && call == 1 {
				w.Header().Set("Retry-After", "3")
				fail(w, 429)
				return
			}
			draw(w)
		})
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa", "bbbb")})
		var wg sync.WaitGroup
		wg.Go(func() { cl.burst(t.Context(), 1, "an owl") })
		time.Sleep(time.Second)
		cl.burst(t.Context(), 10, "an owl")
		wg.Wait()
		if diff := cmp.Diff([]int{2, 10}, []int{calls("aaaa"), calls("bbbb")}); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}

// A pause that the Ask would not outlive is not begun, and not cut short either.
func TestRetry_BeyondDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport, calls := play(t, func(w http.ResponseWriter, r *http.Request, _ string, _ int) {
			if after(r, 9*time.Second) {
				w.Header().Set("Retry-After", "4")
				fail(w, 429)
			}
		})
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		begun := time.Now()
		e := cl.fails(ctx, t, "an owl")
		if took := time.Since(begun); e.Kind != providers.KindRate || took != 9*time.Second || calls("aaaa") != 1 {
			t.Errorf("error %v after %s and %d calls, want rate limited after 9 s and one", e, took, calls("aaaa"))
		}
	})
}

// Without a wait asked for there is nothing to wait for.
func TestRetry_NoWaitSaid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, transport := simulate(t)
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa", "bbbb")})
		begun := time.Now()
		cl.fails(t.Context(), t, "[[sim:429 retry=none]]")
		if took := time.Since(begun); took != 0 {
			t.Errorf("took %s, want no wait", took)
		}
	})
}

// The waits between repetitions are random from nothing up, and grow.
func TestRetry_FullJitter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		transport, _ := play(t, func(w http.ResponseWriter, _ *http.Request, _ string, call int) {
			at = append(at, time.Now())
			if call%3 != 0 {
				fail(w, 503)
				return
			}
			draw(w)
		})
		var longest [2]time.Duration
		for range 40 {
			at = nil
			cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
			if _, err := cl.generate(t.Context(), "an owl"); err != nil {
				t.Fatal(err)
			}
			for i := range longest {
				longest[i] = max(longest[i], at[i+1].Sub(at[i]))
			}
		}
		if longest[0] < 250*time.Millisecond || longest[0] > 501*time.Millisecond ||
			longest[1] < 500*time.Millisecond || longest[1] > 1001*time.Millisecond {
			t.Errorf("longest waits %v, want nearly 0.5 and 1 s", longest)
		}
	})
}

// Repetitions are at most a fifth of what is under way, but for a few.
func TestRetry_Budget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		warm := atomic.Bool{}
		transport, calls := play(t, func(w http.ResponseWriter, r *http.Request, key string, _ int) {
			if key == "bbbb" || !warm.Load() {
				draw(w)
				return
			}
			if after(r, time.Second) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(`{"candidates":[{"finishReason":"NO_IMAGE"}]}`))
			}
		})
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa", "bbbb")})
		cl.burst(t.Context(), 1, "an owl")
		warm.Store(true)
		if served := cl.burst(t.Context(), 60, "an owl"); served != 60 || calls("bbbb") != 60 {
			t.Errorf("%d served, %d by the second route, want 60", served, calls("bbbb"))
		}
		if repeated := calls("aaaa") - 61; repeated < 3 || repeated > 20 {
			t.Errorf("%d repetitions of 60 calls, want 3 to 20", repeated)
		}
	})
}

// Repetitions use the connection of the call before.
func TestRetry_KeepsConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport, calls := play(t, func(w http.ResponseWriter, _ *http.Request, _ string, call int) {
			if call%3 != 0 {
				fail(w, 503)
				return
			}
			draw(w)
		})
		var dials atomic.Int64
		dial := transport.DialContext
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			return dial(ctx, network, address)
		}
		for range 10 {
			cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
			_, _ = cl.generate(t.Context(), "an owl")
		}
		if calls("aaaa") != 30 || dials.Load() != 1 {
			t.Errorf("%d calls over %d connections, want 30 over one", calls("aaaa"), dials.Load())
		}
	})
}

// The cooldown after a rate limit is what the upstream asked for, in whole
// seconds, and is told once however many calls hear of it.
func TestCooldown_ToldOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var served atomic.Int64
		transport, calls := play(t, func(w http.ResponseWriter, r *http.Request, _ string, call int) {
			if call == 1 {
				draw(w)
				return
			}
			after(r, time.Duration(served.Add(1))*time.Millisecond)
			w.Header().Set("Retry-After", strconv.Itoa(20))
			fail(w, 429)
		})
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
		cl.burst(t.Context(), 1, "an owl")
		cl.burst(t.Context(), 50, "an owl")
		wantText(t, "changes", "aaaa cooldown", cl.whatChanged())
		if until := cl.changes[0].Until; until != until.Truncate(time.Second) || time.Until(until) < 19950*time.Millisecond {
			t.Errorf("paused until %s at %s, want a whole second in 20 s", until, time.Now())
		}
		if e := cl.fails(t.Context(), t, "an owl"); e.Code != "cooldown" || calls("aaaa") != 51 {
			t.Errorf("error %v after %d calls, want a pause after 51", e, calls("aaaa"))
		}
	})
}
