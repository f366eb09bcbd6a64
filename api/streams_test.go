package api

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestStreams_ReadSeldomWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	s := newStreams(1, time.Hour)
	allowed := func() (n int) {
		for range 10 {
			if s.mayReread() {
				n++
			}
		}
		return n
	}
	if n := allowed(); n != 10 {
		t.Errorf("%d of 10 may read, want all", n)
	}
	s.note(true)
	if n := allowed(); n != 0 {
		t.Errorf("while the database is away %d of 10 may read at once", n)
	}
	s.probe = time.Now() // the pause is over
	if n := allowed(); n != 1 {
		t.Errorf("after a pause %d may ask whether it is back, want 1", n)
	}
	s.note(false)
	if n := allowed(); n != 10 {
		t.Errorf("when it is back %d of 10 may read, want all", n)
	}
}

func TestStreams_ReadWaitsNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	s := newStreams(1, time.Hour)
	for range maxReading {
		s.reading <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := s.read(ctx, func() (bool, error) { return true, errors.New("it was not its turn") })
	if !isAway(err) {
		t.Errorf("%v, want the end of its time", err)
	}
	<-s.reading
	if over, err := s.read(t.Context(), func() (bool, error) { return true, nil }); !over || err != nil {
		t.Errorf("in its turn: %v, %v", over, err)
	}
	if over, err := s.read(t.Context(), func() (bool, error) { panic("x") }); over || err == nil {
		t.Errorf("after a panic: %v, %v", over, err)
	}
	s.reading <- struct{}{} // the turn is free again, though fn panicked
}
