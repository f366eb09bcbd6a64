package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// bundle is a front door on a real database, with nobody working behind it.
type bundle struct {
	testing.TB
	handler  http.Handler
	db       *store.DB
	blobs    *blobs.Dir
	keys     *auth.Keys
	signer   *auth.Signer
	keyring  *webhook.Keyring
	sessions *auth.Sessions
	project  *store.Project
	live     string // a live key of project
	test     string // a test key of project
	other    string // a live key of another project
	url      string
	drain    chan struct{}
	log      *logBuffer
}

// setup serves the API; adjust, if not nil, changes its options.
func setup(t testing.TB, adjust func(*api.Options)) *bundle {
	t.Helper()
	b := &bundle{TB: t, db: storetest.New(t), blobs: storetest.Blobs(t), drain: make(chan struct{}), log: &logBuffer{}}
	b.keys = auth.NewKeys(auth.Options{DB: b.db, DatabaseSecret: "database secret"})
	b.signer = auth.NewSigner("", "database secret")
	b.keyring = webhook.NewKeyring("", "database secret")
	b.sessions = auth.NewSessions(auth.SessionsOptions{DB: b.db, DatabaseSecret: "database secret"})
	queue, err := jobs.NewQueue(jobs.Options{DB: b.db, LiveSimulated: false})
	b.must(err)
	live := store.NewLive(store.LiveOptions{URL: storetest.URL(b.db), OnKeys: b.keys.Invalidate, OnPulse: b.keys.Pulse})
	ctx, stop := context.WithCancel(context.Background())
	listening := sync.WaitGroup{}
	listening.Go(func() { live.Run(ctx) })

	opts := api.Options{
		DB: b.db, Queue: queue, Blobs: b.blobs, Keys: b.keys, Signer: b.signer, Keyring: b.keyring, Live: live, Sessions: b.sessions, LiveProviders: []string{"gemini"},
		Passwords: cheapPasswords(),
		Drain:     b.drain, Logger: slog.New(slog.NewJSONHandler(b.log, nil)), Version: "test",
	}
	if adjust != nil {
		adjust(&opts)
	}
	handler, err := api.New(opts)
	b.must(err)
	b.handler = handler
	srv := httptest.NewServer(handler)
	t.Cleanup(func() {
		srv.Close()
		queue.Close()
		stop()
		listening.Wait()
	})
	b.url = srv.URL
	b.project, b.live = b.newProject("first")
	_, b.other = b.newProject("second")
	b.test = b.newKey(b.project, store.KeyTest)
	return b
}

// cheapPasswords hashes with a hundredth of the work that the service takes.
func cheapPasswords() *auth.Passwords {
	return auth.NewPasswords(auth.PasswordOptions{Memory: 192})
}

func (b *bundle) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bundle) newProject(name string) (*store.Project, string) {
	b.Helper()
	days := 30
	org, err := b.db.CreateOrg(b.Context(), name, "unlimited", &days)
	b.must(err)
	project, err := b.db.CreateProject(b.Context(), org.ID, name)
	b.must(err)
	return project, b.newKey(project, store.KeyLive)
}

func (b *bundle) newKey(project *store.Project, kind string) string {
	b.Helper()
	key, _, err := b.keys.Create(b.Context(), nil, auth.NewKey{OrgID: project.OrgID, ProjectID: project.ID, Name: "test", Kind: kind})
	b.must(err)
	return key
}

// answer is a whole response.
type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any // nil if it is none
}

// code is that of a problem document.
func (a *answer) code() string {
	code, _ := a.json["code"].(string)
	return code
}

// faults are "param code" of each entry of a problem's errors.
func (a *answer) faults() []string {
	var list []string
	entries, _ := a.json["errors"].([]any)
	for _, e := range entries {
		entry := e.(map[string]any)
		list = append(list, entry["param"].(string)+" "+entry["code"].(string))
	}
	return list
}

// do sends a request with a key and "Name: value" headers. target is a path or
// a whole URL.
func (b *bundle) do(key, method, target, body string, headers ...string) *answer {
	b.Helper()
	a, err := b.try(b.Context(), key, method, target, body, headers...)
	b.must(err)
	return a
}

func (b *bundle) try(ctx context.Context, key, method, target, body string, headers ...string) (*answer, error) {
	if strings.HasPrefix(target, "/") {
		target = b.url + target
	}
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	a := &answer{status: resp.StatusCode, header: resp.Header, body: string(text)}
	if strings.Contains(resp.Header.Get("Content-Type"), "json") && len(text) > 0 {
		if err := json.Unmarshal(text, &a.json); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// submit makes a generation and returns its id.
func (b *bundle) submit(key, body string) string {
	b.Helper()
	return b.submitTo(b.url, key, body)
}

// submitTo is submit at another process's address.
func (b *bundle) submitTo(url, key, body string) string {
	b.Helper()
	a := b.do(key, "POST", url+"/v1/generations", body)
	if a.status != http.StatusAccepted {
		b.Fatalf("submit: status %d, %s", a.status, a.body)
	}
	return a.json["id"].(string)
}

// claim begins a run of a generation as a worker does.
func (b *bundle) claim(id string) *store.Claim {
	b.Helper()
	var ticket int64
	b.must(b.db.Pool().QueryRow(b.Context(), `SELECT river_job_id FROM generation WHERE id = $1`, id).Scan(&ticket))
	claims, err := b.db.ClaimGenerations(b.Context(), store.Claimer{
		Worker: "w", Calls: map[string]store.NewAttempt{
			store.CallKey(false, "banana"): {Route: "gemini", Provider: "gemini", Model: "gemini-nano-banana-2.1"},
			store.CallKey(true, "banana"):  {Route: "simulator", Provider: "simulator", Model: "gemini-nano-banana-2.1"},
		},
	}, []store.Ticket{{GenerationID: id, RiverJobID: ticket}})
	b.must(err)
	if claims[0] == nil {
		b.Fatalf("%s can not be claimed", id)
	}
	return claims[0]
}

// finish ends a claimed run with one stored image of the bytes given.
func (b *bundle) finish(c *store.Claim, content []byte) {
	b.Helper()
	path := filepath.Join(b.TempDir(), "image.png")
	b.must(os.WriteFile(path, content, 0o600))
	key := "test/" + c.ID + ".png"
	b.must(b.blobs.Put(b.Context(), key, path, blobs.PutOptions{ContentType: "image/png"}))
	sum := sha256.Sum256(content)
	b.end(c, &store.Outcome{
		Status: store.StatusSucceeded,
		Images: []*store.NewImage{{
			ID: store.ImageID(c.ID, 0), GenerationID: c.ID, BlobKey: key, MediaType: "image/png",
			Bytes: int64(len(content)), Width: 1024, Height: 1024, SHA256: sum[:],
		}},
		Attempts: []*store.AttemptOutcome{{
			GenerationID: c.ID, N: 1, Outcome: store.AttemptSucceeded, FinishedAt: time.Now(),
			PromptTokens: 23, ImageTokens: 1120, TextTokens: 5, CostMicros: 33_673,
		}},
	})
}

func (b *bundle) end(c *store.Claim, o *store.Outcome) {
	b.Helper()
	o.GenerationID, o.Fence = c.ID, c.Fence
	own, err := b.db.FinishGenerations(b.Context(), store.Sender{}, []*store.Outcome{o})
	b.must(err)
	if !own[0].Own {
		b.Fatalf("the run of %s was fenced off", c.ID)
	}
}

// done makes a finished generation and returns its id.
func (b *bundle) done(key, body string, content []byte) string {
	b.Helper()
	id := b.submit(key, body)
	b.finish(b.claim(id), content)
	return id
}

// waits starts a request and returns once it waits, which it does after the
// number of database reads given: it listens before the last of them.
func (b *bundle) waits(reads int64, request func() *answer) <-chan *answer {
	b.Helper()
	before := b.db.Pool().Stat().AcquireCount()
	answered := make(chan *answer, 1)
	go func() { answered <- request() }()
	b.eventually("the request waits", func() bool {
		stat := b.db.Pool().Stat()
		return stat.AcquireCount() >= before+reads && stat.AcquiredConns() == 0
	})
	return answered
}

// eventually returns once a condition holds.
func (b *bundle) eventually(what string, holds func() bool) {
	b.Helper()
	deadline := time.After(time.Minute)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-deadline:
			b.Fatalf("it never came that %s", what)
		}
	}
}

// logBuffer gathers log lines.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
