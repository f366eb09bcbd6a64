package worker_test

import (
	"context"
	"image"
	_ "image/jpeg"
	_ "image/png"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/egress"
	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/providers/gemini"
	"github.com/nanobanana/nanobanana/providers/simulator"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
	"github.com/nanobanana/nanobanana/store/storetest"
	"github.com/nanobanana/nanobanana/worker"
)

// bundle is a whole service without its front door.
type bundle struct {
	db      *store.DB
	queue   *jobs.Queue
	live    *store.Live
	project *store.Project
	blobs   *blobs.Dir
	sim     *simulator.Server
	simURL  string
}

// pictures are what every simulator here sends: to draw and to compress them takes
// the race detector longer than all that a worker does.
var pictures = sync.OnceValue(func() *simulator.Pool { return simulator.NewPool(60_000) })

// setup starts a worker. change may alter its options.
func setup(t *testing.T, change func(*worker.Options)) *bundle {
	t.Helper()
	b := setupIdle(t)
	b.start(t, change)
	return b
}

// setupIdle makes everything but the worker.
func setupIdle(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{db: storetest.New(t), sim: simulator.New(simulator.Options{Pool: pictures(), NoGzip: true})}
	server := httptest.NewServer(b.sim)
	t.Cleanup(func() { _ = b.sim.Close(); server.Close() })
	b.simURL = server.URL
	var err error
	if b.project, err = b.db.CreateFirstProject(t.Context(), "unlimited", nil); err != nil {
		t.Fatal(err)
	}
	if b.queue, err = jobs.NewQueue(jobs.Options{DB: b.db, LiveSimulated: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.queue.Close)
	b.blobs = storetest.Blobs(t)
	b.live = store.NewLive(store.LiveOptions{URL: storetest.URL(b.db)})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.live.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return b
}

// routes is a chain of one route that repeats without a pause.
func routes(p providers.Provider) providers.ChainOptions {
	return providers.ChainOptions{
		Routes: []providers.RouteOptions{{Name: p.Name(), API: "gemini", Provider: p}},
		Base:   time.Millisecond, Cap: time.Millisecond,
	}
}

func keyring() *webhook.Keyring {
	return webhook.NewKeyring("", "the database's secret, of 32 characters and more")
}

func (b *bundle) start(t *testing.T, change func(*worker.Options)) *worker.Worker {
	t.Helper()
	queueDB, err := store.Open(t.Context(), storetest.URL(b.db), store.Options{Queue: true, MaxConns: 6})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(queueDB.Close)
	provider, err := gemini.New(gemini.Options{Name: "simulator", APIKey: "sim-key", BaseURL: b.simURL})
	if err != nil {
		t.Fatal(err)
	}
	opts := worker.Options{
		DB: b.db, QueueDB: queueDB, Blobs: b.blobs, Simulator: routes(provider), SpoolDir: b.blobs.TempDir(),
		Keyring: keyring(), View: view.New(view.Options{SignImage: func(string) string { return "signed" }}),
		BaseURL: "https://images.example.com", Egress: egress.Policy{Loopback: true},
		Backoff: func(int) time.Duration { return 10 * time.Millisecond }, DrainTimeout: 200 * time.Millisecond,
	}
	if change != nil {
		change(&opts)
	}
	w, err := worker.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := w.Stop(ctx); err != nil {
			t.Errorf("stop worker: %v", err)
		}
	})
	return w
}

func (b *bundle) submit(t *testing.T, request jobs.GenerationRequest) *store.Generation {
	t.Helper()
	accepted, err := b.queue.SubmitGeneration(t.Context(), jobs.Submission{
		OrgID: b.project.OrgID, ProjectID: b.project.ID, APIKeyID: "key_1", Request: request,
	})
	if err != nil {
		t.Fatal(err)
	}
	return accepted.Generation
}

// until waits for a state of a generation that satisfies the condition.
func (b *bundle) until(t *testing.T, id string, condition func(*store.Generation) bool) *store.Generation {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	news, done := b.live.Generation(id)
	defer done()
	for {
		g, err := b.db.Generation(ctx, b.project.ID, id)
		if err != nil {
			t.Fatal(err)
		}
		if condition(g) {
			return g
		}
		select {
		case <-news:
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("generation %s is still %s: %+v", id, g.Status, g)
		}
	}
}

// ended waits for the end of a generation.
func (b *bundle) ended(t *testing.T, id string) *store.Generation {
	t.Helper()
	return b.until(t, id, func(g *store.Generation) bool { return g.Status.Terminal() })
}

func (b *bundle) images(t *testing.T, g *store.Generation) []*store.Image {
	t.Helper()
	images, err := b.db.Images(t.Context(), b.project.ID, []*store.Generation{g})
	if err != nil {
		t.Fatal(err)
	}
	return images
}

func (b *bundle) attempts(t *testing.T, g *store.Generation) []string {
	t.Helper()
	attempts, err := b.db.Attempts(t.Context(), b.project.ID, []string{g.ID})
	if err != nil {
		t.Fatal(err)
	}
	outcomes := make([]string, len(attempts))
	for i, a := range attempts {
		outcomes[i] = "open"
		if a.Outcome != nil {
			outcomes[i] = *a.Outcome
		}
	}
	return outcomes
}

// calls counts the paid calls the simulator saw for a prompt.
func (b *bundle) calls(prompt string) int {
	n := 0
	for _, r := range b.sim.Requests() {
		if strings.Contains(r.Prompt, prompt) {
			n++
		}
	}
	return n
}

// decode reads a stored image.
func (b *bundle) decode(t *testing.T, i *store.Image) (format string, width, height int) {
	t.Helper()
	blob, info, err := b.blobs.Open(t.Context(), i.BlobKey)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = blob.Close() }()
	if info.Bytes != i.Bytes {
		t.Errorf("the blob has %d bytes, the row says %d", info.Bytes, i.Bytes)
	}
	picture, format, err := image.Decode(blob)
	if err != nil {
		t.Fatalf("decode %s: %v", i.ID, err)
	}
	return format, picture.Bounds().Dx(), picture.Bounds().Dy()
}

// wantNoSpool waits until no temporary file is left: thumbnails are made in the
// background.
func (b *bundle) wantNoSpool(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		left, err := filepath.Glob(filepath.Join(b.blobs.TempDir(), "*"))
		if err == nil && len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("temporary files are left: %v, %v", left, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
