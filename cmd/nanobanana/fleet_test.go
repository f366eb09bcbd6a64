package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// fleet is an api and workers as processes of their own on one database.
type fleet struct {
	db       *store.DB
	project  *store.Project
	data     string
	env      []string
	url, key string
}

func startFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{db: storetest.New(t), data: storetest.Dir(t)}
	var err error
	if f.project, err = f.db.CreateFirstProject(t.Context(), "unlimited", nil); err != nil {
		t.Fatal(err)
	}
	secret, err := f.db.Secret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.key, _, err = auth.NewKeys(auth.Options{DB: f.db, DatabaseSecret: secret}).Create(t.Context(), nil, auth.NewKey{OrgID: f.project.OrgID, ProjectID: f.project.ID, Name: "test", Kind: store.KeyLive})
	if err != nil {
		t.Fatal(err)
	}
	program := buildProgram(t) // what is tested here is the fleet, not its upstream
	sim := startProcess(t, nil, func(cmd *exec.Cmd) { cmd.Path = program }, "simulator", "--listen=127.0.0.1:0", "--speed=0", "--pool-bytes=20000")
	f.env = []string{
		"DATABASE_URL=" + storetest.URL(f.db), "NANOBANANA_DATA=" + f.data, "NANOBANANA_CONCURRENCY=20", "NANOBANANA_DRAIN=5s",
		"NANOBANANA_SIMULATOR_URL=" + sim.line(t, "simulator listening on "),
	}
	f.url = startProcess(t, f.env, nil, "api", "--listen=127.0.0.1:0").line(t, "api listening on ")
	return f
}

func (f *fleet) startWorker(t *testing.T) *process {
	t.Helper()
	p := startProcess(t, f.env, nil, "worker")
	p.line(t, "worker ready ")
	return p
}

// submit posts a prompt and returns the generation's id.
func (f *fleet) submit(t *testing.T, prompt string) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"prompt": prompt})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url+"/v1/generations", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+f.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer func() { _ = resp.Body.Close() }()
	var g answer
	if err := json.NewDecoder(resp.Body).Decode(&g); err != nil || resp.StatusCode != http.StatusAccepted {
		t.Errorf("submission answered %s, %v", resp.Status, err)
	}
	return g.ID
}

// count runs a query that counts.
func (f *fleet) count(t *testing.T, sql string) int {
	t.Helper()
	var n int
	if err := f.db.Pool().QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// until waits for a query to count to a number.
func (f *fleet) until(t *testing.T, want int, sql string) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for got := f.count(t, sql); got != want; got = f.count(t, sql) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is %d, want %d", sql, got, want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

const (
	countEnded     = `SELECT count(*) FROM generation WHERE status NOT IN ('queued', 'processing')`
	countSucceeded = `SELECT count(*) FROM generation WHERE status = 'succeeded' AND attempts = 1`
	countImages    = `SELECT count(DISTINCT generation_id) FROM image`
	countAllImages = `SELECT count(*) FROM image`
	countAttempts  = `SELECT count(*) FROM attempt WHERE outcome = 'succeeded'`
	countTickets   = `SELECT count(*) FROM river.river_job WHERE kind = 'generate' AND state = 'completed'`
	countOpen      = `SELECT count(*) FROM river.river_job WHERE kind = 'generate' AND state <> 'completed'`
)

// wantOnce checks that each of n generations has one image, one blob, one paid
// call and one finished ticket.
func (f *fleet) wantOnce(t *testing.T, n int) {
	t.Helper()
	f.until(t, n, countEnded)
	f.until(t, 0, countOpen) // River marks tickets a moment later
	for name, sql := range map[string]string{
		"succeeded": countSucceeded, "with an image": countImages, "images": countAllImages,
		"paid calls": countAttempts, "finished tickets": countTickets,
	} {
		if got := f.count(t, sql); got != n {
			t.Errorf("%s: %d, want %d", name, got, n)
		}
	}
	dir, err := blobs.OpenDir(f.data + "/images")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	stored := 0
	err = dir.List(t.Context(), "", func(blob blobs.Info) bool {
		if !strings.HasSuffix(blob.Key, store.ThumbnailSuffix) { // made whenever a worker is idle
			stored++
		}
		return true
	})
	if err != nil || stored != n {
		t.Errorf("%d blobs, %v; want %d", stored, err, n)
	}
}

func TestFleet_TwoWorkersShareFiveHundredJobs(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	one, two := f.startWorker(t), f.startWorker(t)
	const jobs, clients = 500, 10
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range jobs / clients {
				f.submit(t, fmt.Sprintf("job %d of client %d", i, c))
			}
		})
	}
	wg.Wait()
	f.wantOnce(t, jobs)
	if workers := f.count(t, `SELECT count(DISTINCT worker) FROM generation`); workers != 2 {
		t.Errorf("%d workers did the work, want both", workers)
	}
	for _, p := range []*process{one, two} {
		if status := p.stop(t, syscall.SIGTERM); status != 0 {
			t.Errorf("a worker ended with status %d:\n%s", status, p.errs)
		}
	}
}

func TestFleet_SIGTERMHandsWorkToTheOther(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	f.env = append(f.env, "NANOBANANA_DRAIN=200ms")
	one := f.startWorker(t)
	id := f.submit(t, "[[sim:hang first=1]] a slow one")
	f.until(t, 1, `SELECT count(*) FROM attempt`)
	if status := one.stop(t, syscall.SIGTERM); status != 0 {
		t.Errorf("the worker ended with status %d:\n%s", status, one.errs)
	}
	f.startWorker(t)
	f.until(t, 1, countEnded)
	g, err := f.db.Generation(t.Context(), f.project.ID, id)
	if err != nil || g.Status != store.StatusSucceeded || g.Tries != 0 {
		t.Errorf("the generation is %+v, %v; want it succeeded with no try used", g, err)
	}
}
