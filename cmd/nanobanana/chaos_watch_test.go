package main

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// newWatched is a world that a watch has looked at once.
func newWatched(t *testing.T) (*chaosWorld, *chaosWatch) {
	t.Helper()
	w := newChaosWorld(t)
	watch := newChaosWatch(w.db, []*chaosOrg{{id: "org_1", cap: 2}, {id: "org_2"}})
	if err := watch.look(t.Context(), w.now); err != nil {
		t.Fatal(err)
	}
	return w, watch
}

// revive makes ended generations live, each with a ticket.
const revive = `
	UPDATE generation SET status = 'processing', finished_at = NULL;
	UPDATE river.river_job SET state = 'running', finalized_at = NULL`

func TestChaosWatch_FindsWhatChangesAfterItsEnd(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, sql, want string }{
		{"nothing", `SELECT`, ""},
		{"revived", `UPDATE generation SET status = 'queued', finished_at = NULL WHERE id = 'gen_gone'`, "gen_gone was canceled (fence 1) and is queued (fence 1)"},
		{"another end", `UPDATE generation SET status = 'failed' WHERE id = 'gen_good'`, "gen_good was succeeded (fence 1) and is failed (fence 1)"},
		{"another fence", `UPDATE generation SET fence = 2 WHERE id = 'gen_bad'`, "gen_bad was failed (fence 1) and is failed (fence 2)"},
		{"another time", `UPDATE generation SET finished_at = now() WHERE id = 'gen_bad'`, "gen_bad was failed (fence 1) and is failed (fence 1)"},
		{"gone", `DELETE FROM generation WHERE id = 'gen_late'`, "gen_late had ended and is gone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, watch := newWatched(t)
			w.exec(t, tt.sql)
			for range 2 { // the same is found once
				if err := watch.look(t.Context(), w.now); err != nil {
					t.Fatal(err)
				}
			}
			want := map[string][]string{}
			if tt.want != "" {
				want[seenEndedStays] = []string{tt.want}
			}
			got := watch.seen()
			delete(got, seenCounts) // of what is live again
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("seen (-want +got):\n%s", diff)
			}
		})
	}
}

func TestChaosWatch_FindsTicketsThatStayWrong(t *testing.T) {
	t.Parallel()
	w := newChaosWorld(t)
	watch := newChaosWatch(w.db, nil)
	w.exec(t, revive+`; DELETE FROM river.river_job WHERE args ->> 'id' = 'gen_good';
		INSERT INTO river.river_job (kind, args, queue, max_attempts, state) SELECT kind, args, queue, 1000, 'scheduled' FROM river.river_job WHERE args ->> 'id' = 'gen_bad'`)
	look := func(after time.Duration) []string {
		t.Helper()
		if err := watch.look(t.Context(), w.now.Add(after)); err != nil {
			t.Fatal(err)
		}
		return watch.seen()[seenTickets]
	}
	if got := append(look(0), look(ticketGrace)...); len(got) > 0 {
		t.Errorf("found within the time of a recovery: %v", got)
	}
	watch.forgive()
	if got := append(look(ticketGrace+time.Second), look(2*ticketGrace)...); len(got) > 0 {
		t.Errorf("found although the database was away: %v", got)
	}
	want := []string{"gen_bad: live with 2 live tickets for more than 12s", "gen_good: live with 0 live tickets for more than 12s"}
	if diff := cmp.Diff(want, look(2*ticketGrace+2*time.Second)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}

func TestChaosWatch_FindsMoreThanAPlanAllows(t *testing.T) {
	t.Parallel()
	w := newChaosWorld(t)
	watch := newChaosWatch(w.db, []*chaosOrg{{id: "org_1", cap: 2}})
	steps := []struct {
		name, sql string
		want      []string
	}{
		{"half of them held", revive + `; UPDATE generation SET held_at = now() WHERE id IN ('gen_gone', 'gen_late')`, nil},
		{"half of them batches", `UPDATE generation SET held_at = NULL, queue = CASE WHEN id IN ('gen_gone', 'gen_late') THEN 'batch' ELSE 'generate' END`, nil},
		{"all admitted", `UPDATE generation SET queue = 'batch'`, []string{"org_1 has 4 generations admitted to batch, its plan allows 2"}},
		{"counted as admitted", `UPDATE generation SET held_at = now(); UPDATE admission SET running = 3`, []string{
			"org_1 has 3 generations admitted to generate, its plan allows 2", "org_1 has 4 generations admitted to batch, its plan allows 2"}},
	}
	for _, s := range steps {
		w.exec(t, s.sql)
		if err := watch.look(t.Context(), w.now); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s.want, watch.seen()[seenCaps]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
	}
	if watch.mostHeld != 4 {
		t.Errorf("at most %d were held, want all four in the end", watch.mostHeld)
	}
}

func TestChaosWatch_FindsWrongCounts(t *testing.T) {
	t.Parallel()
	w, watch := newWatched(t)
	w.exec(t, revive+`; UPDATE generation SET held_at = now() WHERE id = 'gen_gone'; UPDATE admission SET running = 3, held = 1`)
	steps := []struct {
		name, sql string
		want      []string
	}{
		{"right", `SELECT`, nil},
		{"one too few", `UPDATE admission SET running = 2`, []string{"org_1 in generate: 2 running and 1 held are counted, 3 and 1 are so"}},
	}
	for _, s := range steps {
		w.exec(t, s.sql)
		if err := watch.look(t.Context(), w.now); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s.want, watch.seen()[seenCounts]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
	}
}

func TestChaosWatch_FindsEventsOutOfTurn(t *testing.T) {
	t.Parallel()
	w, watch := newWatched(t)
	steps := []struct {
		name, sql string
		want      []string
	}{
		{"right", `SELECT`, nil},
		{"one behind a higher one", `DELETE FROM event WHERE sequence = 3`, []string{"org_1 has 10 events to be seen, up to number 11, and counts 11"}},
		{"none, and none counted", `DELETE FROM event; UPDATE event_sequence SET last = 0`, []string{"org_1 has 10 events to be seen, up to number 11, and counts 11"}},
	}
	for _, s := range steps {
		w.exec(t, s.sql)
		if err := watch.look(t.Context(), w.now); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s.want, watch.seen()[seenNumbers]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
	}
}

func TestChaosWatch_FindsAProcessThatEndsByItself(t *testing.T) {
	t.Parallel()
	w := newChaosWorld(t)
	watch := newChaosWatch(w.db, nil)
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	dir := t.TempDir()
	// It says that it is ready and ends: the version has its word last.
	c, err := startChild(ctx, dir, "worker1", "", []string{asProgram + "=1"}, "version")
	if err != nil {
		t.Fatal(err)
	}
	<-c.done
	killed := &chaosMember{role: roleWorker, index: 1, child: c, hurt: true}
	ended := &chaosMember{role: roleWorker, index: 0, child: c}
	done := make(chan struct{})
	go func() {
		defer close(done)
		watch.run(ctx, []*chaosMember{killed, ended})
	}()
	eventually(t, "what is found", func() bool { return len(watch.seen()) > 0 })
	stop()
	<-done
	if diff := cmp.Diff([]string{seenProcesses}, slices.Collect(maps.Keys(watch.seen()))); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}

func TestChaosRecovery(t *testing.T) {
	t.Parallel()
	w := newChaosWorld(t)
	w.exec(t, revive+`; UPDATE generation SET worker = 'worker-2' WHERE id = 'gen_late'`)
	r := newChaosRecovery(w.db)
	r.struck(t.Context(), 0, "worker-1", w.now)
	if _, waiting, _ := r.figures(); waiting != 3 {
		t.Fatalf("%d generations wait, want the worker's three", waiting)
	}
	r.seen("gen_good", 1, store.StatusProcessing, false, w.now.Add(time.Second)) // still the dead worker's
	r.seen("gen_good", 2, store.StatusProcessing, false, w.now.Add(6*time.Second))
	r.seen("gen_good", 3, store.StatusProcessing, false, w.now.Add(9*time.Second)) // recovered before
	r.seen("gen_bad", 1, store.StatusQueued, false, w.now.Add(time.Second))        // handed back by its run
	r.seen("gen_late", 2, store.StatusProcessing, false, w.now.Add(time.Second))   // another worker's
	w.exec(t, `UPDATE generation SET status = 'succeeded', finished_at = now()`)
	if err := r.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	took, waiting, missed := r.figures()
	if took.N != 2 || took.Max != 6000 || waiting != 0 || missed != 0 {
		t.Errorf("figures = %+v, %d, %d; want two, the slower after 6 s, and none left", took, waiting, missed)
	}
}

func TestChaosRecovery_StruckAgain(t *testing.T) {
	t.Parallel()
	w := newChaosWorld(t)
	w.exec(t, revive)
	r := newChaosRecovery(w.db)
	r.struck(t.Context(), 0, "worker-1", w.now)
	w.exec(t, `UPDATE generation SET worker = 'worker-2', fence = 2 WHERE id = 'gen_good'`)
	r.struck(t.Context(), 1, "worker-2", w.now.Add(4*time.Second))
	took, waiting, _ := r.figures()
	if took.N != 1 || took.Max != 4000 || waiting != 4 {
		t.Errorf("figures = %+v, %d waiting; want the first recovery, after 4 s, and four that wait", took, waiting)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	r.struck(gone, 0, "worker-1", w.now)
	if _, _, missed := r.figures(); missed != 1 {
		t.Errorf("%d blows without an answer of the database, want 1", missed)
	}
}

// A worker that thaws before its ticket was taken goes on with its run.
func TestChaosRecovery_Thawed(t *testing.T) {
	t.Parallel()
	w := newChaosWorld(t)
	w.exec(t, revive+`; UPDATE river.river_job SET attempted_by = '{worker-1}'`)
	r := newChaosRecovery(w.db)
	r.struck(t.Context(), 0, "worker-1", w.now)
	steps := []struct {
		name, sql string
		waiting   int
	}{
		{"frozen", `UPDATE worker SET seen_at = now()`, 4},
		{"thawed, and one ticket taken", `
			UPDATE worker SET seen_at = now() + interval '6 seconds';
			UPDATE river.river_job SET state = 'cancelled', finalized_at = now() WHERE args ->> 'id' = 'gen_bad'`, 1},
	}
	for _, s := range steps {
		w.exec(t, s.sql)
		if err := r.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, waiting, _ := r.figures(); waiting != s.waiting {
			t.Errorf("%s: %d wait, want %d", s.name, waiting, s.waiting)
		}
	}
	left := slices.DeleteFunc(r.all(), func(r chaosRecovered) bool { return !r.until.IsZero() })
	if want := []chaosRecovered{{generation: "gen_bad", since: w.now}}; !slices.Equal(want, left) {
		t.Errorf("left are %+v, want %+v", left, want)
	}
}
