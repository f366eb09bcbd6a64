package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/store/storetest"
)

// What many that sign in at the same time may cost one api process. Those who find no
// place to wait ask a few times.
const (
	manyLogins     = 1000
	loginTries     = 3
	mostLoginBytes = 400 << 20
)

// postJSON sends a body and returns the status of the answer, and what it says to wait.
func postJSON(t *testing.T, url string, body any) (status int, wait time.Duration) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	ms, _ := strconv.Atoi(resp.Header.Get("Retry-After-Ms"))
	return resp.StatusCode, time.Duration(ms) * time.Millisecond
}

// A thousand sign in at the same time: each gets in or is told when to ask again, there
// are places for all who ask in turn, and the process never grows beyond its bound.
func TestLogins_AThousandCostLittle(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	p := startProcess(t, []string{"DATABASE_URL=" + storetest.URL(db), "NANOBANANA_DATA=" + t.TempDir()}, nil, "api", "--listen=127.0.0.1:0")
	url := p.line(t, "api listening on ")
	who := map[string]string{"email": "ada@example.com", "password": "a few plain words"}
	if status, _ := postJSON(t, url+"/v1/auth/register", who); status != http.StatusCreated {
		t.Fatalf("register: %d", status)
	}
	var in, later atomic.Int64
	var all sync.WaitGroup
	start := make(chan struct{})
	began := time.Now()
	for range manyLogins {
		all.Go(func() {
			<-start
			for range loginTries {
				status, wait := postJSON(t, url+"/v1/auth/login", who)
				switch {
				case status == http.StatusOK:
					in.Add(1)
					return
				case status == http.StatusServiceUnavailable && wait > 0:
					later.Add(1)
				default:
					t.Errorf("an answer is %d, wait %s", status, wait)
					return
				}
				select {
				case <-time.After(wait):
				case <-t.Context().Done():
					return
				}
			}
		})
	}
	close(start)
	all.Wait()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "status"))
	most, ok := parseProcKB(text, "VmHWM")
	if err != nil || !ok {
		t.Fatalf("no VmHWM: %v", err)
	}
	t.Logf("%d of %d signed in within %s, %d answers were to ask later, with at most %.1f MiB",
		in.Load(), manyLogins, time.Since(began), later.Load(), float64(most)/(1<<20))
	limit := int64(mostLoginBytes)
	if raceDetector() {
		limit *= 4 // its shadow of all memory, and more
	}
	if least := int64(65 * runtime.GOMAXPROCS(0)); in.Load() < min(least, manyLogins) || most > limit {
		t.Errorf("%d signed in, with at most %d bytes", in.Load(), most)
	}
	// All others get in as they come.
	if status, _ := postJSON(t, url+"/v1/auth/login", who); status != http.StatusOK {
		t.Errorf("afterwards: %d", status)
	}
}
