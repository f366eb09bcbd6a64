package worker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/providers/simulator"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
	"github.com/nanobanana/nanobanana/worker"
)

func TestGenerate_MakesAnImage(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	g := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "a banana"}).ID)
	if g.Status != store.StatusSucceeded || g.Attempts != 1 || g.Fence != 1 || g.StartedAt == nil || g.FinishedAt == nil {
		t.Fatalf("generation is %+v", g)
	}
	images := b.images(t, g)
	if len(images) != 1 {
		t.Fatalf("got %d images, want 1", len(images))
	}
	format, width, height := b.decode(t, images[0])
	if format != "jpeg" || width != 1024 || height != 1024 || images[0].Width != 1024 || images[0].MediaType != "image/jpeg" {
		t.Errorf("the blob is a %dx%d %s, the row %+v", width, height, format, images[0])
	}
	if diff := cmp.Diff([]string{"succeeded"}, b.attempts(t, g)); diff != "" {
		t.Errorf("attempts differ (-want +got):\n%s", diff)
	}
	attempts, err := b.db.Attempts(t.Context(), b.project.ID, []string{g.ID})
	if err != nil || *attempts[0].ImageTokens != 1120 || *attempts[0].CostMicros < 33_600 {
		t.Errorf("the attempt is %+v, %v; want 1120 image tokens and their cost", attempts[0], err)
	}
	b.wantNoSpool(t)
}

func TestGenerate_FormatsAndSizes(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for name, c := range map[string]struct {
		request       jobs.GenerationRequest
		format        string
		width, height int
	}{
		"png":        {jobs.GenerationRequest{Format: "png"}, "png", 1024, 1024},
		"jpeg":       {jobs.GenerationRequest{Format: "jpeg"}, "jpeg", 1024, 1024},
		"widescreen": {jobs.GenerationRequest{AspectRatio: "widescreen"}, "jpeg", 1376, 768},
		"2K":         {jobs.GenerationRequest{Size: "2048x2048"}, "jpeg", 2048, 2048},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.request.Prompt = name
			g := b.ended(t, b.submit(t, c.request).ID)
			images := b.images(t, g)
			if len(images) != 1 {
				t.Fatalf("generation %+v has %d images", g, len(images))
			}
			format, width, height := b.decode(t, images[0])
			if format != c.format || width != c.width || height != c.height || images[0].Height != c.height {
				t.Errorf("got a %dx%d %s, want %dx%d %s", width, height, format, c.width, c.height, c.format)
			}
		})
	}
}

func TestGenerate_SeveralImages(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	g := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "four of them", N: 4}).ID)
	images := b.images(t, g)
	if g.Status != store.StatusSucceeded || len(images) != 4 || b.calls("four of them") != 4 {
		t.Fatalf("%s with %d images after %d calls; want 4 and 4", g.Status, len(images), b.calls("four of them"))
	}
	distinct := map[string]bool{}
	for i, image := range images {
		if image.Idx != i || image.ID != store.ImageID(g.ID, i) {
			t.Errorf("image %d is %+v", i, image)
		}
		distinct[string(image.SHA256)] = true
	}
	if len(distinct) != 4 {
		t.Errorf("%d distinct pictures, want 4", len(distinct))
	}
}

// The table says for each fault how often the provider is paid and what the
// customer is told.
func TestFaults(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for _, c := range []struct {
		directive string
		status    store.Status
		code      string
		reason    string
		calls     int
		attempts  []string
	}{
		{"safety", store.StatusFailed, "content_moderated", "IMAGE_SAFETY", 1, []string{"moderation"}},
		{"block", store.StatusFailed, "content_moderated", "PROHIBITED_CONTENT", 1, []string{"moderation"}},
		{"recitation", store.StatusFailed, "content_moderated", "IMAGE_RECITATION", 1, []string{"moderation"}},
		{"text", store.StatusFailed, "provider_error", "STOP", 2, []string{"no_image", "no_image"}},
		{"text first=1", store.StatusSucceeded, "", "", 2, []string{"no_image", "succeeded"}},
		{"empty", store.StatusFailed, "provider_error", "", 2, []string{"no_image", "no_image"}},
		{"noimage first=1", store.StatusSucceeded, "", "", 2, []string{"no_image", "succeeded"}},
		{"429 first=2 retry=0.01s", store.StatusSucceeded, "", "", 3, []string{"rate_limited", "rate_limited", "succeeded"}},
		{"500 first=1", store.StatusSucceeded, "", "", 2, []string{"server_error", "succeeded"}},
		{"503 first=4", store.StatusSucceeded, "", "", 5, []string{"overloaded", "overloaded", "overloaded", "overloaded", "succeeded"}},
		{"503", store.StatusFailed, "provider_error", "UNAVAILABLE", 15, slices.Repeat([]string{"overloaded"}, 15)}, // 3 in each of 5 runs
		{"reset first=1", store.StatusSucceeded, "", "", 2, []string{"ambiguous", "succeeded"}},
		{"reset", store.StatusFailed, "provider_error", "", 2, []string{"ambiguous", "ambiguous"}},
		{"truncate first=1", store.StatusSucceeded, "", "", 2, []string{"ambiguous", "succeeded"}},
		{"badjson first=1", store.StatusSucceeded, "", "", 2, []string{"ambiguous", "succeeded"}},
		{"invalid", store.StatusFailed, "provider_error", "INVALID_ARGUMENT", 1, []string{"invalid_request"}},
		{"key first=1", store.StatusSucceeded, "", "", 2, []string{"auth", "succeeded"}},
		{"thoughtimage", store.StatusSucceeded, "", "", 1, []string{"succeeded"}},
	} {
		t.Run(c.directive, func(t *testing.T) {
			t.Parallel()
			prompt := fmt.Sprintf("[[sim:%s]] a banana", c.directive)
			g := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: prompt}).ID)
			got := store.GenerationError{}
			if g.Error != nil {
				got = *g.Error
			}
			if g.Status != c.status || got.Code != c.code || c.reason != "" && got.Reason != c.reason {
				t.Errorf("got %s, %+v; want %s, code %q, reason %q", g.Status, got, c.status, c.code, c.reason)
			}
			if n := b.calls(prompt); n != c.calls || g.Attempts != c.calls {
				t.Errorf("the provider was called %d times, %d of them recorded; want %d", n, g.Attempts, c.calls)
			}
			if diff := cmp.Diff(c.attempts, b.attempts(t, g)); diff != "" {
				t.Errorf("attempts differ (-want +got):\n%s", diff)
			}
			if images := len(b.images(t, g)); (images == 1) != (c.status == store.StatusSucceeded) {
				t.Errorf("a %s generation has %d images", g.Status, images)
			}
		})
	}
}

func TestFaults_DailyQuotaFailsWhenItOutlastsTheDeadline(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	g := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "[[sim:day]] x", DeadlineSeconds: 60}).ID)
	if g.Status != store.StatusFailed || g.Error.Code != "provider_quota" || !g.Error.Retryable || g.Attempts != 1 {
		t.Errorf("generation is %s, %+v after %d calls", g.Status, g.Error, g.Attempts)
	}
}

func TestFaults_OneOfSeveralImages(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.sim.SetFaults([]simulator.Fault{{Kind: simulator.KindSafety, First: 1}})
	g := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "three", N: 3}).ID)
	if g.Status != store.StatusSucceeded || len(b.images(t, g)) != 2 || len(g.ImageErrors) != 1 {
		t.Errorf("got %s, %d images, errors %+v; want two images and one error", g.Status, len(b.images(t, g)), g.ImageErrors)
	}
}

// Each image has a budget of its own for calls that ended nobody knows how.
func TestFaults_EveryOneOfSeveralImagesOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.sim.SetFaults([]simulator.Fault{{Kind: simulator.KindReset, First: 3}})
	g := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "three", N: 3}).ID)
	if g.Status != store.StatusSucceeded || len(b.images(t, g)) != 3 || g.Attempts != 6 {
		t.Errorf("got %s, %d images after %d calls, errors %+v; want 3 images after 6", g.Status, len(b.images(t, g)), g.Attempts, g.ImageErrors)
	}
}

func TestGenerate_LiveWithoutAProviderFails(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	real, err := jobs.NewQueue(jobs.Options{DB: b.db}) // a front door that promises real images
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(real.Close)
	accepted, err := real.SubmitGeneration(t.Context(), jobs.Submission{
		OrgID: b.project.OrgID, ProjectID: b.project.ID, Request: jobs.GenerationRequest{Prompt: "real", N: 3, DeadlineSeconds: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	g := b.ended(t, accepted.Generation.ID)
	if g.Status != store.StatusFailed || b.calls("real") != 0 || len(g.ImageErrors) != 3 || g.Tries != 0 {
		t.Errorf("got %s after %d tries and %d simulated calls, errors %+v; want a failure after none, none, and 3 errors",
			g.Status, g.Tries, b.calls("real"), g.ImageErrors)
	}
	if diff := cmp.Diff([]string{}, b.attempts(t, g)); diff != "" {
		t.Errorf("attempts differ (-want +got):\n%s", diff)
	}
}

// broken is a provider with a defect.
type broken struct{}

func (broken) Name() string { return "broken" }

func (broken) Generate(context.Context, providers.Request) (*providers.Result, error) {
	panic("a defect")
}

func TestGenerate_APanicFailsTheGenerationAlone(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Simulator.Routes[0].Provider = broken{} })
	for _, n := range []int{1, 2} {
		g := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "x", N: n}).ID)
		if g.Status != store.StatusFailed || g.Error.Code != "internal_error" || g.Attempts != n {
			t.Errorf("generation is %s, %+v after %d calls", g.Status, g.Error, g.Attempts)
		}
	}
}

func TestCancel_StopsTheCallUnderWay(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	g := b.submit(t, jobs.GenerationRequest{Prompt: "[[sim:hang]] x"})
	b.until(t, g.ID, func(*store.Generation) bool { return b.calls("[[sim:hang]] x") == 1 })
	began := time.Now()
	if _, err := b.queue.CancelGeneration(t.Context(), b.project.ID, g.ID); err != nil {
		t.Fatal(err)
	}
	b.untilTickets(t, "cancelled", 1)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the run ended %s after the cancel, want within 2 s", took)
	}
	got := b.ended(t, g.ID)
	if got.Status != store.StatusCanceled || len(b.images(t, got)) != 0 {
		t.Errorf("generation is %+v", got)
	}
	if diff := cmp.Diff([]string{"canceled"}, b.attempts(t, got)); diff != "" {
		t.Errorf("attempts differ (-want +got):\n%s", diff)
	}
}

// untilTickets waits for a number of generate tickets in a state.
func (b *bundle) untilTickets(t *testing.T, state string, want int) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		var n int
		err := b.db.Pool().QueryRow(t.Context(), `SELECT count(*) FROM river.river_job WHERE kind = 'generate' AND state = $1::river.river_job_state`, state).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		if n == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d tickets are %s, want %d", n, state, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestStop_HandsTheJobBackAndItRunsElsewhere(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	first := b.start(t, nil)
	prompt := "[[sim:hang first=1]] x"
	g := b.submit(t, jobs.GenerationRequest{Prompt: prompt})
	b.until(t, g.ID, func(*store.Generation) bool { return b.calls(prompt) == 1 })
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	handed, err := b.db.Generation(t.Context(), b.project.ID, g.ID)
	if err != nil || handed.Status != store.StatusQueued || handed.Tries != 0 {
		t.Fatalf("after the stop the generation is %+v, %v; want it queued with no try used", handed, err)
	}
	b.start(t, nil)
	got := b.ended(t, g.ID)
	if got.Status != store.StatusSucceeded || got.Fence != 2 || b.calls(prompt) != 2 {
		t.Errorf("got %s, fence %d, %d calls; want success at the second claim and call", got.Status, got.Fence, b.calls(prompt))
	}
}

// A run that stored its image and died before it could say so is not paid for
// again.
func TestGenerate_AdoptsWhatAnEarlierRunStored(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	done := b.start(t, nil)
	example := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "example"}).ID)
	if err := done.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	g := b.submit(t, jobs.GenerationRequest{Prompt: "lost"})
	claims, err := b.db.ClaimGenerations(t.Context(), store.Claimer{Worker: "dead"}, []store.Ticket{{GenerationID: g.ID, RiverJobID: *g.RiverJobID}})
	if err != nil || claims[0] == nil {
		t.Fatal(claims, err)
	}
	b.copyBlob(t, b.images(t, example)[0].BlobKey, fmt.Sprintf("%s/%s/0", b.project.ID, g.ID))

	b.start(t, nil)
	got := b.ended(t, g.ID)
	images := b.images(t, got)
	if got.Status != store.StatusSucceeded || len(images) != 1 || b.calls("lost") != 0 {
		t.Fatalf("got %s, %d images, %d calls; want the stored image and no call", got.Status, len(images), b.calls("lost"))
	}
	if diff := cmp.Diff(b.images(t, example)[0].SHA256, images[0].SHA256); diff != "" {
		t.Errorf("sha256 differs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"ambiguous"}, b.attempts(t, got)); diff != "" {
		t.Errorf("attempts differ (-want +got):\n%s", diff)
	}
}

func (b *bundle) copyBlob(t *testing.T, from, to string) {
	t.Helper()
	blob, _, err := b.blobs.Open(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = blob.Close() }()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadFrom(blob); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), b.blobs.Put(t.Context(), to, f.Name(), blobs.PutOptions{})); err != nil {
		t.Fatal(err)
	}
}

func TestTwoWorkers_EachGenerationOnce(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	const n = 60
	ids := make([]string, n)
	for i := range ids {
		ids[i] = b.submit(t, jobs.GenerationRequest{Prompt: fmt.Sprintf("number %d", i), Model: "banana-lite"}).ID
	}
	b.start(t, func(o *worker.Options) { o.ID = "one"; o.Concurrency = 4 })
	b.start(t, func(o *worker.Options) { o.ID = "two"; o.Concurrency = 4 })
	for _, id := range ids {
		g := b.ended(t, id)
		if g.Status != store.StatusSucceeded || g.Attempts != 1 || len(b.images(t, g)) != 1 {
			t.Errorf("generation %s is %s after %d calls", id, g.Status, g.Attempts)
		}
	}
	b.untilTickets(t, "completed", n)
	stored := 0
	err := b.blobs.List(t.Context(), "", func(info blobs.Info) bool {
		if !strings.HasSuffix(info.Key, store.ThumbnailSuffix) { // made in the background
			stored++
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	if stored != n {
		t.Errorf("%d blobs, want %d", stored, n)
	}
}
