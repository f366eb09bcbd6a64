package worker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/localpg"
	"github.com/nanobanana/nanobanana/worker"
)

// waysApart opens the database for a worker in two ways that can be cut one by one: true
// is the queue's.
func (b *bundle) waysApart(t *testing.T) (map[bool]*freezer, map[bool]*store.DB) {
	t.Helper()
	ways, dbs := map[bool]*freezer{}, map[bool]*store.DB{}
	for _, queue := range []bool{true, false} {
		ways[queue] = startFreezer(t, b.db)
		db, err := store.Open(t.Context(), ways[queue].address, store.Options{Queue: queue, MaxConns: 6})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(db.Close)
		dbs[queue] = db
	}
	return ways, dbs
}

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
			ways, dbs := b.waysApart(t)
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
			b.wantTicketsSoon(t, id, "completed", 8*time.Second)
			if g.Status != store.StatusSucceeded || b.calls(prompt) != 1 {
				t.Errorf("it has %s after %d calls; want success after one", g.Status, b.calls(prompt))
			}
		})
	}
}

// The queue does not wait until the disk has what it writes. What a crash of the
// database takes of that, a worker finds out: the run has ended, and is not run again.
func TestRecover_TheQueuesWordIsLostInACrash(t *testing.T) {
	t.Parallel()
	server, err := localpg.Start(t.Context(), localpg.Options{Ephemeral: true, Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.Background()) })
	db, err := store.Open(t.Context(), server.URL(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{`ALTER SYSTEM SET wal_writer_delay = '10s'`, `ALTER SYSTEM SET autovacuum = off`, `SELECT pg_reload_conf()`} {
		if _, err := db.Pool().Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	b := setupOn(t, db)
	ways, dbs := b.waysApart(t)
	b.start(t, func(o *worker.Options) { o.DB, o.QueueDB = dbs[false], dbs[true] })
	prompt, id, lost := "", "", false
	for try := 0; !lost; try++ {
		if try == 5 {
			t.Fatal("no crash has taken anything: the test shows nothing")
		}
		prompt = fmt.Sprint("[[sim:slow ms=1500]] ", try)
		id = b.submit(t, jobs.GenerationRequest{Prompt: prompt}).ID
		b.until(t, id, func(*store.Generation) bool { return b.calls(prompt) == 1 })
		ways[true].mu.Lock()
		b.ended(t, id)
		ways[false].mu.Lock() // no heartbeat takes it to the disk; what Postgres writes by itself may
		ways[true].mu.Unlock()
		b.wantTicketsSoon(t, id, "completed", 10*time.Second)
		if err := server.Crash(t.Context()); err != nil {
			t.Fatal(err)
		}
		db.Pool().Reset()
		lost = b.tickets(t, id) == "running"
		ways[false].mu.Unlock()
	}
	b.wantTicketsSoon(t, id, "completed", 30*time.Second)
	g, err := b.db.Generation(t.Context(), b.project.ID, id)
	if err != nil || g.Status != store.StatusSucceeded || b.calls(prompt) != 1 {
		t.Errorf("it is %+v, %v after %d calls; want success after one", g, err, b.calls(prompt))
	}
}

// wantTicketsSoon waits until the tickets of a generation are in these states.
func (b *bundle) wantTicketsSoon(t *testing.T, id, want string, within time.Duration) {
	t.Helper()
	tickets := ""
	for began := time.Now(); tickets != want; <-time.After(20 * time.Millisecond) {
		if time.Since(began) > within {
			t.Fatalf("after %v the tickets are %q, want %q", within, tickets, want)
		}
		tickets = b.tickets(t, id)
	}
}
