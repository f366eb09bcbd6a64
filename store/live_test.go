package store_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// runLive runs live until the function it returns is called.
func runLive(t *testing.T, live *store.Live) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); live.Run(ctx) }()
	return func() { cancel(); <-ended }
}

func TestLive_WakesWaitersOfTheEnded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g, other := b.queued(t, nil), b.queued(t, nil)
	keys := make(chan []string, 10)
	live := store.NewLive(store.LiveOptions{URL: storetest.URL(b.DB), OnKeys: func(ids []string) { keys <- ids }})
	defer runLive(t, live)()
	if first := <-keys; first != nil {
		t.Fatalf("on connecting keys %v changed, want nil for all", first)
	}

	news, done := live.Generation(g.ID)
	defer done()
	silent, doneSilent := live.Generation(other.ID)
	defer doneSilent()
	b.finish(t, succeeded(b.claim(t, g.ID)))
	<-news
	select {
	case <-silent:
		t.Error("a waiter of another generation was woken")
	default:
	}
	key, err := b.CreateAPIKey(t.Context(), store.APIKey{OrgID: b.project.OrgID, ProjectID: &b.project.ID, Name: "k", Kind: "live", Hash: []byte("h"), Last4: "abcd"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.RevokeAPIKey(t.Context(), b.project.OrgID, key.ID); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{key.ID}, <-keys); diff != "" {
		t.Errorf("changed keys differ (-want +got):\n%s", diff)
	}
}

func TestLive_WakesFollowersOfEachEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g, other := b.queued(t, nil), b.queued(t, nil)
	listening := make(chan []string, 10)
	live := store.NewLive(store.LiveOptions{URL: storetest.URL(b.DB), OnKeys: func(ids []string) { listening <- ids }})
	defer runLive(t, live)()
	<-listening
	events, done := live.Events(g.ID)
	defer done()
	end, doneEnd := live.Generation(g.ID)
	defer doneEnd()
	silent, doneSilent := live.Events(other.ID)
	defer doneSilent()
	c := b.claim(t, g.ID)
	receive(t, events, "news of the start")
	b.progress(t, store.Progress{GenerationID: g.ID, Fence: c.Fence, Step: 1})
	receive(t, events, "news of progress")
	select {
	case <-end:
		t.Error("who waits for the end was woken before")
	default:
	}
	b.progress(t, store.Progress{GenerationID: g.ID, Fence: c.Fence, Step: 1}) // is told already
	b.finish(t, succeeded(c))
	receive(t, end, "the end")
	receive(t, events, "the end, for a follower")
	select {
	case <-end:
		t.Error("who waits for the end was woken before")
	case <-events:
		t.Error("a follower was woken without news")
	case <-silent:
		t.Error("a follower of another generation was woken")
	default:
	}
}

// frail is a way to Postgres that can fall silent without a word.
type frail struct {
	url    string
	server string // socket
	began  chan struct{}
	asked  chan struct{} // each message to the server

	mu    sync.Mutex
	conns []*frailConn
}

type frailConn struct {
	client, server net.Conn
	frozen         atomic.Bool
}

func startFrail(t *testing.T, db *store.DB) *frail {
	t.Helper()
	cfg := db.Pool().Config().ConnConfig
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &frail{
		server: filepath.Join(cfg.Host, ".s.PGSQL."+strconv.Itoa(int(cfg.Port))),
		began:  make(chan struct{}, 100), asked: make(chan struct{}, 1000),
	}
	to := url.URL{Scheme: "postgres", User: url.User(cfg.User), Host: ln.Addr().String(), Path: "/" + cfg.Database, RawQuery: "sslmode=disable"}
	f.url = to.String()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { f.serve(client) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		f.mu.Lock()
		for _, c := range f.conns {
			_, _ = c.client.Close(), c.server.Close()
		}
		f.mu.Unlock()
		serving.Wait()
	})
	return f
}

func (f *frail) serve(client net.Conn) {
	server, err := net.Dial("unix", f.server)
	if err != nil {
		_ = client.Close()
		return
	}
	c := &frailConn{client: client, server: server}
	f.mu.Lock()
	f.conns = append(f.conns, c)
	f.mu.Unlock()
	f.began <- struct{}{}
	var answers sync.WaitGroup
	answers.Go(func() { c.pass(client, server, func() {}) })
	c.pass(server, client, func() { f.asked <- struct{}{} })
	answers.Wait()
}

// pass forwards until either side ends or the connection is frozen. Then both
// sides stay open, and hear nothing.
func (c *frailConn) pass(to io.Writer, from io.Reader, passed func()) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if !c.frozen.Load() {
			_, _ = to.Write(buf[:n])
			passed()
		}
	}
}

// freeze silences the connections that there are.
func (f *frail) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		c.frozen.Store(true)
	}
}

// receive waits for a value.
func receive[T any](t *testing.T, ch <-chan T, what string) (value T) {
	t.Helper()
	select {
	case value = <-ch:
	case <-time.After(20 * time.Second):
		t.Fatalf("it never came: %s", what)
	}
	return value
}

func TestLive_NoticesADatabaseThatFellSilent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	way := startFrail(t, b.DB)
	listening := make(chan []string, 100)
	live := store.NewLive(store.LiveOptions{URL: way.url, OnKeys: func(ids []string) { listening <- ids }, Quiet: 50 * time.Millisecond})
	defer runLive(t, live)()
	receive(t, way.began, "the first connection")
	receive(t, listening, "its news of the keys")
	g, next := b.queued(t, nil), b.queued(t, nil)
	news, done := live.Generation(g.ID)
	defer done()
	later, doneLater := live.Events(next.ID)
	defer doneLater()

	way.freeze()
	b.finish(t, succeeded(b.claim(t, g.ID)))
	receive(t, way.began, "another connection")
	receive(t, listening, "its news of the keys")
	receive(t, news, "news of the end")
	receive(t, later, "a hint to read again")
	b.claim(t, next.ID)
	receive(t, later, "news over the new connection")
}

func TestLive_StaysConnectedInSilence(t *testing.T) {
	t.Parallel()
	b := setup(t)
	way := startFrail(t, b.DB)
	live := store.NewLive(store.LiveOptions{URL: way.url, Quiet: time.Second})
	defer runLive(t, live)()
	receive(t, way.began, "the first connection")
	g := b.queued(t, nil)
	news, done := live.Generation(g.ID)
	defer done()
	for range 5 { // half a second apart
		receive(t, way.asked, "a question whether it is there")
	}
	b.finish(t, succeeded(b.claim(t, g.ID)))
	receive(t, news, "news of the end")
	if len(way.began) > 0 {
		t.Error("it connected anew")
	}
}

func TestLive_PulsesInSilenceAndUnderTraffic(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pulses := make(chan time.Time, 10_000)
	live := store.NewLive(store.LiveOptions{URL: storetest.URL(b.DB), OnPulse: func() { pulses <- time.Now() }})
	defer runLive(t, live)()
	for range 3 {
		receive(t, pulses, "a pulse in silence")
	}
	traffic, stop := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	defer busy.Wait()
	defer stop()
	busy.Go(func() {
		for tick := time.NewTicker(50 * time.Millisecond); traffic.Err() == nil; <-tick.C {
			_, _ = b.Pool().Exec(traffic, `SELECT pg_notify('nanobanana_event', 'gen_1')`)
		}
	})
	last := receive(t, pulses, "a pulse")
	for end := last.Add(3 * time.Second); last.Before(end); {
		next := receive(t, pulses, "a pulse under traffic")
		if apart := next.Sub(last); apart > 1500*time.Millisecond {
			t.Fatalf("pulses are %v apart under traffic", apart)
		}
		last = next
	}
}
