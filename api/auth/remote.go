package auth

import (
	"context"
	"sync"
	"time"
)

// Paces of what is fetched from an issuer.
const (
	fetchTimeout = 5 * time.Second
	failurePause = 5 * time.Second // after a fetch that failed
	renewalPause = time.Minute     // between fetches for what was missed
)

// remote is something of another's, fetched when it is needed and kept. What is too
// old goes on serving while its source is away. However many ask, and whatever for,
// the source hears of it seldom. It is safe for concurrent use.
type remote[T any] struct {
	// load fetches it, and says for how long it is fresh.
	load func(ctx context.Context) (value T, life time.Duration, err error)
	now  func() time.Time

	mu      sync.Mutex
	value   T
	known   bool
	fresh   time.Time // until then
	pause   time.Time // no fetch before, after a failure
	renewal time.Time // no fetch for what was missed before
	err     error     // of the latest fetch, if it failed
	flight  chan struct{}
}

// get returns the value. It fails only if there has never been one, with the error
// of the latest fetch.
func (r *remote[T]) get(ctx context.Context) (T, error) {
	r.mu.Lock()
	now := r.now()
	due := !now.Before(r.fresh) && !now.Before(r.pause) && r.flight == nil
	if due || !r.known && r.flight != nil {
		return r.fetch(ctx)
	}
	defer r.mu.Unlock()
	return r.value, r.missing()
}

// renew returns a value that is newer than an earlier one which lacked something, if
// it is time for one.
func (r *remote[T]) renew(ctx context.Context) (T, error) {
	r.mu.Lock()
	now := r.now()
	if r.flight != nil || !now.Before(r.renewal) && !now.Before(r.pause) {
		if r.flight == nil {
			r.renewal = now.Add(renewalPause)
		}
		return r.fetch(ctx)
	}
	defer r.mu.Unlock()
	return r.value, r.missing()
}

// missing is the error for who has no value to use.
func (r *remote[T]) missing() error {
	if r.known {
		return nil
	}
	return r.err
}

// fetch joins the fetch under way or begins one, and waits for its end. mu is held,
// and given back. The fetch goes on if its caller leaves, for others may wait.
func (r *remote[T]) fetch(ctx context.Context) (T, error) {
	done := r.flight
	if done == nil {
		done = make(chan struct{})
		r.flight = done
		go r.run(context.WithoutCancel(ctx), done)
	}
	r.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.value, r.missing()
}

func (r *remote[T]) run(ctx context.Context, done chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	value, life, err := r.load(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	defer close(done)
	r.flight, r.err = nil, err
	if err != nil {
		r.pause = r.now().Add(failurePause)
		if r.known {
			r.pause = r.now().Add(renewalPause)
		}
		return
	}
	r.value, r.known, r.fresh = value, true, r.now().Add(life)
}
