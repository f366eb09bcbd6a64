package api_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// distant is a front door behind a proxy of its database, which keys and news do
// not use.
type distant struct {
	*bundle
	proxy  *proxy
	behind *store.DB
	near   string // where the same is served with the database at hand
}

// setupDistant gives what a request or a stream asks of the database so much time.
func setupDistant(t *testing.T, timeout time.Duration, adjust func(*api.Options)) *distant {
	t.Helper()
	d := &distant{}
	var near api.Options
	d.bundle = setup(t, func(o *api.Options) {
		near = *o
		d.behind, d.proxy = behindProxy(t, o.DB)
		o.DB, o.QueryTimeout, o.StreamPace = d.behind, timeout, 5*time.Millisecond
		if adjust != nil {
			adjust(o)
		}
	})
	t.Cleanup(d.proxy.cut) // lets the pool close at once
	d.near = d.secondProcess(t, near)
	return d
}

// submitted is a generation, however little time the front door gives its queries.
func (d *distant) submitted() (id string) {
	d.Helper()
	return d.submitTo(d.near, d.live, `{"prompt":"x"}`)
}

// crowd opens more streams of a generation than read at the same time.
func (d *distant) crowd(id string) []*follower {
	d.Helper()
	list := make([]*follower, 10)
	for i := range list {
		list[i] = d.open(d.live, id)
		d.until(list[i], "status 1")
	}
	return list
}

// hangUp stops the database while streams of a generation read it.
func (d *distant) hangUp(id string) {
	d.Helper()
	d.proxy.hang()
	d.claim(id)
	d.eventually("streams wait for the database", func() bool {
		stat := d.behind.Pool().Stat()
		return stat.AcquiredConns()+stat.ConstructingConns() > 1
	})
}

// until reads to an event, over comments that tell that the stream lives.
func (b *bundle) until(f *follower, want string) {
	b.Helper()
	for {
		s, err := f.next()
		b.must(err)
		switch s.String() {
		case want:
			return
		case "alive":
		default:
			b.Fatalf("%q, want %q", s, want)
		}
	}
}

// ends reads a stream to its end, which is to come at once.
func (b *bundle) ends(f *follower) string {
	b.Helper()
	text := make(chan string, 1)
	go func() {
		all, err := io.ReadAll(f.text)
		if err != nil {
			all = append(all, err.Error()...)
		}
		text <- string(all)
	}()
	select {
	case all := <-text:
		return all
	case <-time.After(time.Minute):
		b.Fatal("the stream does not end")
		return ""
	}
}

func TestStreams_LiveWhileTheDatabaseHangs(t *testing.T) {
	t.Parallel()
	b := setupDistant(t, time.Minute, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	id := b.submitted()
	list := b.crowd(id)
	b.hangUp(id)
	for _, f := range list {
		context.AfterFunc(ctx, func() { _ = f.body.Close() })
		b.wants(f, "alive", "alive", "alive")
	}
}

func TestStreams_DrainWhileTheDatabaseHangs(t *testing.T) {
	t.Parallel()
	b := setupDistant(t, time.Minute, func(o *api.Options) { o.StreamPace = 100 * time.Millisecond })
	id := b.submitted()
	list := b.crowd(id)
	b.hangUp(id)
	close(b.drain)
	for _, f := range list {
		text := strings.ReplaceAll(b.ends(f), ": alive\n\n", "")
		if diff := cmp.Diff("retry: 200\n\n: this server stops; connect again\n\n", text); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestStreams_BeginInTimeWhileTheDatabaseHangs(t *testing.T) {
	t.Parallel()
	b := setupDistant(t, time.Second, nil)
	id := b.submitted()
	b.crowd(id)
	b.hangUp(id)
	refused := make(chan *answer, 20)
	began := time.Now()
	for range cap(refused) {
		go func() {
			a, err := b.try(t.Context(), b.live, "GET", "/v1/generations/"+id+"/events", "")
			if err != nil {
				a = &answer{body: err.Error()}
			}
			refused <- a
		}()
	}
	for range cap(refused) {
		if a := <-refused; a.status != 503 || a.code() != "service_unavailable" || time.Since(began) > 2500*time.Millisecond {
			t.Errorf("%d %s after %s", a.status, a.body, time.Since(began))
		}
	}
}

// Those that wait for the database before they begin count as well.
func TestStreams_CountThoseThatWait(t *testing.T) {
	t.Parallel()
	b := setupDistant(t, time.Minute, func(o *api.Options) { o.MaxKeyStreams = 1 })
	id := b.submitted()
	b.proxy.hang()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	first := make(chan int, 2)
	for range cap(first) {
		go func() {
			f, err := b.follow(ctx, b.live, id)
			if err != nil {
				first <- 0
				return
			}
			_ = f.body.Close()
			first <- f.status
		}()
	}
	if status := <-first; status != http.StatusTooManyRequests {
		t.Errorf("one of two answers %d, want 429 while the other waits", status)
	}
}

// Streams go on where they were when the database is back.
func TestStreams_GoOnAfterAnOutage(t *testing.T) {
	t.Parallel()
	b := setupDistant(t, 2*time.Second, nil)
	id := b.submitted()
	list := b.crowd(id)
	b.must(b.db.Transact(t.Context(), func(tx *store.DB) error {
		if _, err := tx.Tx().Exec(t.Context(), "LOCK TABLE event IN ACCESS EXCLUSIVE MODE"); err != nil {
			return err
		}
		waited := map[int]bool{} // a connection each, closed when a reading has taken too long
		b.eventually("readings that take too long are given up", func() bool {
			waited[b.rows(`SELECT coalesce(min(pid), 0) FROM pg_stat_activity WHERE datname = current_database()
				AND application_name = 'proxied' AND wait_event_type = 'Lock'`)] = true
			delete(waited, 0)
			return len(waited) > 2
		})
		for _, f := range list {
			b.wants(f, "alive", "alive")
		}
		return nil
	}))
	b.claim(id)
	for _, f := range list {
		b.until(f, "status 2")
	}
}

// Who comes back for the rest is not told that this is the end.
func TestStreams_ComeBackWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]bool{"Hangs": false, "Gone": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupDistant(t, 300*time.Millisecond, func(o *api.Options) {
				o.Keys = auth.NewKeys(auth.Options{DB: o.DB, DatabaseSecret: "database secret", DeafTTL: time.Minute})
			})
			id := b.submitted()
			path := "/v1/generations/" + id + "/events"
			b.eventually("its key is known", func() bool { return b.do(b.live, "HEAD", path, "").status == 200 })
			if b.proxy.hang(); cut {
				b.proxy.cut()
			}
			for name, c := range map[string]struct {
				key, method, path, last string
				status                  int
			}{
				"Header":     {b.live, "GET", path, "1", 200},
				"Query":      {b.live, "GET", path + "?last_event_id=1", "", 200},
				"Signature":  {"", "GET", path + "?sig=" + b.signer.SignEvents(id), "1", 200},
				"UnknownKey": {b.other, "GET", path, "1", 200},
				"First":      {b.live, "GET", path, "", 503},
				"Head":       {b.live, "HEAD", path, "1", 503},
				"NoPosition": {b.live, "GET", path, "x", 400},
				"NoKey":      {"", "GET", path, "1", 401},
			} {
				a := b.do(c.key, c.method, c.path, "", "Last-Event-ID: "+c.last)
				const text = "retry: 5000\n\n: the service can not reach its database just now; connect again\n\n"
				if told := a.body == text && a.header.Get("Content-Type") == "text/event-stream"; a.status != c.status || told != (c.status == 200) {
					t.Errorf("%s: %d %q, want %d", name, a.status, a.body, c.status)
				}
			}
			if !strings.Contains(b.log.String(), `"status":200`) || !strings.Contains(b.log.String(), `"error":`) {
				t.Errorf("the log does not say why:\n%s", b.log)
			}
		})
	}
}
