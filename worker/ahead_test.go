package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
	"github.com/nanobanana/nanobanana/worker"
)

// hookedDir is a directory of blobs that does something first when it is to take
// one.
type hookedDir struct {
	*blobs.Dir
	before func(ctx context.Context, key, path string) error
}

func (d hookedDir) Put(ctx context.Context, key, path string, opts blobs.PutOptions) error {
	if err := d.before(ctx, key, path); err != nil {
		return err
	}
	return d.Dir.Put(ctx, key, path, opts)
}

// startHooked starts a worker with such a directory.
func (b *bundle) startHooked(t *testing.T, before func(ctx context.Context, key, path string) error) {
	t.Helper()
	b.start(t, func(o *worker.Options) { o.Blobs = hookedDir{b.blobs, before} })
}

// wantOneImage checks the one end of a generation, whatever it took.
func (b *bundle) wantOneImage(t *testing.T, id, prompt string) *store.Image {
	t.Helper()
	g := b.ended(t, id)
	images := b.images(t, g)
	if g.Status != store.StatusSucceeded || b.calls(prompt) != 1 || len(images) != 1 {
		t.Fatalf("got %s after %d calls with %d images; want success, one call, one image", g.Status, b.calls(prompt), len(images))
	}
	if format, _, _ := b.decode(t, images[0]); "image/"+format != images[0].MediaType {
		t.Errorf("the stored picture is a %s, the row says %s", format, images[0].MediaType)
	}
	events, err := b.db.GenerationEvents(t.Context(), g.ProjectID, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := 0
	for _, e := range events {
		if e.Type == "generation.succeeded" {
			ends++
		}
	}
	if diff := cmp.Diff(1, ends); diff != "" {
		t.Errorf("events of the end (-want +got):\n%s", diff)
	}
	return images[0]
}

// Nothing says that an image is there before it is, however long storage takes, and
// nobody else waits for it.
func TestAhead_NobodyIsToldOfWhatIsNotStored(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	began, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b.startHooked(t, func(ctx context.Context, _, _ string) error {
		first := false
		once.Do(func() { first = true })
		if first {
			close(began)
			<-release
		}
		return nil
	})
	slow := b.submit(t, jobs.GenerationRequest{Prompt: "slow to store"}).ID
	<-began
	for i := range 3 {
		prompt := fmt.Sprint("meanwhile ", i)
		b.wantOneImage(t, b.submit(t, jobs.GenerationRequest{Prompt: prompt}).ID, prompt)
	}
	g, err := b.db.Generation(t.Context(), b.project.ID, slow)
	if err != nil {
		t.Fatal(err)
	}
	if g.Status != store.StatusProcessing || len(b.images(t, g)) != 0 {
		t.Errorf("the generation is %s with %d images before one is stored", g.Status, len(b.images(t, g)))
	}
	close(release)
	b.wantOneImage(t, slow, "slow to store")
	b.wantNoSpool(t)
}

func TestAhead_StorageFails(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(b *bundle, t *testing.T, key, path string) error{
		"Twice": func(*bundle, *testing.T, string, string) error { return errors.New("no disk") },
		"AnotherRunWasFirst": func(b *bundle, t *testing.T, key, path string) error {
			return b.blobs.Put(t.Context(), key, path, blobs.PutOptions{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupIdle(t)
			var puts atomic.Int64
			b.startHooked(t, func(_ context.Context, key, path string) error {
				if puts.Add(1) > 2 {
					return nil
				}
				if err := fault(b, t, key, path); !errors.Is(err, blobs.ErrExists) {
					return err
				}
				return nil
			})
			b.wantOneImage(t, b.submit(t, jobs.GenerationRequest{Prompt: "x"}).ID, "x")
			b.wantNoSpool(t)
		})
	}
}

// A defect of ours ends the generation alone.
func TestAhead_APanicFailsTheGenerationAlone(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	var puts atomic.Int64
	b.startHooked(t, func(context.Context, string, string) error {
		if puts.Add(1) <= 2 { // beside the end, and after it
			panic("defect")
		}
		return nil
	})
	g := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "x"}).ID)
	if g.Status != store.StatusFailed || g.Error.Code != "internal_error" || len(b.images(t, g)) != 0 {
		t.Errorf("got %s, %+v", g.Status, g.Error)
	}
	b.wantOneImage(t, b.submit(t, jobs.GenerationRequest{Prompt: "next"}).ID, "next")
}

// One generation at a time is written ahead, and says so.
func TestAhead_WhereNothingElseEnds(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	log := &record{}
	b.start(t, func(o *worker.Options) {
		o.FinishHold, o.Logger = time.Minute, slog.New(slog.NewTextHandler(log, nil))
	})
	b.wantOneImage(t, b.submit(t, jobs.GenerationRequest{Prompt: "x"}).ID, "x")
	log.wait(t, "ahead=true", 10*time.Second)
}

// A connection that falls silent holds the end of a run up for seconds, and not the
// worker's own end at all.
func TestAhead_ASilentConnection(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	address, lost := startLossy(t, b.db, `"status":"succeeded"`, true)
	db, err := store.Open(t.Context(), address, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	// It waits for a rehearsal on a busy machine, lest another connection be the one.
	b.start(t, func(o *worker.Options) { o.DB, o.FinishHold = db, 5*time.Second })
	began := time.Now()
	b.wantOneImage(t, b.submit(t, jobs.GenerationRequest{Prompt: "x"}).ID, "x")
	if took := time.Since(began); took > 20*time.Second || !lost.lost.Load() {
		t.Errorf("it took %s, fell silent: %t", took, lost.lost.Load())
	}
}
