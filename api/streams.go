package api

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// streams are the event streams under way in this process. One clock moves them
// all: a stream costs no timer of its own.
type streams struct {
	most int           // at the same time
	pace time.Duration // between two beats of the clock

	// reading bounds those that read at the same time, so that streams leave
	// connections to the database to everyone else.
	reading chan struct{}

	mu       sync.Mutex
	all      int
	byHolder map[string]int
	beat     chan struct{} // closed at the clock's next beat
	halt     chan struct{} // closed when nobody needs the clock
	away     bool          // the last reading failed
	probe    time.Time     // when one may read without news though they fail
}

// maxReading is how many streams read at the same time.
const maxReading = 6

func newStreams(most int, pace time.Duration) *streams {
	return &streams{
		most: most, pace: pace, byHolder: map[string]int{}, beat: make(chan struct{}),
		reading: make(chan struct{}, maxReading),
	}
}

// A holder is what streams are counted by beside their number.
type holder struct {
	id   string
	name string // for people: "The key"
	most int    // streams at the same time
}

// enter takes a place, which leave gives back, or refuses when there is none.
func (s *streams) enter(h holder) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.byHolder[h.id] >= h.most:
		return nil, h.refusal()
	case s.all >= s.most:
		return nil, refuse("concurrency_limited", "This server has as many streams open as it takes; poll with GET /v1/generations/{id}?wait=60, or ask again.")
	}
	s.all++
	s.byHolder[h.id]++
	if s.all == 1 {
		s.halt = make(chan struct{})
		go s.run(s.halt)
	}
	return func() { s.leave(h.id) }, nil
}

// join counts a stream that has a place for another holder, too, until quit.
func (s *streams) join(h holder) (quit func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byHolder[h.id] >= h.most {
		return nil, h.refusal()
	}
	s.byHolder[h.id]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forget(h.id)
	}, nil
}

func (h holder) refusal() error {
	return refuse("concurrency_limited", "%s has %d streams open, which is as many as it may; close one, or poll with GET /v1/generations/{id}?wait=60.", h.name, h.most)
}

func (s *streams) forget(holderID string) {
	if s.byHolder[holderID]--; s.byHolder[holderID] == 0 {
		delete(s.byHolder, holderID)
	}
}

func (s *streams) leave(holderID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	s.forget(holderID)
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

// read runs fn, which asks something of the database, when it is its turn, and
// returns what fn does. ctx bounds the wait, and is to bound fn.
func (s *streams) read(ctx context.Context, fn func() (over bool, err error)) (over bool, err error) {
	select {
	case s.reading <- struct{}{}:
		r := <-s.begin(fn)
		return r.over, r.err
	case <-ctx.Done():
		return false, fmt.Errorf("wait for a turn to read: %w", context.Cause(ctx))
	}
}

// begin runs fn for who has sent to reading, and receives from it when fn ends.
func (s *streams) begin(fn func() (over bool, err error)) <-chan result {
	return aside(func() (bool, error) {
		defer func() { <-s.reading }()
		return fn()
	})
}

// note remembers whether a reading failed because the database was away.
func (s *streams) note(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

// mayReread reports whether a stream may read without news now. While readings
// fail, one stream at a time asks whether the database is back.
func (s *streams) mayReread() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.away && now.Before(s.probe) {
		return false
	}
	s.probe = now.Add(rereadBeats * s.pace)
	return true
}

// phase is a number of beats below n that differs from stream to stream, so that
// those that began together do not read together for ever.
func (s *streams) phase(n int) int {
	return rand.N(n) //nolint:gosec // not a secret
}
