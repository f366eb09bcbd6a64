package worker_test

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
	"github.com/nanobanana/nanobanana/worker"
)

// freezer is a way to Postgres that can be stopped: what is sent then arrives
// when it goes on, as with a frozen process or a switch that has failed.
type freezer struct {
	address string
	mu      sync.RWMutex // locked while frozen
}

func startFreezer(t *testing.T, db *store.DB) *freezer {
	t.Helper()
	cfg := db.Pool().Config().ConnConfig
	socket := filepath.Join(cfg.Host, ".s.PGSQL."+strconv.Itoa(int(cfg.Port)))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &freezer{}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", socket)
			if err != nil {
				_ = client.Close()
				continue
			}
			serving.Go(func() { f.copy(server, client) })
			serving.Go(func() { f.copy(client, server) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); serving.Wait() })
	to := url.URL{Scheme: "postgres", User: url.User(cfg.User), Host: ln.Addr().String(), Path: "/" + cfg.Database, RawQuery: "sslmode=disable"}
	f.address = to.String()
	return f
}

func (f *freezer) copy(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		f.mu.RLock()
		_, writeErr := to.Write(buf[:n])
		f.mu.RUnlock()
		if err != nil || writeErr != nil {
			return
		}
	}
}

// record is a log that a test can wait for.
type record struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

func (r *record) wait(t *testing.T, text string, within time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		r.mu.Lock()
		log := r.buf.String()
		r.mu.Unlock()
		if strings.Contains(log, text) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log does not say %q within %s:\n%s", text, within, log)
		}
	}
}

var _ io.Writer = (*record)(nil)

// startFreezable starts a worker whose every connection to Postgres can be frozen.
func (b *bundle) startFreezable(t *testing.T, id string) (*freezer, *record) {
	t.Helper()
	f, log := startFreezer(t, b.db), &record{}
	db, err := store.Open(t.Context(), f.address, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	queueDB, err := store.Open(t.Context(), f.address, store.Options{Queue: true, MaxConns: 6})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(queueDB.Close)
	b.start(t, func(o *worker.Options) {
		o.DB, o.QueueDB, o.ID, o.Logger = db, queueDB, id, slog.New(slog.NewTextHandler(log, nil))
	})
	return f, log
}

// A worker that is cut off loses its runs to another within 8 s. Back again, it
// neither finishes nor fails nor charges what is no longer its own.
func TestRecover_AFrozenWorkersRunGoesOnElsewhere(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	f, log := b.startFreezable(t, "frozen")
	prompt := "[[sim:hang first=1]] x"
	id := b.submit(t, jobs.GenerationRequest{Prompt: prompt}).ID
	b.until(t, id, func(*store.Generation) bool { return b.calls(prompt) == 1 })
	b.start(t, func(o *worker.Options) { o.ID = "living" })
	b.until(t, id, func(*store.Generation) bool { // the living one may judge
		workers, err := b.db.Workers(t.Context(), time.Minute)
		return err == nil && len(workers) == 2 && workers[1].SeenAt.Sub(workers[1].StartedAt) >= store.WorkerSilence
	})

	f.mu.Lock()
	frozen := time.Now()
	g := b.ended(t, id)
	took := time.Since(frozen)
	f.mu.Unlock()
	if g.Status != store.StatusSucceeded || *g.Worker != "living" || g.Fence != 2 || took > 8*time.Second {
		t.Errorf("got %s by %s under fence %d after %s; want success by the living one under 2 within 8 s", g.Status, *g.Worker, g.Fence, took)
	}
	log.wait(t, "status=superseded", 10*time.Second)
	again := b.until(t, id, func(*store.Generation) bool { return true })
	if again.Fence != 2 || !again.FinishedAt.Equal(*g.FinishedAt) || b.calls(prompt) != 2 || len(b.images(t, g)) != 1 {
		t.Errorf("after thawing it is %+v, %d calls, %d images; want nothing changed, 2 and 1", again, b.calls(prompt), len(b.images(t, g)))
	}
	b.wantTickets(t, id, "cancelled", "completed")
}

// When it is the way to the database that was shut, for all of them, nobody takes
// anything from anybody: the calls under way go on and count.
func TestRecover_NobodyTakesOverAfterAnOutage(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	const runs = 6
	prompt := "[[sim:slow ms=20000]] x"
	var ids []string
	for range runs {
		ids = append(ids, b.submit(t, jobs.GenerationRequest{Prompt: prompt}).ID)
	}
	var freezers []*freezer
	for _, id := range []string{"one", "two"} {
		f, _ := b.startFreezable(t, id)
		freezers = append(freezers, f)
	}
	b.until(t, ids[0], func(*store.Generation) bool {
		workers, err := b.db.Workers(t.Context(), time.Minute)
		return err == nil && len(workers) == 2 && b.calls(prompt) == runs && workers[1].SeenAt.Sub(workers[1].StartedAt) >= store.WorkerSilence
	})
	for _, f := range freezers {
		f.mu.Lock()
	}
	<-time.After(store.WorkerSilence + 2*time.Second) // longer than any may be silent
	for _, f := range freezers {
		f.mu.Unlock()
	}
	for _, id := range ids {
		if g := b.ended(t, id); g.Status != store.StatusSucceeded || g.Fence != 1 {
			t.Errorf("it is %s under fence %d, want success under the first", g.Status, g.Fence)
		}
	}
	if n := b.calls(prompt); n != runs {
		t.Errorf("%d calls were made for %d images", n, runs)
	}
}

// A worker whose application waits for its connections is alive all the same.
func TestRecover_ABusyPoolIsNoSilence(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	busy, err := store.Open(t.Context(), storetest.URL(b.db), store.Options{MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(busy.Close)
	b.start(t, func(o *worker.Options) { o.DB, o.Live = busy, b.threeRoutes(t) })
	var sleeping sync.WaitGroup
	for range 4 {
		sleeping.Go(func() { _, _ = busy.Pool().Exec(t.Context(), `SELECT pg_sleep(3)`) })
	}
	asleep := make(chan struct{})
	go func() { sleeping.Wait(); close(asleep) }()
	var longest time.Duration
	for {
		var silence time.Duration
		if err := b.db.Pool().QueryRow(t.Context(), `SELECT now() - seen_at FROM worker`).Scan(&silence); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, silence)
		select {
		case <-asleep:
			if longest > 2500*time.Millisecond {
				t.Errorf("it was silent for %s", longest)
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// wantTickets waits until the tickets of a generation, in order, have these states.
func (b *bundle) wantTickets(t *testing.T, id string, want ...string) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if got = b.tickets(t, id); got == strings.Join(want, " ") {
			return
		}
	}
	t.Errorf("the tickets are %q, want %q", got, want)
}

// tickets are the states of a generation's tickets, in order.
func (b *bundle) tickets(t *testing.T, id string) (states string) {
	t.Helper()
	err := b.db.Pool().QueryRow(t.Context(),
		`SELECT coalesce(string_agg(state::text, ' ' ORDER BY id), '') FROM river.river_job WHERE args ->> 'id' = $1`, id).Scan(&states)
	if err != nil {
		t.Fatal(err)
	}
	return states
}

// strand makes a ticket that a worker took and never worked on.
func (b *bundle) strand(t *testing.T, id, workerID string) {
	t.Helper()
	tag, err := b.db.Pool().Exec(t.Context(), `
		UPDATE river.river_job
		SET state = 'running', attempt = 1, attempted_at = now(), attempted_by = ARRAY[$2]
		WHERE args ->> 'id' = $1`, id, workerID)
	if err != nil || tag.RowsAffected() != 1 {
		t.Fatalf("strand %s: %v, %v", id, tag, err)
	}
}

func TestRecover_TicketsThatNobodyWorksOn(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	dead := b.submit(t, jobs.GenerationRequest{Prompt: "of a dead worker"}).ID
	own := b.submit(t, jobs.GenerationRequest{Prompt: "whose fetch was not heard"}).ID
	b.strand(t, dead, "dead")
	b.strand(t, own, "living")
	if _, err := b.db.Pool().Exec(t.Context(), `
		INSERT INTO worker (id, slots, batch_slots, seen_at) VALUES ('dead', 1, 1, now() - interval '5 seconds')`); err != nil {
		t.Fatal(err)
	}
	b.start(t, func(o *worker.Options) { o.ID = "living" })
	for _, id := range []string{dead, own} {
		if g := b.ended(t, id); g.Status != store.StatusSucceeded || *g.Worker != "living" {
			t.Errorf("%s is %s by %s", g.Prompt, g.Status, *g.Worker)
		}
		b.wantTickets(t, id, "cancelled", "completed")
	}
}

// A ticket of a worker that nobody knows is left alone: it may be of a version
// without a heartbeat.
func TestRecover_LeavesAnUnknownWorkersTicket(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	id := b.submit(t, jobs.GenerationRequest{Prompt: "x"}).ID
	b.strand(t, id, "of an older version")
	beats, err := b.db.Beats(t.Context())
	if err != nil || len(beats) != 0 {
		t.Fatal(beats, err)
	}
	tickets, err := b.db.SilentTickets(t.Context(), beats)
	if err != nil || len(tickets) != 0 {
		t.Errorf("tickets %v would be taken, %v; want none", tickets, err)
	}
}

func TestReconcile_ALostTicket(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	id := b.submit(t, jobs.GenerationRequest{Prompt: "x"}).ID
	if _, err := b.db.Pool().Exec(t.Context(), `DELETE FROM river.river_job WHERE args ->> 'id' = $1`, id); err != nil {
		t.Fatal(err)
	}
	b.start(t, nil) // reconciles on starting
	if g := b.ended(t, id); g.Status != store.StatusSucceeded {
		t.Errorf("got %s, %+v", g.Status, g.Error)
	}
	b.wantTickets(t, id, "completed")
}

// The heartbeat tells a run that its generation was canceled even when the news
// of it was lost.
func TestCancel_WithoutTheNews(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	log := &record{}
	b.start(t, func(o *worker.Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	prompt := "[[sim:hang]] x"
	id := b.submit(t, jobs.GenerationRequest{Prompt: prompt}).ID
	b.until(t, id, func(*store.Generation) bool { return b.calls(prompt) == 1 })
	if _, ended, err := b.db.CancelGeneration(t.Context(), b.project.ID, id); err != nil || !ended {
		t.Fatalf("cancel: %t, %v", ended, err)
	}
	log.wait(t, "status=superseded", 2*time.Second)
	if b.calls(prompt) != 1 {
		t.Errorf("the provider was called %d times, want once", b.calls(prompt))
	}
}

func TestStop_LeavesNoWorkerRow(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	w := b.start(t, nil)
	if workers, err := b.db.Workers(t.Context(), time.Minute); err != nil || len(workers) != 1 || workers[0].Slots != 50 {
		t.Fatalf("workers are %+v, %v", workers, err)
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if workers, err := b.db.Workers(t.Context(), time.Minute); err != nil || len(workers) != 0 {
		t.Errorf("after stopping workers are %+v, %v", workers, err)
	}
}
