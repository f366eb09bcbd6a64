package limit_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/limit"
	"github.com/nanobanana/nanobanana/api/limit/limittest"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// clock is one that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// A keeper is a way to keep buckets. open returns what two processes would use, and
// what moves the clock that counts, where tests can.
type keeper struct {
	name string
	open func(t *testing.T) (one, two limit.Limiter, pass func(time.Duration))
}

func real(time.Duration) {}

func keepers() []keeper {
	return []keeper{
		{"memory", func(*testing.T) (limit.Limiter, limit.Limiter, func(time.Duration)) {
			c := newClock()
			m := limit.NewMemory(limit.MemoryOptions{Now: c.now})
			return m, m, c.pass
		}},
		{"Postgres", func(t *testing.T) (limit.Limiter, limit.Limiter, func(time.Duration)) {
			db := storetest.New(t)
			return limit.NewPostgres(db), limit.NewPostgres(db), real
		}},
		{"shared Postgres", func(t *testing.T) (limit.Limiter, limit.Limiter, func(time.Duration)) {
			db := storetest.New(t)
			one, two := limit.NewSharedPostgres(db), limit.NewSharedPostgres(db)
			t.Cleanup(one.Close)
			t.Cleanup(two.Close)
			return one, two, real
		}},
		{"sieve before Postgres", func(t *testing.T) (limit.Limiter, limit.Limiter, func(time.Duration)) {
			db := storetest.New(t)
			return limit.NewSieve(limit.NewPostgres(db), limit.SieveOptions{}), limit.NewSieve(limit.NewPostgres(db), limit.SieveOptions{}), real
		}},
		{"miniredis", func(t *testing.T) (limit.Limiter, limit.Limiter, func(time.Duration)) {
			server, c := miniredis.RunT(t), newClock()
			server.SetTime(c.now())
			url := "redis://" + server.Addr()
			return openRedis(t, url), openRedis(t, url), func(d time.Duration) {
				c.pass(d)
				server.SetTime(c.now())
				server.FastForward(d)
			}
		}},
		{"Redis", func(t *testing.T) (limit.Limiter, limit.Limiter, func(time.Duration)) {
			server := limittest.StartRedis(t)
			return openRedis(t, server.URL), openRedis(t, server.URL), real
		}},
	}
}

func openRedis(t *testing.T, url string) *limit.Redis {
	t.Helper()
	r, err := limit.OpenRedis(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// each runs a test with every keeper.
func each(t *testing.T, test func(t *testing.T, one, two limit.Limiter, pass func(time.Duration))) {
	t.Helper()
	for _, k := range keepers() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			one, two, pass := k.open(t)
			test(t, one, two, pass)
		})
	}
}

func take(t *testing.T, l limit.Limiter, buckets ...limit.Bucket) limit.Result {
	t.Helper()
	r, err := l.Take(t.Context(), buckets)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func hourly(key string, n int) limit.Bucket {
	return limit.Bucket{Key: key, Limit: n, Period: time.Hour}
}

func TestTake_ExactUnderConcurrencyFromTheFirst(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, one, two limit.Limiter, _ func(time.Duration)) {
		for _, n := range []int{1, 7, 100, 700} { // an hour is no multiple of the last
			b := hourly("org_1/"+string(rune('a'+n%26)), n)
			var allowed atomic.Int64
			var wg sync.WaitGroup
			for client := range 16 {
				l := []limit.Limiter{one, two}[client%2]
				wg.Go(func() {
					for range n/4 + 1 { // four times what passes
						r, err := l.Take(context.Background(), []limit.Bucket{b})
						if err != nil {
							t.Error(err)
							return
						}
						if r.Allowed {
							allowed.Add(1)
						}
					}
				})
			}
			wg.Wait()
			if got := int(allowed.Load()); got != n {
				t.Errorf("%d of %d passed, want %d", got, 16*(n/4+1), n)
			}
		}
	})
}

func TestTake_TellsWhatIsLeft(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, one, two limit.Limiter, _ func(time.Duration)) {
		b := hourly("org_1/org", 4) // one each 15 minutes
		const step = 15 * time.Minute
		var got []limit.State
		for _, l := range []limit.Limiter{one, two, one, two, one} {
			got = append(got, take(t, l, b).States...)
		}
		want := []limit.State{
			{Bucket: b, Allowed: true, Remaining: 3, NextAfter: step, ResetAfter: step},
			{Bucket: b, Allowed: true, Remaining: 2, NextAfter: step, ResetAfter: 2 * step},
			{Bucket: b, Allowed: true, Remaining: 1, NextAfter: step, ResetAfter: 3 * step},
			{Bucket: b, Allowed: true, NextAfter: step, ResetAfter: 4 * step},
			{Bucket: b, NextAfter: step, ResetAfter: 4 * step, RetryAfter: step},
		}
		if diff := cmp.Diff(want, got, about(10*time.Second)); diff != "" {
			t.Errorf("states differ (-want +got):\n%s", diff)
		}
	})
}

// about takes times for equal that lie close to each other: real clocks go on.
func about(margin time.Duration) cmp.Option {
	return cmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() <= margin })
}

func TestTake_Refills(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, one, two limit.Limiter, pass func(time.Duration)) {
		b := limit.Bucket{Key: "org_1/org", Limit: 2, Period: 400 * time.Millisecond}
		began := time.Now()
		take(t, one, b)
		take(t, one, b)
		var waited time.Duration
		r := take(t, two, b)
		for ; !r.Allowed; r = take(t, two, b) {
			if after := r.States[0].RetryAfter; after <= 0 || after > 200*time.Millisecond {
				t.Fatalf("refused for %v, want at most a step of 200 ms", after)
			}
			pass(time.Millisecond)
			if waited += time.Millisecond; time.Since(began) > 20*time.Second {
				t.Fatal("it never passes again")
			}
		}
		// Either clock may be the one that counts.
		if real := time.Since(began); max(real, waited) < 199*time.Millisecond {
			t.Errorf("the third passed after %v (%v of the test's clock), want 200 ms", real, waited)
		}
		if r.States[0].Remaining != 0 {
			t.Errorf("%d remain after the third, want none", r.States[0].Remaining)
		}
	})
}

func TestTake_AllBucketsOrNone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, one, two limit.Limiter, _ func(time.Duration)) {
		wide, narrow := hourly("org_1/org", 5), hourly("org_1/key/key_1", 2)
		for range 2 {
			if r := take(t, one, wide, narrow); !r.Allowed {
				t.Fatalf("refused: %+v", r)
			}
		}
		for range 3 { // takes nothing
			r := take(t, two, wide, narrow)
			if r.Allowed || !r.States[0].Allowed || r.States[1].Allowed {
				t.Fatalf("got %+v, want it refused by the narrow one alone", r)
			}
		}
		if r := take(t, two, wide); !r.Allowed || r.States[0].Remaining != 2 {
			t.Errorf("got %+v, want 2 of the wide one left", r)
		}
	})
}

func TestTake_BucketsInAnyOrderDoNotDeadlock(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, one, two limit.Limiter, _ func(time.Duration)) {
		a, b, c := hourly("org_1/a", 300), hourly("org_1/b", 300), hourly("org_1/c", 300)
		var allowed atomic.Int64
		var wg sync.WaitGroup
		for i, order := range [][]limit.Bucket{{a, b, c}, {c, b, a}, {b, c, a}, {c, a, b}} {
			l := []limit.Limiter{one, two}[i%2]
			wg.Go(func() {
				for range 100 {
					r, err := l.Take(context.Background(), order)
					if err != nil {
						t.Error(err)
						return
					}
					if r.Allowed {
						allowed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if allowed.Load() != 300 {
			t.Errorf("%d passed, want 300", allowed.Load())
		}
	})
}

func TestTake_Costs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, one, _ limit.Limiter, _ func(time.Duration)) {
		b := hourly("org_1/org", 10)
		costs := func(n int) bool { b.Cost = n; return take(t, one, b).Allowed }
		got := []bool{costs(11), costs(7), costs(4), costs(3), costs(1)}
		if diff := cmp.Diff([]bool{false, true, false, true, false}, got); diff != "" {
			t.Errorf("passes (-want +got):\n%s", diff)
		}
	})
}

func TestTake_ChangedLimitsCountAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, one, two limit.Limiter, _ func(time.Duration)) {
		for range 50 {
			take(t, one, hourly("org_1/org", 100))
		}
		if r := take(t, two, hourly("org_1/org", 10)); !r.Allowed || r.States[0].Remaining != 4 {
			t.Errorf("half of 100 used, limit lowered to 10: %+v, want 4 left after this one", r)
		}
		for range 4 {
			take(t, one, hourly("org_1/org", 10))
		}
		if r := take(t, one, hourly("org_1/org", 10)); r.Allowed {
			t.Error("the eleventh part passes, want it refused")
		}
		if r := take(t, one, hourly("org_1/org", 20)); r.Allowed {
			t.Error("a full bucket is full whatever its limit is")
		}
	})
}

func TestTake_AShorterPeriodCountsAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, one, two limit.Limiter, pass func(time.Duration)) {
		take(t, one, limit.Bucket{Key: "org_1/org", Limit: 1, Period: 24 * time.Hour})
		short := limit.Bucket{Key: "org_1/org", Limit: 1, Period: 50 * time.Millisecond}
		if r := take(t, two, short); r.Allowed || r.States[0].RetryAfter > short.Period {
			t.Fatalf("a day's bucket is made shorter: %+v, want it empty within 50 ms", r)
		}
		for began := time.Now(); !take(t, two, short).Allowed; pass(time.Millisecond) {
			if time.Since(began) > 20*time.Second {
				t.Fatal("it never passes")
			}
		}
	})
}

func TestTake_RefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, one, _ limit.Limiter, _ func(time.Duration)) {
		for name, buckets := range map[string][]limit.Bucket{
			"none": nil, "no key": {hourly("", 1)}, "twice": {hourly("a/b", 1), hourly("a/b", 1)},
			"no limit": {hourly("a/b", 0)}, "no period": {{Key: "a/b", Limit: 1}}, "negative cost": {{Key: "a/b", Limit: 1, Period: time.Hour, Cost: -1}},
		} {
			if r, err := one.Take(t.Context(), buckets); err == nil {
				t.Errorf("%s: got %+v, want an error", name, r)
			}
		}
	})
}
