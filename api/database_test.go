package api_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// A database that can not be reached is not an error of the caller nor a bug.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	var p *proxy
	b := setup(t, func(o *api.Options) {
		o.DB, p = behindProxy(t, o.DB)
		o.Keys = auth.NewKeys(auth.Options{DB: o.DB, DatabaseSecret: "database secret"})
	})
	id := b.submit(b.live, `{"prompt":"x"}`)
	p.cut()
	for name, c := range map[string]struct{ key, path string }{
		"KnownKey":   {b.live, "/v1/generations/" + id},
		"UnknownKey": {b.other, "/v1/generations/" + id},
		"Signature":  {"", "/v1/images/" + store.ImageID(id, 0) + "/content?sig=" + b.signer.Sign(store.ImageID(id, 0))},
	} {
		a := b.do(c.key, "GET", c.path, "")
		want := []any{503, "service_unavailable", true, "2", "2000", "true"}
		got := []any{a.status, a.code(), a.json["retryable"], a.header.Get("Retry-After"), a.header.Get("Retry-After-Ms"), a.header.Get("X-Should-Retry")}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s\n%s", name, diff, b.log)
		}
	}
	if a := b.do("", "GET", "/readyz", ""); a.status != 503 || !strings.Contains(a.body, "database") {
		t.Errorf("/readyz: %d %s", a.status, a.body)
	}
	if a := b.do("", "GET", "/livez", ""); a.status != 200 {
		t.Errorf("/livez: %d", a.status)
	}
}

// A database that takes what is sent and says nothing must not hold callers.
func TestDatabaseHangs(t *testing.T) {
	t.Parallel()
	b := setupDistant(t, 300*time.Millisecond, nil)
	id := b.submitted()
	image := store.ImageID(id, 0)
	b.proxy.hang()
	for name, route := range map[string]string{
		"Get": "GET /v1/generations/" + id, "Wait": "GET /v1/generations/" + id + "?wait=30", "List": "GET /v1/generations",
		"Image": "GET /v1/images/" + image + "/content", "Signature": "GET /v1/images/" + image + "/content?sig=" + b.signer.Sign(image),
	} {
		method, target, _ := strings.Cut(route, " ")
		start := time.Now()
		a := b.do(b.live, method, target, "")
		if took := time.Since(start); a.status != 503 || a.code() != "service_unavailable" || took > 5*time.Second {
			t.Errorf("%s: %d %s after %s", name, a.status, a.code(), took)
		}
	}
}

// A list that takes too long is told from a database that is away: asking again
// would take as long.
func TestListTooSlow(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		timeout   time.Duration
		statement string
	}{
		"OurDeadline":  {300 * time.Millisecond, "20s"},
		"ItsTimeLimit": {10 * time.Second, "300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var slow *store.DB
			b := setup(t, func(o *api.Options) {
				slow, _ = behindProxy(t, o.DB)
				o.DB, o.QueryTimeout = slow, c.timeout
			})
			b.do(b.live, "GET", "/v1/generations", "")
			for _, conn := range slow.Pool().AcquireAllIdle(t.Context()) {
				_, err := conn.Exec(t.Context(), "SET statement_timeout = '"+c.statement+"'")
				conn.Release()
				b.must(err)
			}
			b.must(b.db.Transact(t.Context(), func(tx *store.DB) error {
				if _, err := tx.Tx().Exec(t.Context(), "LOCK TABLE generation IN ACCESS EXCLUSIVE MODE"); err != nil {
					return err
				}
				a := b.do(b.live, "GET", "/v1/generations?q=x", "")
				want := []any{422, "query_too_slow", false, ""}
				got := []any{a.status, a.code(), a.json["retryable"], a.header.Get("Retry-After")}
				if diff := cmp.Diff(want, got); diff != "" || !strings.Contains(a.body, "created_after") {
					t.Errorf("(-want +got):\n%s\n%s", diff, a.body)
				}
				return nil
			}))
		})
	}
}

// Who leaves while the database works is no error of ours.
func TestCallerLeavesDuringAQuery(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.do(b.live, "GET", "/v1/models", "") // the key is known
	b.must(b.db.Transact(t.Context(), func(tx *store.DB) error {
		if _, err := tx.Tx().Exec(t.Context(), "LOCK TABLE generation IN ACCESS EXCLUSIVE MODE"); err != nil {
			return err
		}
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan struct{})
		go func() {
			defer close(left)
			_, _ = b.try(ctx, b.live, "GET", "/v1/generations", "") // its error is the point
		}()
		b.eventually("the query waits", func() bool { return b.db.Pool().Stat().AcquiredConns() == 2 })
		leave()
		<-left
		b.eventually("the server ends the request", func() bool { return strings.Contains(b.log.String(), `"status":499`) })
		return nil
	}))
	if strings.Contains(b.log.String(), "ERROR") {
		t.Errorf("the log counts it as ours: %s", b.log)
	}
}

// proxy stands before a database.
type proxy struct {
	hang func() // lets nothing more through
	cut  func() // closes every connection and takes no new one
}

// behindProxy opens a second way to a database.
func behindProxy(t *testing.T, db *store.DB) (*store.DB, *proxy) {
	t.Helper()
	config := db.Pool().Config().ConnConfig
	dir, err := os.MkdirTemp("", "pg") // short: a socket's path may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	socket := fmt.Sprintf("/.s.PGSQL.%d", config.Port)
	listener, err := net.Listen("unix", dir+socket)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	var running sync.WaitGroup
	hung, gone := make(chan struct{}), make(chan struct{})
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", config.Host+socket)
			if err != nil {
				_ = client.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, client, server)
			mu.Unlock()
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, valve{from, hung, gone})
				_ = to.Close()
			}
			running.Go(func() { pass(server, client) })
			running.Go(func() { pass(client, server) })
		}
	})
	p := &proxy{hang: sync.OnceFunc(func() { close(hung) })}
	p.cut = sync.OnceFunc(func() {
		close(gone)
		_ = listener.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			_ = c.Close()
		}
	})
	t.Cleanup(func() {
		p.cut()
		running.Wait()
		_ = os.RemoveAll(dir)
	})
	there := "host=" + url.QueryEscape(config.Host)
	proxied, err := store.Open(t.Context(), strings.Replace(storetest.URL(db), there, "host="+url.QueryEscape(dir), 1), store.Options{Name: "proxied"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxied.Close)
	return proxied, p
}

// valve is a connection that passes nothing on once it is shut.
type valve struct {
	io.Reader
	shut, gone <-chan struct{}
}

func (v valve) Read(p []byte) (int, error) {
	n, err := v.Reader.Read(p)
	select {
	case <-v.shut:
		<-v.gone
		return 0, io.EOF
	default:
		return n, err
	}
}
