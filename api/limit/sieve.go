package limit

import (
	"context"
	"sync"
	"time"
)

// A Sieve stands before a Limiter. A refusal is remembered, so that a flood of
// requests that would be refused costs this process alone; it tells without asking
// what it last heard of a bucket.
type Sieve struct {
	behind Limiter
	opts   SieveOptions
	mu     sync.Mutex
	heard  map[heardKey]heard
}

// SieveOptions configure a Sieve. The zero value will do.
type SieveOptions struct {
	Size int              // most buckets remembered; default 20,000
	Now  func() time.Time // the clock; default time.Now

	// Trust is how long a refusal is believed without asking again; default 10 s.
	// It matters only if what keeps the buckets forgets them.
	Trust time.Duration
}

// heardKey has the limit, so that what was heard of another one does not count.
type heardKey struct {
	key    string
	limit  int
	period time.Duration
}

// heard is when a bucket is empty: not before one time, by which takes are refused,
// and if nothing is taken elsewhere not after another one, which is told. Between them
// lies how long it took to ask.
type heard struct {
	empty, told time.Time
	at          time.Time // it was asked
}

var _ Limiter = (*Sieve)(nil)

// NewSieve returns a Sieve before a Limiter.
func NewSieve(behind Limiter, opts SieveOptions) *Sieve {
	if opts.Size == 0 {
		opts.Size = 20_000
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Trust == 0 {
		opts.Trust = 10 * time.Second
	}
	return &Sieve{behind: behind, opts: opts, heard: map[heardKey]heard{}}
}

// Take is that of Limiter.
func (s *Sieve) Take(ctx context.Context, buckets []Bucket) (Result, error) {
	now := s.opts.Now()
	if r, refused := s.refuse(buckets, now); refused {
		return r, nil
	}
	r, err := s.behind.Take(ctx, buckets)
	if err != nil {
		return Result{}, err
	}
	answered := s.opts.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, state := range r.States {
		s.hear(heardKey{state.Key, state.Limit, state.Period}, heard{empty: now.Add(state.ResetAfter), told: answered.Add(state.ResetAfter), at: now})
	}
	return r, nil
}

// Last returns what was last heard of a bucket, as it would be by now if nothing had
// been taken elsewhere since.
func (s *Sieve) Last(b Bucket) (State, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.heard[heardKey{b.Key, b.Limit, b.Period}]
	return b.state(filledUntil(h.told, b, s.opts.Now())), ok
}

// refuse answers a take that can not pass by what was heard.
func (s *Sieve) refuse(buckets []Bucket, now time.Time) (Result, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	refused := false
	told := make([]time.Duration, len(buckets))
	known := make([]bool, len(buckets))
	for i, b := range buckets {
		var h heard
		if h, known[i] = s.heard[heardKey{b.Key, b.Limit, b.Period}]; !known[i] {
			continue
		}
		told[i] = filledUntil(h.told, b, now)
		refused = refused || now.Sub(h.at) < s.opts.Trust && !b.passes(filledUntil(h.empty, b, now))
	}
	if !refused {
		return Result{}, false
	}
	r := resultOf(buckets, told)
	for i := range r.States {
		r.States[i].Unheard = !known[i]
	}
	return r, true
}

// filledUntil is how full a bucket is that is empty at a time.
func filledUntil(empty time.Time, b Bucket, now time.Time) time.Duration {
	return max(0, min(empty.Sub(now), b.Period))
}

// hear remembers the news of a bucket, unless it came out of turn.
func (s *Sieve) hear(key heardKey, news heard) {
	old, known := s.heard[key]
	if known && old.empty.After(news.empty) && news.at.Sub(old.at) < time.Second {
		return
	}
	for other, h := range s.heard { // any one, which is no loss if it is empty by now
		if !known && (len(s.heard) >= s.opts.Size || !h.empty.After(news.at)) {
			delete(s.heard, other)
		}
		break
	}
	s.heard[key] = news
}
