package worker

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// Who is silent, and who is first, follows from what was heard and when.
func TestWatch_Hear(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	v := watch{beats: map[string]heard{}, orphans: map[int64]time.Time{}}
	beat := func(id string, n int) store.Silence {
		return store.Silence{Worker: id, SeenAt: start.Add(time.Duration(n) * time.Second)}
	}
	for _, c := range []struct {
		what   string
		after  time.Duration
		beats  []store.Silence
		silent []string
		first  bool
	}{
		{"all are heard", 0, []store.Silence{beat("a", 0), beat("b", 0), beat("c", 0)}, nil, false},
		{"a falls silent", 4 * time.Second, []store.Silence{beat("a", 0), beat("b", 4), beat("c", 4)}, nil, false},
		{"for long", store.WorkerSilence, []store.Silence{beat("a", 0), beat("b", 5), beat("c", 5)}, []string{"a"}, true},
		{"it goes on", store.WorkerSilence + time.Second, []store.Silence{beat("a", 6), beat("b", 6), beat("c", 6)}, nil, false},
		{"and leaves", 10 * time.Second, []store.Silence{beat("b", 10), beat("c", 10)}, nil, true},
		{"a step of the database's clock is no silence", 11 * time.Second, []store.Silence{beat("b", 900), beat("c", 900)}, nil, true},
		{"this one is never silent to itself", 30 * time.Second, []store.Silence{beat("b", 900), beat("c", 901)}, nil, true},
	} {
		silent, first := v.hear(c.beats, "b", start.Add(c.after))
		var ids []string
		for _, s := range silent {
			ids = append(ids, s.Worker)
		}
		if diff := cmp.Diff(c.silent, ids); diff != "" || first != c.first {
			t.Errorf("%s: first is %t, silent differ (-want +got):\n%s", c.what, first, diff)
		}
	}
	if _, known := v.beats["a"]; known {
		t.Error("one that has left is remembered")
	}
}

// The watch looks again when a silence becomes long, rather than up to half a second later.
func TestWatch_Rest(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for what, c := range map[string]struct {
		took  time.Duration   // of the look
		heard []time.Duration // before now
		want  time.Duration
	}{
		"nobody is known":            {0, nil, watchEvery},
		"all are heard":              {0, []time.Duration{0, time.Second}, watchEvery},
		"the look took a while":      {watchEvery / 4, []time.Duration{0}, watchEvery * 3 / 4},
		"the look took long":         {time.Minute, []time.Duration{0}, 0},
		"one will have been silent":  {0, []time.Duration{0, store.WorkerSilence - 100*time.Millisecond}, 100 * time.Millisecond},
		"one has been silent enough": {0, []time.Duration{0, store.WorkerSilence, time.Hour}, watchEvery},
	} {
		v := watch{beats: map[string]heard{}}
		for i, ago := range c.heard {
			v.beats[string(rune('a'+i))] = heard{since: now.Add(-ago)}
		}
		if got := v.rest(now.Add(-c.took), now); got != c.want {
			t.Errorf("%s: rest = %s, want %s", what, got, c.want)
		}
	}
}

// A heartbeat that failed is repeated soon, and one that took long to fail at once.
func TestNextBeat(t *testing.T) {
	t.Parallel()
	began, failed := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), errors.New("failed")
	for what, c := range map[string]struct {
		took            time.Duration
		err             error
		soonest, latest time.Duration // after it began
	}{
		"it was recorded":         {100 * time.Millisecond, nil, beatEvery, beatEvery},
		"it failed":               {100 * time.Millisecond, failed, 225 * time.Millisecond, 475 * time.Millisecond},
		"it failed after long":    {900 * time.Millisecond, failed, beatEvery, beatEvery},
		"nothing was heard of it": {3 * time.Second, failed, beatEvery, beatEvery},
	} {
		if got := nextBeat(began, began.Add(c.took), c.err).Sub(began); got < c.soonest || got > c.latest {
			t.Errorf("%s: the next is due %s after it, want %s to %s", what, got, c.soonest, c.latest)
		}
	}
}
