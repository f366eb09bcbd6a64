package limit_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/api/limit"
	"github.com/nanobanana/nanobanana/api/limit/limittest"
	"github.com/nanobanana/nanobanana/store/storetest"
)

func TestFallback_RedisGoesAndPostgresTakesOver(t *testing.T) {
	t.Parallel()
	server := limittest.StartRedis(t)
	var log bytes.Buffer
	second := &counted{Limiter: limit.NewPostgres(storetest.New(t))}
	l := limit.NewFallback(limit.FallbackOptions{
		First: openRedis(t, server.URL), Second: second, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	b := hourly("org_1/org", 2)
	take(t, l, b)
	if second.asked.Load() != 0 {
		t.Fatal("the second was asked while the first answers")
	}
	server.Stop()
	got := []bool{take(t, l, b).Allowed, take(t, l, b).Allowed, take(t, l, b).Allowed}
	if !got[0] || !got[1] || got[2] {
		t.Errorf("without Redis: %v, want two of a fresh bucket", got)
	}
	if lines := strings.Count(log.String(), "kept in the database meanwhile"); lines != 1 {
		t.Errorf("%d lines of log, want 1:\n%s", lines, log.String())
	}
}

func TestFallback_ComesBackAndLogsOnceAMinute(t *testing.T) {
	t.Parallel()
	c := newClock()
	var log bytes.Buffer
	first := &counted{Limiter: limit.NewMemory(limit.MemoryOptions{Now: c.now})}
	second := &counted{Limiter: limit.NewMemory(limit.MemoryOptions{Now: c.now})}
	l := limit.NewFallback(limit.FallbackOptions{First: first, Second: second, Now: c.now, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	first.fails.Store(true)
	for range 90 { // seconds
		take(t, l, hourly("org_1/org", 1000))
		take(t, l, hourly("org_1/org", 1000))
		c.pass(time.Second)
	}
	if first.asked.Load() != 90 || second.asked.Load() != 180 {
		t.Errorf("the first was asked %d times, the second %d; want once a second, and always", first.asked.Load(), second.asked.Load())
	}
	if lines := strings.Count(log.String(), "\n"); lines != 2 {
		t.Errorf("%d lines of log in 90 s, want 2:\n%s", lines, log.String())
	}
	first.fails.Store(false)
	if r := take(t, l, hourly("org_1/org", 1000)); r.States[0].Remaining != 999 {
		t.Errorf("got %+v, want the first one's bucket again", r)
	}
}

func TestOpenRedis_URLs(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"redis://localhost", "rediss://:secret@redis.example:6380/2", "redis://a.example:7000?addr=b.example:7000"} {
		r, err := limit.OpenRedis(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		_ = r.Close()
	}
	for _, url := range []string{"http://localhost", "localhost:6379", "unix:///tmp/redis.sock", "redis://:secret%zz@localhost", "redis://:secret@localhost/x"} {
		_, err := limit.OpenRedis(url)
		if err == nil {
			t.Errorf("%s was taken", url)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error repeats the password: %v", url, err)
		}
	}
}

// held holds up takes until they are let go.
type held struct {
	limit.Limiter
	came, letGo chan struct{}
}

func (h *held) Take(ctx context.Context, buckets []limit.Bucket) (limit.Result, error) {
	h.came <- struct{}{}
	<-h.letGo
	return h.Limiter.Take(ctx, buckets)
}

func TestFallback_OneAsksWhetherItIsBack(t *testing.T) {
	t.Parallel()
	c := newClock()
	first := &counted{Limiter: limit.NewMemory(limit.MemoryOptions{Now: c.now})}
	slow := &held{Limiter: first, came: make(chan struct{}, 100), letGo: make(chan struct{}, 100)}
	second := &counted{Limiter: limit.NewMemory(limit.MemoryOptions{Now: c.now})}
	l := limit.NewFallback(limit.FallbackOptions{First: slow, Second: second, Now: c.now})
	first.fails.Store(true)
	slow.letGo <- struct{}{}
	take(t, l, hourly("org_1/org", 1000))
	<-slow.came
	for _, back := range []bool{false, true} {
		first.fails.Store(!back)
		c.pass(2 * time.Second)
		done := make(chan struct{})
		go func() {
			defer close(done)
			take(t, l, hourly("org_1/org", 1000))
		}()
		<-slow.came
		before := second.asked.Load()
		for range 20 { // they would wait for ever
			take(t, l, hourly("org_1/org", 1000))
		}
		if got := second.asked.Load() - before; got != 20 {
			t.Errorf("the second was asked %d times by 20", got)
		}
		slow.letGo <- struct{}{}
		<-done
	}
	slow.letGo <- struct{}{}
	before := second.asked.Load()
	take(t, l, hourly("org_1/org", 1000))
	if second.asked.Load() != before {
		t.Error("the second is asked although the first is back")
	}
}

func TestFallback_WhoDoesNotWaitLeavesTheQuestionToOthers(t *testing.T) {
	t.Parallel()
	c := newClock()
	first := &counted{Limiter: limit.NewMemory(limit.MemoryOptions{Now: c.now})}
	second := &counted{Limiter: limit.NewMemory(limit.MemoryOptions{Now: c.now})}
	l := limit.NewFallback(limit.FallbackOptions{First: first, Second: second, Now: c.now})
	first.fails.Store(true)
	take(t, l, hourly("org_1/org", 1000))
	c.pass(2 * time.Second)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Take(gone, []limit.Bucket{hourly("org_1/org", 1000)}); err == nil {
		t.Fatal("the first answers")
	}
	first.fails.Store(false)
	if r := take(t, l, hourly("org_1/org", 1000)); r.States[0].Remaining != 999 || second.asked.Load() != 1 {
		t.Errorf("got %+v, %d asked of the second; want the first one's bucket", r, second.asked.Load())
	}
}
