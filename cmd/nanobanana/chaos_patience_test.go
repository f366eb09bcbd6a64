package main

import (
	"context"
	"testing"
	"time"
)

func TestChaosPatience(t *testing.T) {
	t.Parallel()
	type look struct {
		after time.Duration // since it began to wait
		ended int
	}
	for name, c := range map[string]struct {
		looks []look
		want  bool // after the last of them; not after any before
	}{
		"too early to wait":  {[]look{{-time.Hour, 0}, {-time.Minute, 10}}, false},
		"a while":            {[]look{{0, 10}, {chaosStall - 1, 10}}, false},
		"nothing moves":      {[]look{{-time.Second, 10}, {chaosStall, 10}}, true},
		"nothing ever moved": {[]look{{chaosStall, 0}}, true},
		"it moves slowly": {[]look{
			{0, 10}, {chaosStall - 1, 11}, {2*chaosStall - 2, 12}, {3*chaosStall - 4, 12},
		}, false},
		"it stops moving":       {[]look{{chaosStall - 1, 11}, {2*chaosStall - 1, 11}}, true},
		"nobody asked for long": {[]look{{0, 10}, {3 * chaosStall, 11}}, false},
		"it moves on for good":  {[]look{{0, 10}, {chaosCeiling - 1, 500}, {chaosCeiling, 501}}, true},
		"fewer are no progress": {[]look{{0, 10}, {time.Second, 11}, {chaosStall, 10}, {chaosStall + time.Second, 11}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			p := newChaosPatience(began)
			for i, l := range c.looks {
				if got, want := p.over(l.ended, began.Add(l.after)), c.want && i == len(c.looks)-1; got != want {
					t.Errorf("after %s with %d ended it is over: %t, want %t", l.after, l.ended, got, want)
				}
			}
		})
	}
}

// A generation that ends while customers wait keeps them waiting; a database that
// is away does not.
func TestChaosRun_LosesPatience(t *testing.T) {
	t.Parallel()
	w := newChaosWorld(t)
	r := &chaosRun{rig: &chaosRig{db: w.db}}
	impatient := newChaosPatience(time.Now().Add(-chaosStall))
	if r.outOf(t.Context(), impatient) {
		t.Error("ended generations are no progress")
	}
	impatient.moved = impatient.began
	w.exec(t, revive)
	if !r.outOf(t.Context(), impatient) {
		t.Error("patience has no end")
	}
	r.losePatience(t.Context(), time.Now().Add(-chaosStall)) // or the test never ends
	gone, stop := context.WithCancel(t.Context())
	stop()
	if !r.outOf(gone, newChaosPatience(time.Now().Add(-chaosStall))) {
		t.Error("a database that is away is progress")
	}
}
