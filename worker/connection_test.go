package worker_test

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
	"github.com/nanobanana/nanobanana/worker"
)

// lossy is a connection to Postgres that lets one message through and loses the
// answer to it.
type lossy struct {
	message []byte // what the message contains
	silent  bool   // the connection stays, and says nothing more
	lost    atomic.Bool
	server  string // socket of the server
}

// startLossy returns the address of a lossy way to a database.
func startLossy(t *testing.T, db *store.DB, message string, silent bool) (address string, l *lossy) {
	t.Helper()
	cfg := db.Pool().Config().ConnConfig
	l = &lossy{message: []byte(message), silent: silent, server: filepath.Join(cfg.Host, ".s.PGSQL."+strconv.Itoa(int(cfg.Port)))}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { l.serve(client) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); serving.Wait() })
	to := url.URL{Scheme: "postgres", User: url.User(cfg.User), Host: ln.Addr().String(), Path: "/" + cfg.Database, RawQuery: "sslmode=disable"}
	return to.String(), l
}

func (l *lossy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("unix", l.server)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	var dropping atomic.Bool
	var answers sync.WaitGroup
	answers.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if dropping.Load() && l.silent {
				return
			}
			if err != nil || dropping.Load() {
				_ = client.Close()
				return
			}
			_, _ = client.Write(buf[:n])
		}
	})
	defer answers.Wait()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			_ = server.Close()
			return
		}
		if bytes.Contains(buf[:n], l.message) && l.lost.CompareAndSwap(false, true) {
			dropping.Store(true)
		}
		if _, err := io.Copy(server, bytes.NewReader(buf[:n])); err != nil {
			return
		}
	}
}

func TestFaults_TheAnswerToAFinishIsLost(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prompt, message string
		calls           int
	}{
		"OfTheEnd":       {"x", `"status":"succeeded"`, 1},
		"OfItsCommit":    {"[[sim:slow ms=300]] x", "COMMIT", 1}, // long enough for the rehearsal
		"OfAnotherRound": {"[[sim:503 first=3]] x", `"status":"queued"`, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupIdle(t)
			address, lost := startLossy(t, b.db, c.message, false)
			db, err := store.Open(t.Context(), address, store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(db.Close)
			b.start(t, func(o *worker.Options) { o.DB, o.FinishHold = db, time.Minute })
			g := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: c.prompt}).ID)
			if g.Status != store.StatusSucceeded || b.calls(c.prompt) != c.calls || len(b.images(t, g)) != 1 || !lost.lost.Load() {
				t.Errorf("got %s after %d calls with %d images, answer lost: %t; want success after %d with one, and it lost",
					g.Status, b.calls(c.prompt), len(b.images(t, g)), lost.lost.Load(), c.calls)
			}
		})
	}
}

func TestFaults_ATableLockedForAWhile(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	prompt := "[[sim:slow ms=200]] x"
	id := b.submit(t, jobs.GenerationRequest{Prompt: prompt}).ID
	b.until(t, id, func(*store.Generation) bool { return b.calls(prompt) == 1 })
	patient, err := store.Open(t.Context(), storetest.URL(b.db), store.Options{Queue: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(patient.Close)
	err = patient.Transact(t.Context(), func(tx *store.DB) error {
		// What building an index takes, for longer than the worker's lock timeout.
		_, err := tx.Tx().Exec(t.Context(), `LOCK TABLE image IN SHARE MODE; SELECT pg_sleep(9)`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	g := b.ended(t, id)
	if g.Status != store.StatusSucceeded || b.calls(prompt) != 1 || len(b.images(t, g)) != 1 {
		t.Errorf("got %s, %+v after %d calls; want success after one", g.Status, g.Error, b.calls(prompt))
	}
}
