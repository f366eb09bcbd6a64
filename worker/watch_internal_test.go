package worker

import (
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
