package main

import (
	"bytes"
	"encoding/json"
	"fmt"
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

// postJSON sends a body, as if from an address, and returns the status of the answer, and what it says to wait.
func postJSON(t *testing.T, from, url string, body any) (status int, wait time.Duration) {
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
	req.Header.Set("X-Forwarded-For", from)
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
	p := startProcess(t, []string{"DATABASE_URL=" + storetest.URL(db), "NANOBANANA_DATA=" + storetest.Dir(t), "NANOBANANA_TRUSTED_PROXIES=127.0.0.0/8"}, nil, "api", "--listen=127.0.0.1:0")
	url := p.line(t, "api listening on ")
	person := func(n int) (who map[string]string, address string) {
		return map[string]string{"email": fmt.Sprintf("ada%d@example.com", n), "password": "a few plain words"},
			fmt.Sprintf("198.51.%d.%d", n/250, n%250)
	}
	first, address := person(0)
	if status, _ := postJSON(t, address, url+"/v1/auth/register", first); status != http.StatusCreated {
		t.Fatalf("register: %d", status)
	}
	if _, err := db.Pool().Exec(t.Context(), `
		INSERT INTO account (id, email, email_key, name, password, verified_at)
		SELECT 'usr_' || n, e.email, e.email, '', password, now()
		FROM account, generate_series(1, $1) AS n, LATERAL (SELECT 'ada' || n || '@example.com' AS email) AS e`, manyLogins); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Pool().Exec(t.Context(), `UPDATE account SET verified_at = now() WHERE verified_at IS NULL`); err != nil {
		t.Fatal(err)
	}
	var in, later atomic.Int64
	var all sync.WaitGroup
	start := make(chan struct{})
	began := time.Now()
	for n := range manyLogins {
		who, address := person(n + 1)
		all.Go(func() {
			<-start
			for range loginTries {
				status, wait := postJSON(t, address, url+"/v1/auth/login", who)
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
	if status, _ := postJSON(t, address, url+"/v1/auth/login", first); status != http.StatusOK {
		t.Errorf("afterwards: %d", status)
	}
}
