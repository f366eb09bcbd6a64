package limit

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Fallback keeps buckets with a first Limiter, and while that can not be reached
// with a second one, where they start afresh.
type Fallback struct {
	opts FallbackOptions

	mu      sync.Mutex
	away    time.Time // until when the first is left alone; zero: it answers
	probing bool      // someone asks whether it is back
	logged  time.Time
}

// FallbackOptions configure a Fallback. First and Second are required.
type FallbackOptions struct {
	First, Second Limiter

	// Pause is how long the first is left alone after a failure; default 1 s. Then
	// one take asks it, and the others follow once it has answered.
	Pause time.Duration

	// Logger gets a line a minute while the first fails; default none.
	Logger *slog.Logger

	// Now is the clock; default time.Now.
	Now func() time.Time
}

var _ Limiter = (*Fallback)(nil)

// NewFallback returns a Fallback.
func NewFallback(opts FallbackOptions) *Fallback {
	if opts.Pause == 0 {
		opts.Pause = time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Fallback{opts: opts}
}

// Take is that of Limiter.
func (f *Fallback) Take(ctx context.Context, buckets []Bucket) (Result, error) {
	asks, probes := f.available()
	if !asks {
		return f.opts.Second.Take(ctx, buckets)
	}
	r, err := f.opts.First.Take(ctx, buckets)
	if err == nil || ctx.Err() != nil {
		f.answered(probes, err)
		return r, err
	}
	f.failed(ctx, probes, err)
	return f.opts.Second.Take(ctx, buckets)
}

// available reports whether to ask the first, and whether that finds out if it is
// back.
func (f *Fallback) available() (asks, probes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away.IsZero() {
		return true, false
	}
	if f.probing || f.opts.Now().Before(f.away) {
		return false, false
	}
	f.probing = true
	return true, true
}

// answered ends a probe: the first is back, or err says that who asked did not wait
// for it.
func (f *Fallback) answered(probes bool, err error) {
	if !probes {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.probing = false
	if err == nil {
		f.away = time.Time{}
	}
}

func (f *Fallback) failed(ctx context.Context, probes bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.opts.Now()
	f.away = now.Add(f.opts.Pause)
	f.probing = f.probing && !probes
	if now.Sub(f.logged) >= time.Minute {
		f.logged = now
		f.opts.Logger.WarnContext(ctx, "rate limits are kept in the database meanwhile", "error", err.Error())
	}
}
