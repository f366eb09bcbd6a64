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

	mu     sync.Mutex
	away   time.Time // until when the first is left alone
	logged time.Time
}

// FallbackOptions configure a Fallback. First and Second are required.
type FallbackOptions struct {
	First, Second Limiter

	// Pause is how long the first is left alone after a failure; default 1 s.
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
	if f.available() {
		r, err := f.opts.First.Take(ctx, buckets)
		if err == nil || ctx.Err() != nil {
			return r, err
		}
		f.failed(ctx, err)
	}
	return f.opts.Second.Take(ctx, buckets)
}

func (f *Fallback) available() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.opts.Now().Before(f.away)
}

func (f *Fallback) failed(ctx context.Context, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.opts.Now()
	f.away = now.Add(f.opts.Pause)
	if now.Sub(f.logged) >= time.Minute {
		f.logged = now
		f.opts.Logger.WarnContext(ctx, "rate limits are kept in the database meanwhile", "error", err.Error())
	}
}
