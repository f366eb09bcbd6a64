package api

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// streams are the event streams under way in this process. One clock moves them
// all: a stream costs no timer of its own.
type streams struct {
	most    int           // at the same time
	keyMost int           // of one API key
	pace    time.Duration // between two beats of the clock

	// reading bounds those that read at the same time, so that streams leave
	// connections to the database to everyone else.
	reading chan struct{}

	mu    sync.Mutex
	all   int
	byKey map[string]int
	beat  chan struct{} // closed at the clock's next beat
	halt  chan struct{} // closed when nobody needs the clock
}

// maxReading is how many streams read at the same time.
const maxReading = 6

func newStreams(most, keyMost int, pace time.Duration) *streams {
	return &streams{
		most: most, keyMost: keyMost, pace: pace, byKey: map[string]int{}, beat: make(chan struct{}),
		reading: make(chan struct{}, maxReading),
	}
}

// enter takes a place, which leave gives back, or refuses when there is none.
func (s *streams) enter(keyID string) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.byKey[keyID] >= s.keyMost:
		return nil, refuse("concurrency_limited", "The key has %d streams open, which is as many as it may; close one, or poll with GET /v1/generations/{id}?wait=60.", s.keyMost)
	case s.all >= s.most:
		return nil, refuse("concurrency_limited", "This server has as many streams open as it takes; poll with GET /v1/generations/{id}?wait=60, or ask again.")
	}
	s.all++
	s.byKey[keyID]++
	if s.all == 1 {
		s.halt = make(chan struct{})
		go s.run(s.halt)
	}
	return func() { s.leave(keyID) }, nil
}

func (s *streams) leave(keyID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.byKey[keyID]--; s.byKey[keyID] == 0 {
		delete(s.byKey, keyID)
	}
	if s.all == 0 {
		close(s.halt)
	}
}

// run is the clock.
func (s *streams) run(halt <-chan struct{}) {
	ticker := time.NewTicker(s.pace)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.mu.Lock()
			close(s.beat)
			s.beat = make(chan struct{})
			s.mu.Unlock()
		case <-halt:
			return
		}
	}
}

// next returns a channel that is closed at the next beat.
func (s *streams) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.beat
}

// read runs fn, which asks something of the database, among a few at a time. What
// it returns with over, or as an error, is returned.
func (s *streams) read(ctx context.Context, fn func() (over bool, err error)) (over bool, err error) {
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
		return aside(fn)
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

// phase is a number of beats below n that differs from stream to stream, so that
// those that began together do not read together for ever.
func (s *streams) phase(n int) int {
	return rand.N(n) //nolint:gosec // not a secret
}
