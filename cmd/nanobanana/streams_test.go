package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// What many streams may cost one api process: this much memory, and no more
// connections to the database than its pool and its listener have.
const (
	manyStreams     = 1000
	streamsOfKey    = 100
	mostStreamBytes = 50 << 20
	mostStreamConns = 17
)

// startAPI is a fleet of one api process, with keys of its own.
func startAPI(t *testing.T, keys int) (f *fleet, p *process, secrets []string) {
	t.Helper()
	f = &fleet{db: storetest.New(t), data: storetest.Dir(t)}
	var err error
	if f.project, err = f.db.CreateFirstProject(t.Context(), "unlimited", nil); err != nil {
		t.Fatal(err)
	}
	secret, err := f.db.Secret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	made := auth.NewKeys(auth.Options{DB: f.db, DatabaseSecret: secret})
	for range keys {
		key, _, err := made.Create(t.Context(), nil, auth.NewKey{OrgID: f.project.OrgID, ProjectID: f.project.ID, Name: "test", Kind: store.KeyLive})
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, key)
	}
	f.key = secrets[0]
	p = startProcess(t, []string{"DATABASE_URL=" + storetest.URL(f.db), "NANOBANANA_DATA=" + f.data}, nil, "api", "--listen=127.0.0.1:0")
	f.url = p.line(t, "api listening on ")
	return f, p, secrets
}

// openStream begins a stream over a connection of its own and reads its first
// event.
func openStream(t *testing.T, f *fleet, key, id string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(t.Context(), "tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		t.Error(err)
		return nil, nil
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	_, err = fmt.Fprintf(conn, "GET /v1/generations/%s/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", id, key)
	if err != nil {
		t.Error(err)
	}
	text := bufio.NewReaderSize(conn, 512)
	readUntil(t, text, "event: status")
	return conn, text
}

// readUntil reads to a line.
func readUntil(t *testing.T, text *bufio.Reader, want string) {
	t.Helper()
	for {
		line, err := text.ReadString('\n')
		if err != nil {
			t.Errorf("instead of %q: %v", want, err)
			return
		}
		if strings.TrimSpace(line) == want {
			return
		}
	}
}

// raceDetector reports whether the program was built with it.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// peak is the most memory of a process within a time.
func peak(t *testing.T, p *process, within time.Duration) (most int64) {
	t.Helper()
	over := time.After(within)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		most = max(most, resident(t, p))
		select {
		case <-look.C:
		case <-over:
			return most
		}
	}
}

// resident is the memory of a process.
func resident(t *testing.T, p *process) int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "status"))
	bytes, ok := parseProcKB(text, "VmRSS")
	if err != nil || !ok {
		t.Fatalf("no VmRSS: %v", err)
	}
	return bytes
}

func TestStreams_AThousandCostLittle(t *testing.T) {
	t.Parallel()
	f, p, keys := startAPI(t, manyStreams/streamsOfKey+1)
	var ids []string
	for range 10 {
		ids = append(ids, f.submit(t, "it waits"))
	}
	openStream(t, f, keys[len(keys)-1], ids[0]) // what the first one costs, the process costs
	before := resident(t, p)
	texts := make([]*bufio.Reader, manyStreams)
	var opening sync.WaitGroup
	began := time.Now()
	for start := range 20 {
		opening.Go(func() {
			for i := start; i < manyStreams; i += 20 {
				_, texts[i] = openStream(t, f, keys[i/streamsOfKey], ids[i%len(ids)])
			}
		})
	}
	opening.Wait()
	took := time.Since(began)
	if t.Failed() {
		return
	}
	// Meanwhile each reads again without news.
	open := peak(t, p, 6*time.Second)
	conns := f.count(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name <> 'storetest'`)
	for _, id := range ids {
		if _, _, err := f.db.CancelGeneration(t.Context(), f.project.ID, id); err != nil {
			t.Fatal(err)
		}
	}
	told := time.Now()
	for _, text := range texts {
		readUntil(t, text, "event: done")
	}
	t.Logf("%d streams, opened in %s, cost %.1f MiB and %d connections to the database; all were told of an end within %s",
		manyStreams, took, float64(open-before)/(1<<20), conns, time.Since(told))
	most := int64(mostStreamBytes)
	if raceDetector() {
		most *= 8 // its shadow of all memory, and more
	}
	if open-before > most {
		t.Errorf("%d bytes, more than %d", open-before, most)
	}
	if conns > mostStreamConns {
		t.Errorf("%d connections to the database", conns)
	}
}
