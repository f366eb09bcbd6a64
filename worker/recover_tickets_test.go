package worker_test

import (
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/worker"
)

// The queue writes that a ticket is done a moment after its run has ended, out of
// the worker's memory. If that never arrives, because the worker dies or only its
// way to the queue is cut, the ticket is completed all the same, and nothing is run
// again for it.
func TestRecover_ARunThatEndedUnknownToTheQueue(t *testing.T) {
	t.Parallel()
	for name, dies := range map[string]bool{"Dead": true, "Living": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupIdle(t)
			ways := map[bool]*freezer{}
			dbs := map[bool]*store.DB{}
			for _, queue := range []bool{true, false} {
				ways[queue] = startFreezer(t, b.db)
				db, err := store.Open(t.Context(), ways[queue].address, store.Options{Queue: queue, MaxConns: 6})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(db.Close)
				dbs[queue] = db
			}
			b.start(t, func(o *worker.Options) { o.DB, o.QueueDB, o.ID = dbs[false], dbs[true], "cut off" })
			prompt := "[[sim:slow ms=1500]] x"
			id := b.submit(t, jobs.GenerationRequest{Prompt: prompt}).ID
			b.until(t, id, func(*store.Generation) bool { return b.calls(prompt) == 1 })
			b.start(t, func(o *worker.Options) { o.ID = "other" })
			ways[true].mu.Lock()
			defer ways[true].mu.Unlock()
			g := b.ended(t, id)
			if dies {
				ways[false].mu.Lock()
				defer ways[false].mu.Unlock()
			}
			if tickets := b.tickets(t, id); tickets != "running" {
				t.Fatalf("the ticket is %s, want it running still", tickets)
			}
			tickets, ended := "", time.Now()
			for tickets != "completed" && time.Since(ended) < 8*time.Second {
				tickets = b.tickets(t, id)
				<-time.After(20 * time.Millisecond)
			}
			if tickets != "completed" || g.Status != store.StatusSucceeded || b.calls(prompt) != 1 {
				t.Errorf("its tickets are %q, it has %s after %d calls; want it completed, and success after one", tickets, g.Status, b.calls(prompt))
			}
		})
	}
}
