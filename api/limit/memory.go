package limit

import (
	"context"
	"sync"
	"time"
)

// Memory keeps buckets in this process, for what need not be exact across several.
type Memory struct {
	opts MemoryOptions
	mu   sync.Mutex
	full map[string]time.Time // when each is empty
}

// MemoryOptions configure a Memory. The zero value will do.
type MemoryOptions struct {
	Size int              // most buckets; default 20,000
	Now  func() time.Time // the clock; default time.Now
}

var _ Limiter = (*Memory)(nil)

// NewMemory returns a Memory.
func NewMemory(opts MemoryOptions) *Memory {
	if opts.Size == 0 {
		opts.Size = 20_000
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Memory{opts: opts, full: map[string]time.Time{}}
}

// Take is that of Limiter. It never fails on buckets that make sense.
func (m *Memory) Take(_ context.Context, buckets []Bucket) (Result, error) {
	if err := check(buckets); err != nil {
		return Result{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.opts.Now()
	filled := make([]time.Duration, len(buckets))
	for i, b := range buckets {
		filled[i] = max(0, m.full[b.Key].Sub(now))
		if filled[i] > b.Period { // it, or the clock, has been changed
			filled[i] = b.Period
			m.full[b.Key] = now.Add(b.Period)
		}
	}
	r := resultOf(buckets, filled)
	if r.Allowed {
		for i, b := range buckets {
			m.put(b.Key, now.Add(filled[i]+b.spend()), now)
		}
	}
	return r, nil
}

// Wait returns how long it takes until a take from a bucket would pass, and 0 if it
// would now.
func (m *Memory) Wait(b Bucket) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	filled := max(0, m.full[b.Key].Sub(m.opts.Now()))
	return max(0, min(filled, b.Period)+b.spend()-b.Period)
}

// put remembers a bucket, and forgets another one that is empty by now, or any one if
// there is no more room.
func (m *Memory) put(key string, empty, now time.Time) {
	_, known := m.full[key]
	for other, at := range m.full { // in random order
		if !known && (len(m.full) >= m.opts.Size || !at.After(now)) {
			delete(m.full, other)
		}
		break
	}
	m.full[key] = empty
}
