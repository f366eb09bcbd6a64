package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// bundle is a database with one project.
type bundle struct {
	*store.DB
	project *store.Project
}

func setup(t *testing.T) *bundle {
	t.Helper()
	db := storetest.New(t)
	days := 30
	if _, err := db.Pool().Exec(t.Context(), `UPDATE plan SET concurrency = 0`); err != nil {
		t.Fatal(err)
	}
	org, err := db.CreateOrg(t.Context(), "test", "free", &days)
	if err != nil {
		t.Fatal(err)
	}
	project, err := db.CreateProject(t.Context(), org.ID, "test")
	if err != nil {
		t.Fatal(err)
	}
	return &bundle{DB: db, project: project}
}

// unqueued makes a generation that is not inserted.
func (b *bundle) unqueued(change func(*store.NewGeneration)) *store.NewGeneration {
	now := time.Now().UTC().Truncate(time.Microsecond)
	g := &store.NewGeneration{
		ID: store.NewGenerationID(), OrgID: b.project.OrgID, ProjectID: b.project.ID, APIKeyID: "key_1",
		Kind: store.KindGenerate, Simulated: true, Model: "banana", ModelUsed: "banana", Prompt: "a banana", N: 1,
		CreatedAt: now, DeadlineAt: now.Add(time.Hour),
	}
	if change != nil {
		change(g)
	}
	return g
}

// queued inserts a generation and returns it.
func (b *bundle) queued(t *testing.T, change func(*store.NewGeneration)) *store.NewGeneration {
	t.Helper()
	g := b.unqueued(change)
	if err := b.InsertGenerations(t.Context(), []*store.NewGeneration{g}); err != nil {
		t.Fatal(err)
	}
	return g
}

var claimer = store.Claimer{Worker: "w1", Calls: map[string]store.NewAttempt{
	store.CallKey(true, "banana"): {Route: "simulator", Provider: "simulator", Model: "upstream-banana"},
}}

// ticket is the one that a generation waits with.
func (b *bundle) ticket(t *testing.T, id string) store.Ticket {
	t.Helper()
	g, err := b.Generation(t.Context(), b.project.ID, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	ticket := store.Ticket{GenerationID: id}
	if err == nil && g.RiverJobID != nil {
		ticket.RiverJobID = *g.RiverJobID
	}
	return ticket
}

func (b *bundle) claim(t *testing.T, id string) *store.Claim {
	t.Helper()
	claims, err := b.ClaimGenerations(t.Context(), claimer, []store.Ticket{b.ticket(t, id)})
	if err != nil {
		t.Fatal(err)
	}
	return claims[0]
}

func (b *bundle) finish(t *testing.T, o *store.Outcome) bool {
	t.Helper()
	own, err := b.FinishGenerations(t.Context(), store.Sender{}, []*store.Outcome{o})
	if err != nil {
		t.Fatal(err)
	}
	return own[0].Own
}

func newImage(c *store.Claim, index int) *store.NewImage {
	return &store.NewImage{
		ID: store.ImageID(c.ID, index), GenerationID: c.ID, Index: index, BlobKey: fmt.Sprint(c.ID, "/", index),
		MediaType: "image/jpeg", Bytes: 1234, Width: 1024, Height: 1024, SHA256: []byte{1, 2, 3},
	}
}

func succeeded(c *store.Claim) *store.Outcome {
	return &store.Outcome{
		GenerationID: c.ID, Fence: c.Fence, Status: store.StatusSucceeded,
		Images: []*store.NewImage{newImage(c, 0)},
		Attempts: []*store.AttemptOutcome{{
			GenerationID: c.ID, N: 1, Outcome: store.AttemptSucceeded, FinishedAt: time.Now().UTC(),
			PromptTokens: 5, ImageTokens: 1120, CostMicros: 33600, RequestID: "r1",
		}},
	}
}

func TestInsertGenerations_KeepsEveryField(t *testing.T) {
	t.Parallel()
	b := setup(t)
	seed, compression := int32(-7), 80
	n := b.queued(t, func(g *store.NewGeneration) {
		g.Prompt = "quote ' backslash \\ newline \n emoji 🍌 <tag> & \"double\""
		g.Metadata = map[string]string{"a": "b", "\\": "'"}
		g.Tags = []string{"x", "y,z"}
		g.N = 3
		g.Params = store.Params{Size: "1024x1024", AspectRatio: "1:1", Seed: &seed, Compression: &compression, Format: "png"}
	})
	got, err := b.Generation(t.Context(), b.project.ID, n.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(n.Row(), got, cmpopts.EquateApproxTime(0)); diff != "" {
		t.Errorf("generation differs (-want +got):\n%s", diff)
	}
}

func TestGeneration_OtherProjectIsNotFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := b.queued(t, nil)
	other, err := b.CreateProject(t.Context(), b.project.OrgID, "other")
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	_, errGet := b.Generation(ctx, other.ID, g.ID)
	_, errStatus := b.GenerationStatus(ctx, other.ID, g.ID)
	_, _, errCancel := b.CancelGeneration(ctx, other.ID, g.ID)
	_, errImage := b.Image(ctx, other.ID, store.ImageID(g.ID, 0))
	for name, err := range map[string]error{"get": errGet, "status": errStatus, "cancel": errCancel, "image": errImage} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", name, err)
		}
	}
	if err := b.RemoveGeneration(ctx, other.ID, g.ID); err != nil {
		t.Errorf("remove: %v", err)
	}
	if status, err := b.GenerationStatus(ctx, b.project.ID, g.ID); err != nil || status != store.StatusQueued {
		t.Errorf("the generation is %s, %v; want it untouched", status, err)
	}
}

func TestFinish_StoresEverythingOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := b.queued(t, nil)
	c := b.claim(t, g.ID)
	if !b.finish(t, succeeded(c)) {
		t.Fatal("the run could not finish")
	}
	if b.finish(t, succeeded(c)) {
		t.Error("a finished generation was finished again")
	}
	got, err := b.Generation(t.Context(), b.project.ID, g.ID)
	if err != nil || got.Status != store.StatusSucceeded || got.FinishedAt == nil {
		t.Fatalf("generation is %+v, %v", got, err)
	}
	images, err := b.Images(t.Context(), b.project.ID, []*store.Generation{got})
	if err != nil || len(images) != 1 {
		t.Fatalf("got images %v, %v", images, err)
	}
	i := images[0]
	if days := i.ExpiresAt.Sub(i.CreatedAt).Hours() / 24; days < 29.9 || days > 30.1 {
		t.Errorf("the image is kept for %.1f days, want 30", days)
	}
	if diff := cmp.Diff([]byte{1, 2, 3}, i.SHA256); diff != "" {
		t.Errorf("sha256 differs (-want +got):\n%s", diff)
	}
	attempts, err := b.Attempts(t.Context(), b.project.ID, []string{g.ID})
	if err != nil || len(attempts) != 1 || *attempts[0].Outcome != store.AttemptSucceeded || *attempts[0].CostMicros != 33600 {
		t.Errorf("got attempts %+v, %v", attempts, err)
	}
}

func TestFinish_RefusesTwoOutcomesOfOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := b.queued(t, nil)
	first, second := b.claim(t, g.ID), b.claim(t, g.ID)
	if _, err := b.FinishGenerations(t.Context(), store.Sender{}, []*store.Outcome{succeeded(first), succeeded(second)}); err == nil || store.IsUnavailable(err) {
		t.Errorf("got %v, want an error that makes each be written by itself", err)
	}
	o := succeeded(second)
	if done, err := b.Finished(t.Context(), o); err != nil || done {
		t.Errorf("before its end it counts as finished: %t, %v", done, err)
	}
	b.finish(t, o)
	if done, err := b.Finished(t.Context(), o); err != nil || !done {
		t.Errorf("after its end it does not count as finished: %t, %v", done, err)
	}
}

func TestFinish_PermanentRetentionNeverExpires(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org, err := b.CreateOrg(t.Context(), "paying", "pro", nil)
	if err != nil {
		t.Fatal(err)
	}
	g := b.queued(t, func(g *store.NewGeneration) { g.OrgID = org.ID })
	b.finish(t, succeeded(b.claim(t, g.ID)))
	image, err := b.Image(t.Context(), b.project.ID, store.ImageID(g.ID, 0))
	if err != nil || image.ExpiresAt != nil {
		t.Errorf("image %+v, %v; want one kept for good", image, err)
	}
}

func TestFinish_RunAgainKeepsWhatWasMade(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := b.queued(t, func(g *store.NewGeneration) { g.N = 2 })
	c := b.claim(t, g.ID)
	o := succeeded(c)
	o.Status, o.CountsTry = store.StatusQueued, true
	o.ImageErrors = []store.ImageError{{Index: 1, Error: store.GenerationError{Code: "provider_error", Message: "m"}}}
	if !b.finish(t, o) {
		t.Fatal("the run could not finish")
	}
	next := b.claim(t, g.ID)
	if next.Tries != 1 || next.Fence != 2 || len(next.ImageErrors) != 1 || next.FinishedAt != nil || len(next.Paid) != 1 {
		t.Errorf("next claim is %+v; want one try used, the image error kept, the call counted", next)
	}
	images, err := b.Images(t.Context(), b.project.ID, []*store.Generation{&next.Generation})
	if err != nil || len(images) != 1 {
		t.Errorf("got images %v, %v; want the one that was made", images, err)
	}
}

func TestCancel_EndsOnceAndFencesTheRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := b.queued(t, nil)
	c := b.claim(t, g.ID)
	got, ended, err := b.CancelGeneration(t.Context(), b.project.ID, g.ID)
	if err != nil || !ended || got.Status != store.StatusCanceled || *got.RiverJobID != *c.RiverJobID {
		t.Fatalf("cancel gave %+v, %v, %v", got, ended, err)
	}
	if _, ended, err := b.CancelGeneration(t.Context(), b.project.ID, g.ID); err != nil || ended {
		t.Errorf("a second cancel ended it again: %v, %v", ended, err)
	}
	if b.finish(t, succeeded(c)) {
		t.Error("the canceled run could finish")
	}
	attempts, err := b.Attempts(t.Context(), b.project.ID, []string{g.ID})
	if err != nil || len(attempts) != 1 || *attempts[0].Outcome != store.AttemptCanceled {
		t.Errorf("got attempts %+v, %v", attempts, err)
	}
}

func TestRemove_TakesTheCustomersDataOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := b.queued(t, func(g *store.NewGeneration) { g.Tags = []string{"x"} })
	b.finish(t, succeeded(b.claim(t, g.ID)))
	for range 2 {
		if err := b.RemoveGeneration(t.Context(), b.project.ID, g.ID); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.Generation(t.Context(), b.project.ID, g.ID)
	if err != nil || got.Prompt != "" || got.Tags != nil || got.RemovedAt == nil {
		t.Errorf("generation is %+v, %v", got, err)
	}
	due, err := b.ExpiredImages(t.Context(), nil, 10)
	if err != nil || len(due) != 1 || !due[0].Gone(time.Now()) {
		t.Fatalf("due images %v, %v; want the removed one", due, err)
	}
	b.wantPurge(t, g.ID)
	if err := b.MarkImagesPurged(t.Context(), []string{due[0].ID}); err != nil {
		t.Fatal(err)
	}
	if due, err := b.ExpiredImages(t.Context(), nil, 10); err != nil || len(due) != 0 {
		t.Errorf("purged images are due again: %v, %v", due, err)
	}
}

func TestGenerations_PagesBothWays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var ids []string // newest first
	for range 5 {
		ids = append([]string{b.queued(t, nil).ID}, ids...)
	}
	list := func(f store.GenerationFilter) []string {
		t.Helper()
		f.Limit = 2
		page, err := b.Generations(t.Context(), b.project.ID, f)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, g := range page {
			got = append(got, g.ID)
		}
		return got
	}
	for name, c := range map[string]struct {
		filter store.GenerationFilter
		want   []string
	}{
		"first":            {store.GenerationFilter{}, ids[:2]},
		"after":            {store.GenerationFilter{After: ids[1]}, ids[2:4]},
		"before":           {store.GenerationFilter{Before: ids[3]}, ids[1:3]},
		"ascending":        {store.GenerationFilter{Ascending: true}, []string{ids[4], ids[3]}},
		"ascending after":  {store.GenerationFilter{Ascending: true, After: ids[3]}, []string{ids[2], ids[1]}},
		"ascending before": {store.GenerationFilter{Ascending: true, Before: ids[1]}, []string{ids[3], ids[2]}},
	} {
		if diff := cmp.Diff(c.want, list(c.filter)); diff != "" {
			t.Errorf("%s differs (-want +got):\n%s", name, diff)
		}
	}
}

func TestGenerations_Filters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := b.queued(t, func(g *store.NewGeneration) {
		g.Prompt, g.Tags, g.Metadata, g.Model = "A Red Fox", []string{"fox"}, map[string]string{"k": "v", "x": "y"}, "dall-e-3"
	})
	b.queued(t, nil)
	before, after := g.CreatedAt.Add(-time.Hour), g.CreatedAt.Add(time.Hour)
	for name, c := range map[string]struct {
		filter store.GenerationFilter
		want   int
	}{
		"status":         {store.GenerationFilter{Status: store.StatusQueued}, 2},
		"other status":   {store.GenerationFilter{Status: store.StatusFailed}, 0},
		"tag":            {store.GenerationFilter{Tag: "fox"}, 1},
		"metadata":       {store.GenerationFilter{Metadata: map[string]string{"k": "v"}}, 1},
		"other metadata": {store.GenerationFilter{Metadata: map[string]string{"k": "w"}}, 0},
		"model asked":    {store.GenerationFilter{Model: "dall-e-3"}, 1},
		"model used":     {store.GenerationFilter{Model: "banana"}, 2},
		"query":          {store.GenerationFilter{Query: "red f"}, 1},
		"query literal":  {store.GenerationFilter{Query: "%"}, 0},
		"created after":  {store.GenerationFilter{CreatedAfter: &after}, 0},
		"created before": {store.GenerationFilter{CreatedBefore: &before}, 0},
		"created within": {store.GenerationFilter{CreatedAfter: &before, CreatedBefore: &after}, 2},
	} {
		c.filter.Limit = 10
		page, err := b.Generations(t.Context(), b.project.ID, c.filter)
		if err != nil || len(page) != c.want {
			t.Errorf("%s: got %d, %v; want %d", name, len(page), err, c.want)
		}
	}
}
