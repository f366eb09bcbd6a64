package worker_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
	"github.com/nanobanana/nanobanana/worker"
)

// die claims a generation as a worker would that is killed in the middle.
func (b *bundle) die(t *testing.T, id string) {
	t.Helper()
	g, err := b.db.Generation(t.Context(), b.project.ID, id)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := b.db.ClaimGenerations(t.Context(), store.Claimer{Worker: "dead"}, []store.Ticket{{GenerationID: id, RiverJobID: *g.RiverJobID}})
	if err != nil || claims[0] == nil {
		t.Fatal(claims, err)
	}
	if claims[0].Fence > 1 {
		if _, err := b.db.BeginAttempt(t.Context(), claims[0], store.NewAttempt{ImageIndex: 0, Route: "simulator", Provider: "simulator", Model: "m"}, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// wantCharged checks what an ended generation has cost, and that nothing of it stays
// reserved.
func (b *bundle) wantCharged(t *testing.T, g *store.Generation, want int) {
	t.Helper()
	if g.Credits == nil || g.Charged == nil || *g.Charged != want {
		t.Errorf("%s of %s credits was charged %s, want %d", g.ID, shown(g.Credits), shown(g.Charged), want)
	}
	if faults, err := b.db.CreditFaults(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("credits do not agree: %v, %q", err, faults)
	}
}

func shown(n *int) string {
	if n == nil {
		return "no"
	}
	return strconv.Itoa(*n)
}

// What was delivered is charged, each image at the price of its model, and nothing else.
func TestMoney_ChargesWhatWasDelivered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		request jobs.GenerationRequest
		charged int
	}{
		"One":     {jobs.GenerationRequest{Prompt: "x"}, 1},
		"Several": {jobs.GenerationRequest{Prompt: "x", N: 3}, 3},
		"Dear":    {jobs.GenerationRequest{Prompt: "x", N: 2, Model: "banana-pro"}, 8},
		"Blocked": {jobs.GenerationRequest{Prompt: "[[sim:block]] x", N: 2}, 0},
		"Again":   {jobs.GenerationRequest{Prompt: "[[sim:503 first=1]] x"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil)
			b.wantCharged(t, b.ended(t, b.submit(t, c.request).ID), c.charged)
		})
	}
}

// A run that comes to its end after it was canceled charges nothing.
func TestMoney_CanceledIsFree(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	prompt := "[[sim:slow ms=300]] not wanted"
	id := b.submit(t, jobs.GenerationRequest{Prompt: prompt}).ID
	b.until(t, id, func(*store.Generation) bool { return b.calls(prompt) == 1 })
	if _, _, err := b.db.CancelGeneration(t.Context(), b.project.ID, id); err != nil {
		t.Fatal(err)
	}
	b.untilTickets(t, "completed", 1) // the run is over, too
	b.wantCharged(t, b.ended(t, id), 0)
}

func TestMoney_CrashesDoNotBuyAgainAndAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		crashes, calls int
		status         store.Status
	}{
		"One": {1, 1, store.StatusSucceeded},
		"Two": {2, 0, store.StatusFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupIdle(t)
			id := b.submit(t, jobs.GenerationRequest{Prompt: "unlucky"}).ID
			for range c.crashes {
				b.die(t, id)
			}
			b.start(t, nil)
			g := b.ended(t, id)
			if g.Status != c.status || b.calls("unlucky") != c.calls {
				t.Errorf("after %d crashes the generation is %s, %+v, with %d calls; want %s with %d",
					c.crashes, g.Status, g.Error, b.calls("unlucky"), c.status, c.calls)
			}
			b.wantCharged(t, g, c.calls) // what the dead ones bought, nobody got
		})
	}
}

func TestMoney_NothingIsBoughtAfterTheDeadline(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	id := b.submit(t, jobs.GenerationRequest{Prompt: "late"}).ID
	b.die(t, id)
	if _, err := b.db.Pool().Exec(t.Context(), `UPDATE generation SET deadline_at = now() - interval '1 hour' WHERE id = $1`, id); err != nil {
		t.Fatal(err)
	}
	b.start(t, nil)
	g := b.ended(t, id)
	if g.Status != store.StatusFailed || g.Error.Code != "deadline_exceeded" || b.calls("late") != 0 {
		t.Errorf("the generation is %s, %+v, with %d calls; want deadline_exceeded and none", g.Status, g.Error, b.calls("late"))
	}
	b.wantCharged(t, g, 0)
}

// A call that a stop cuts off may be billed like one that a crash cuts off: it is
// made once more, and then no more.
func TestMoney_TwoStopsPayTwiceAtMost(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	prompt := "[[sim:hang first=4]] x"
	id := b.submit(t, jobs.GenerationRequest{Prompt: prompt, N: 2, Model: "banana-lite"}).ID
	for stops := range 2 {
		w := b.start(t, nil)
		b.until(t, id, func(*store.Generation) bool { return b.calls(prompt) == 2*(stops+1) })
		if err := w.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.start(t, nil)
	g := b.ended(t, id)
	if g.Status != store.StatusFailed || g.Error.Code != "provider_error" || !g.Error.Retryable || b.calls(prompt) != 4 {
		t.Errorf("after two stops the generation is %s, %+v, with %d calls; want it given up after 4", g.Status, g.Error, b.calls(prompt))
	}
	b.wantCharged(t, g, 0)
}

// A picture that storage did not take before the worker stopped is stored by the
// next worker on the machine, and a worker whose storage is away buys no more.
func TestMoney_APictureWaitsForStorage(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	bucket := &flakyBucket{objects: map[string][]byte{}}
	bucket.down.Store(1 << 30)
	server := httptest.NewServer(bucket)
	t.Cleanup(server.Close)
	s3, err := blobs.OpenS3(t.Context(), blobs.S3Options{
		Bucket: "b", Endpoint: server.URL, AccessKeyID: "k", SecretAccessKey: "s", PathStyle: true, Attempts: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	options := func(o *worker.Options) { o.Blobs = s3 }
	first := b.start(t, options)
	id := b.submit(t, jobs.GenerationRequest{Prompt: "paid"}).ID
	b.until(t, id, func(*store.Generation) bool { return bucket.refused.Load() > 0 })
	other := b.submit(t, jobs.GenerationRequest{Prompt: "patient"}).ID
	b.until(t, other, func(g *store.Generation) bool { return g.Fence > 2 && g.Status == store.StatusQueued })
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.calls("patient") != 0 {
		t.Errorf("%d pictures were bought that could not be stored", b.calls("patient"))
	}
	bucket.down.Store(0)
	b.start(t, options)
	for _, g := range []*store.Generation{b.ended(t, id), b.ended(t, other)} {
		if g.Status != store.StatusSucceeded || b.calls(g.Prompt) != 1 || len(bucket.stored(b.images(t, g)[0].BlobKey)) == 0 {
			t.Errorf("%s: got %s, %+v, after %d calls; want success after one", g.Prompt, g.Status, g.Error, b.calls(g.Prompt))
		}
		b.wantCharged(t, g, 1)
	}
	b.wantNoSpool(t)
}

func (f *flakyBucket) stored(key string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.objects["/b/"+key]
}

// fixed is a provider whose every answer is the same.
type fixed struct {
	result func(dir string) (*providers.Result, error)
	calls  chan struct{}
}

func (f fixed) Name() string { return "fixed" }

func (f fixed) Generate(_ context.Context, req providers.Request) (*providers.Result, error) {
	f.calls <- struct{}{}
	return f.result(req.Dir)
}

func TestMoney_WhatCanNotBeUsedIsNotBoughtTwice(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		result  func(t *testing.T, dir string) (*providers.Result, error)
		request jobs.GenerationRequest
		code    string
		calls   int
	}{
		"NoPicture":     {pictureOf("not a picture"), jobs.GenerationRequest{}, "provider_error", 1},
		"BrokenPNG":     {pictureOf(pngHeader(64, 64)), jobs.GenerationRequest{Format: "jpeg"}, "provider_error", 1},
		"TooManyPixels": {pictureOf(pngHeader(12000, 12000)), jobs.GenerationRequest{Format: "png"}, "provider_error", 1},
		"NoRoom": {func(*testing.T, string) (*providers.Result, error) {
			return nil, &providers.Error{Kind: providers.KindLocal, Message: "disk full"}
		}, jobs.GenerationRequest{}, "storage_error", 2},
		"NULInTheAnswer": {func(*testing.T, string) (*providers.Result, error) {
			return nil, &providers.Error{Kind: providers.KindModeration, Code: "a\x00b"}
		}, jobs.GenerationRequest{}, "content_moderated", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls := make(chan struct{}, 100)
			b := setup(t, func(o *worker.Options) {
				o.Simulator.Routes[0].Provider = fixed{calls: calls, result: func(dir string) (*providers.Result, error) { return c.result(t, dir) }}
			})
			c.request.Prompt = name
			g := b.ended(t, b.submit(t, c.request).ID)
			if g.Status != store.StatusFailed || g.Error.Code != c.code || len(calls) != c.calls {
				t.Errorf("got %s, %+v after %d calls; want %s after %d", g.Status, g.Error, len(calls), c.code, c.calls)
			}
			b.wantCharged(t, g, 0)
		})
	}
}

func TestStart_RefusesStorageThatIsNotThere(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	s3, err := blobs.OpenS3(t.Context(), blobs.S3Options{
		Bucket: "b", Endpoint: server.URL, AccessKeyID: "k", SecretAccessKey: "s", PathStyle: true, Attempts: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*worker.Options){
		"Bucket": func(o *worker.Options) { o.Blobs = s3 },
		"Spool":  func(o *worker.Options) { o.SpoolDir = filepath.Join(t.TempDir(), "missing") },
	} {
		opts := worker.Options{DB: b.db, QueueDB: b.db, Blobs: b.blobs, Simulator: routes(broken{}), SpoolDir: b.blobs.TempDir()}
		change(&opts)
		w, err := worker.New(opts)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := w.Start(ctx); err == nil {
			t.Errorf("%s: the worker started", name)
		}
		cancel()
	}
	if diff := cmp.Diff(0, b.calls("")); diff != "" {
		t.Errorf("calls differ (-want +got):\n%s", diff)
	}
}

// A run that another has taken over from leaves the other's pictures alone.
func TestMoney_ASupersededRunForgetsNothing(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	prompt := "[[sim:slow ms=300]] taken over"
	id := b.submit(t, jobs.GenerationRequest{Prompt: prompt}).ID
	b.until(t, id, func(*store.Generation) bool { return b.calls(prompt) == 1 })
	b.die(t, id) // the other run, which then dies with a picture kept
	kept := filepath.Join(b.blobs.TempDir(), "kept-"+id+"-0")
	if err := os.WriteFile(kept, []byte(pngHeader(8, 8)), 0o600); err != nil {
		t.Fatal(err)
	}
	b.untilTickets(t, "completed", 1)
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("the other run's picture is gone: %v", err)
	}
}
