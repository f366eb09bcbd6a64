package limit_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/api/limit"
)

// counted counts the takes that reach a Limiter, or fails them.
type counted struct {
	limit.Limiter
	asked atomic.Int64
	fails atomic.Bool
}

func (c *counted) Take(ctx context.Context, buckets []limit.Bucket) (limit.Result, error) {
	c.asked.Add(1)
	if c.fails.Load() {
		return limit.Result{}, errors.New("away")
	}
	return c.Limiter.Take(ctx, buckets)
}

// behindSieve returns a Sieve before buckets that share its clock.
func behindSieve(opts limit.SieveOptions) (*limit.Sieve, *counted, *clock) {
	c := newClock()
	opts.Now = c.now
	behind := &counted{Limiter: limit.NewMemory(limit.MemoryOptions{Now: c.now})}
	return limit.NewSieve(behind, opts), behind, c
}

func TestSieve_RefusesAFloodByItself(t *testing.T) {
	t.Parallel()
	sieve, behind, c := behindSieve(limit.SieveOptions{})
	b := limit.Bucket{Key: "org_1/org", Limit: 10, Period: 10 * time.Second}
	passed := 0
	for range 1000 {
		if take(t, sieve, b).Allowed {
			passed++
		}
	}
	if asked := behind.asked.Load(); passed != 10 || asked != 10 {
		t.Errorf("%d passed, %d asked behind; want 10 and 10", passed, asked)
	}
	c.pass(999 * time.Millisecond)
	if r := take(t, sieve, b); r.Allowed || r.States[0].RetryAfter != time.Millisecond || behind.asked.Load() != 10 {
		t.Errorf("got %+v, %d asked; want it refused for 1 ms unasked", r, behind.asked.Load())
	}
	c.pass(time.Millisecond)
	if r := take(t, sieve, b); !r.Allowed {
		t.Errorf("got %+v, want it to pass at its time", r)
	}
}

func TestSieve_AsksForAnotherLimitOrASmallerCost(t *testing.T) {
	t.Parallel()
	sieve, behind, _ := behindSieve(limit.SieveOptions{})
	b := hourly("org_1/org", 10)
	b.Cost = 7
	take(t, sieve, b)
	if take(t, sieve, b).Allowed {
		t.Fatal("7 of 3 pass")
	}
	b.Cost = 3
	if !take(t, sieve, b).Allowed {
		t.Error("3 of 3 are refused after 7 were")
	}
	take(t, sieve, hourly("org_1/other", 1))
	if take(t, sieve, hourly("org_1/other", 1)).Allowed {
		t.Fatal("a second of 1 passes")
	}
	asked := behind.asked.Load()
	take(t, sieve, hourly("org_1/other", 2))
	if behind.asked.Load() != asked+1 {
		t.Error("a refusal is remembered for another limit")
	}
}

func TestSieve_BelievesARefusalForItsTrust(t *testing.T) {
	t.Parallel()
	sieve, behind, c := behindSieve(limit.SieveOptions{Trust: 5 * time.Second})
	b := hourly("org_1/org", 1)
	take(t, sieve, b)
	behind.Limiter = limit.NewMemory(limit.MemoryOptions{Now: c.now}) // it has forgotten
	c.pass(4 * time.Second)
	if take(t, sieve, b).Allowed {
		t.Error("it asked again within its trust")
	}
	c.pass(time.Second)
	if !take(t, sieve, b).Allowed {
		t.Error("it never asked again")
	}
}

func TestSieve_TellsWhatItLastHeard(t *testing.T) {
	t.Parallel()
	sieve, behind, c := behindSieve(limit.SieveOptions{})
	b := hourly("org_1/org", 10)
	if s, known := sieve.Last(b); known {
		t.Errorf("it knows %+v of what nobody took from", s)
	}
	take(t, sieve, b)
	take(t, sieve, b)
	c.pass(6 * time.Minute)
	s, known := sieve.Last(b)
	if !known || s.Remaining != 9 || s.ResetAfter != 6*time.Minute || behind.asked.Load() != 2 {
		t.Errorf("got %+v, %t; want 9 left", s, known)
	}
}

func TestSieve_IsBounded(t *testing.T) {
	t.Parallel()
	sieve, _, _ := behindSieve(limit.SieveOptions{Size: 10})
	known := 0
	for i := range 100 {
		take(t, sieve, hourly(fmt.Sprint("org_", i, "/org"), 1))
	}
	for i := range 100 {
		if _, ok := sieve.Last(hourly(fmt.Sprint("org_", i, "/org"), 1)); ok {
			known++
		}
	}
	if known != 10 {
		t.Errorf("%d buckets are remembered, want 10", known)
	}
}

// late answers after a time.
type late struct {
	limit.Limiter
	c     *clock
	takes time.Duration
}

func (l *late) Take(ctx context.Context, buckets []limit.Bucket) (limit.Result, error) {
	r, err := l.Limiter.Take(ctx, buckets)
	l.c.pass(l.takes)
	return r, err
}

func TestSieve_TellsNoTimeThatIsTooEarly(t *testing.T) {
	t.Parallel()
	c := newClock()
	slow := &late{Limiter: limit.NewMemory(limit.MemoryOptions{Now: c.now}), c: c}
	sieve := limit.NewSieve(slow, limit.SieveOptions{Now: c.now})
	b := limit.Bucket{Key: "org_1/org", Limit: 1, Period: 10 * time.Second}
	ahead := &late{Limiter: slow.Limiter, c: c, takes: 300 * time.Millisecond}
	take(t, ahead, b) // elsewhere
	slow.takes = 200 * time.Millisecond
	if r := take(t, sieve, b); r.Allowed || r.States[0].RetryAfter != 9700*time.Millisecond {
		t.Fatalf("got %+v, want it refused for 9.7 s", r)
	}
	// It answered 0.2 s after it was asked, and nobody knows when in between it looked.
	if r := take(t, sieve, b); r.Allowed || r.States[0].RetryAfter != 9700*time.Millisecond {
		t.Errorf("the sieve tells %v, want 9.7 s from the answer on", r.States[0].RetryAfter)
	}
	if last, _ := sieve.Last(b); last.NextAfter != 9700*time.Millisecond {
		t.Errorf("the sieve last heard of %v, want 9.7 s", last.NextAfter)
	}
	c.pass(9500 * time.Millisecond)
	if !take(t, sieve, b).Allowed {
		t.Error("it is refused although it may pass")
	}
}

func TestSieve_SaysOfWhatItHasNotHeard(t *testing.T) {
	t.Parallel()
	sieve, _, _ := behindSieve(limit.SieveOptions{})
	spent, other := hourly("org_1/org", 1), hourly("org_1/project", 50)
	take(t, sieve, spent)
	r := take(t, sieve, spent, other)
	if r.Allowed || r.States[0].Unheard || !r.States[1].Unheard {
		t.Errorf("got %+v, want the second unheard", r)
	}
}
