package jobs_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

type bundle struct {
	db      *store.DB
	queue   *jobs.Queue
	project *store.Project
}

func setup(t *testing.T) *bundle {
	t.Helper()
	db := storetest.New(t)
	project, err := db.CreateFirstProject(t.Context(), "unlimited", nil)
	if err != nil {
		t.Fatal(err)
	}
	queue, err := jobs.NewQueue(jobs.Options{DB: db, LiveSimulated: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(queue.Close)
	return &bundle{db: db, queue: queue, project: project}
}

func (b *bundle) submission(key string) jobs.Submission {
	return jobs.Submission{
		OrgID: b.project.OrgID, ProjectID: b.project.ID, APIKeyID: "key_1", IdempotencyKey: key,
		Request: jobs.GenerationRequest{Prompt: "a banana"},
	}
}

// count returns how many rows a query counts.
func (b *bundle) count(t *testing.T, sql string) int {
	t.Helper()
	var n int
	if err := b.db.Pool().QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (b *bundle) wantRows(t *testing.T, generations int) {
	t.Helper()
	if n := b.count(t, `SELECT count(*) FROM generation`); n != generations {
		t.Errorf("%d generations, want %d", n, generations)
	}
	if n := b.count(t, `SELECT count(*) FROM river.river_job WHERE kind = 'generate' AND state = 'available'`); n != generations {
		t.Errorf("%d tickets, want %d", n, generations)
	}
}

func TestSubmit_RecordsGenerationAndTicketTogether(t *testing.T) {
	t.Parallel()
	b := setup(t)
	accepted, err := b.queue.SubmitGeneration(t.Context(), b.submission(""))
	if err != nil {
		t.Fatal(err)
	}
	stored, err := b.db.Generation(t.Context(), b.project.ID, accepted.Generation.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(stored.Params, accepted.Generation.Params); diff != "" {
		t.Errorf("params differ (-stored +accepted):\n%s", diff)
	}
	if !stored.Simulated || stored.Test || stored.ModelUsed != "banana" || stored.Params.AspectRatio != "1:1" {
		t.Errorf("stored generation is %+v", stored)
	}
	var args string
	if err := b.db.Pool().QueryRow(t.Context(), `SELECT args::text FROM river.river_job`).Scan(&args); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf(`{"id": %q}`, stored.ID); args != want {
		t.Errorf("the ticket carries %s, want %s", args, want)
	}
	b.wantRows(t, 1)
}

func TestSubmit_ManyAtOnceShareCommits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var wg sync.WaitGroup
	for range store.DefaultCapacity {
		wg.Go(func() {
			if _, err := b.queue.SubmitGeneration(t.Context(), b.submission("")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b.wantRows(t, store.DefaultCapacity)
}

func TestSubmit_OneIdempotencyKeyFiftyTimesAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other, err := jobs.NewQueue(jobs.Options{DB: b.db, LiveSimulated: true}) // as a second process
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	var mu sync.Mutex
	ids, fresh := map[string]bool{}, 0
	var wg sync.WaitGroup
	for i := range 50 {
		queue := []*jobs.Queue{b.queue, other}[i%2]
		wg.Go(func() {
			accepted, err := queue.SubmitGeneration(t.Context(), b.submission("same"))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids[accepted.Generation.ID] = true
			if !accepted.Replayed {
				fresh++
			}
		})
	}
	wg.Wait()
	if len(ids) != 1 || fresh != 1 {
		t.Errorf("got %d generations, %d of them fresh; want 1 and 1", len(ids), fresh)
	}
	b.wantRows(t, 1)
}

func TestSubmit_AStalledKeyHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	err := b.db.Transact(t.Context(), func(stalled *store.DB) error {
		_, err := stalled.ClaimIdempotencyKeys(t.Context(), []*store.IdempotencyKey{{
			ProjectID: b.project.ID, Route: "generations", Key: "held", OrgID: b.project.OrgID,
			Fingerprint: []byte("x"), GenerationID: store.NewGenerationID(), ExpiresAt: time.Now().Add(time.Hour),
		}})
		if err != nil {
			return err
		}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := b.queue.SubmitGeneration(t.Context(), b.submission("held")); !errors.Is(err, jobs.ErrIdempotencyInFlight) {
					t.Errorf("got %v, want ErrIdempotencyInFlight", err)
				}
			})
			wg.Go(func() {
				began := time.Now()
				if _, err := b.queue.SubmitGeneration(t.Context(), b.submission("")); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > 3*time.Second {
					t.Errorf("a submission without the key took %s", took)
				}
			})
		}
		wg.Wait()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b.wantRows(t, 20)
}

func TestSubmit_IdempotencyKeyScope(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, err := b.queue.SubmitGeneration(t.Context(), b.submission("k"))
	if err != nil {
		t.Fatal(err)
	}
	changed := b.submission("k")
	changed.Request.Prompt = "a pear"
	if _, err := b.queue.SubmitGeneration(t.Context(), changed); !errors.Is(err, jobs.ErrIdempotencyKeyReused) {
		t.Errorf("another request gave %v, want ErrIdempotencyKeyReused", err)
	}
	test := b.submission("k")
	test.Test = true
	other := b.submission("k")
	project, err := b.db.CreateProject(t.Context(), b.project.OrgID, "other")
	if err != nil {
		t.Fatal(err)
	}
	other.ProjectID = project.ID
	for name, s := range map[string]jobs.Submission{"test key": test, "other project": other} {
		accepted, err := b.queue.SubmitGeneration(t.Context(), s)
		if err != nil || accepted.Replayed || accepted.Generation.ID == first.Generation.ID {
			t.Errorf("%s: got %+v, %v; want a generation of its own", name, accepted, err)
		}
	}
	b.wantRows(t, 3)
}

func TestSubmit_FaultsLeaveNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.submission("k")
	s.Request = jobs.GenerationRequest{Prompt: " ", Size: "7x7", N: 11, Format: "gif", Style: "baroque", Tags: []string{""}}
	_, err := b.queue.SubmitGeneration(t.Context(), s)
	var invalid *jobs.InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("got %v, want an InvalidError", err)
	}
	var params []string
	for _, f := range invalid.Faults {
		params = append(params, f.Param)
	}
	if diff := cmp.Diff([]string{"prompt", "tags.0", "n", "style", "format", "size"}, params); diff != "" {
		t.Errorf("faulty params differ (-want +got):\n%s", diff)
	}
	b.wantRows(t, 0)
	if n := b.count(t, `SELECT count(*) FROM idempotency_key`); n != 0 {
		t.Error("a refused request took its idempotency key")
	}
}

func TestGenerationRequest_Faults(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, c := range map[string]struct {
		request jobs.GenerationRequest
		want    []string // param and code
	}{
		"fine":                  {jobs.GenerationRequest{Prompt: "x", Size: "1280x896", N: 10, Quality: "high", Format: "webp"}, nil},
		"native size":           {jobs.GenerationRequest{Prompt: "x", Size: "1376x768"}, nil},
		"native 2K size":        {jobs.GenerationRequest{Prompt: "x", Size: "2048x2048"}, nil},
		"longest prompt":        {jobs.GenerationRequest{Prompt: strings.Repeat("ü", jobs.MaxPromptLength)}, nil},
		"too long prompt":       {jobs.GenerationRequest{Prompt: strings.Repeat("ü", jobs.MaxPromptLength+1)}, []string{"prompt too_long"}},
		"no prompt":             {jobs.GenerationRequest{}, []string{"prompt required"}},
		"zero byte":             {jobs.GenerationRequest{Prompt: "a\x00b"}, []string{"prompt invalid"}},
		"any size":              {jobs.GenerationRequest{Prompt: "x", Size: "1000x333"}, nil},
		"largest size":          {jobs.GenerationRequest{Prompt: "x", Size: "4096x4096"}, nil},
		"native size, longer":   {jobs.GenerationRequest{Prompt: "x", Size: "12288x1536"}, nil},
		"size too small":        {jobs.GenerationRequest{Prompt: "x", Size: "255x256"}, []string{"size unsupported_value"}},
		"size too large":        {jobs.GenerationRequest{Prompt: "x", Size: "256x4097"}, []string{"size unsupported_value"}},
		"size beyond any ratio": {jobs.GenerationRequest{Prompt: "x", Size: "4096x4000", Model: "banana-lite"}, []string{"size unsupported_value"}},
		"standard size of lite": {jobs.GenerationRequest{Prompt: "x", Size: "1280x896", Model: "banana-lite"}, nil},
		"size lite enlarges":    {jobs.GenerationRequest{Prompt: "x", Size: "1280x897", Model: "banana-lite"}, []string{"size unsupported_value"}},
		"size of no shape":      {jobs.GenerationRequest{Prompt: "x", Size: "1024x256", Model: "gpt-image"}, []string{"size unsupported_value"}},
		"size of many pixels":   {jobs.GenerationRequest{Prompt: "x", Size: "3000x3000", Model: "gpt-image"}, []string{"size unsupported_value"}},
		"size overflows":        {jobs.GenerationRequest{Prompt: "x", Size: "9223372036854775807x9223372036854775807"}, []string{"size unsupported_value"}},
		"size not a size":       {jobs.GenerationRequest{Prompt: "x", Size: "big"}, []string{"size unsupported_value"}},
		"size with sign":        {jobs.GenerationRequest{Prompt: "x", Size: "+1024x1024"}, []string{"size unsupported_value"}},
		"size lite can't":       {jobs.GenerationRequest{Prompt: "x", Size: "2048x2048", Model: "banana-lite"}, []string{"size unsupported_value"}},
		"named ratio":           {jobs.GenerationRequest{Prompt: "x", AspectRatio: "widescreen"}, nil},
		"native ratio":          {jobs.GenerationRequest{Prompt: "x", AspectRatio: "21:9"}, nil},
		"unknown ratio":         {jobs.GenerationRequest{Prompt: "x", AspectRatio: "7:5"}, []string{"aspect_ratio unsupported_value"}},
		"size and its ratio":    {jobs.GenerationRequest{Prompt: "x", Size: "1024x1024", AspectRatio: "square"}, nil},
		"size against ratio":    {jobs.GenerationRequest{Prompt: "x", Size: "1024x1024", AspectRatio: "16:9"}, []string{"aspect_ratio conflict"}},
		"retired model":         {jobs.GenerationRequest{Prompt: "x", Model: "dall-e-3"}, nil},
		"unknown model":         {jobs.GenerationRequest{Prompt: "x", Model: "crayon"}, []string{"model unsupported_value"}},
		"all of them":           {jobs.GenerationRequest{Prompt: "x", Model: "crayon", Size: "7x7", AspectRatio: "z"}, []string{"model unsupported_value", "aspect_ratio unsupported_value", "size unsupported_value"}},
		"not UTF-8":             {jobs.GenerationRequest{Prompt: "a\xff"}, []string{"prompt invalid"}},
		"negative n":            {jobs.GenerationRequest{Prompt: "x", N: -1}, []string{"n out_of_range"}},
		"deadline":              {jobs.GenerationRequest{Prompt: "x", DeadlineSeconds: 86401}, []string{"deadline_seconds out_of_range"}},
		"compression":           {jobs.GenerationRequest{Prompt: "x", Compression: new(-1)}, []string{"output_compression out_of_range"}},
		"compressed png":        {jobs.GenerationRequest{Prompt: "x", Compression: new(80), Format: "png"}, []string{"output_compression conflict"}},
		"compressed webp":       {jobs.GenerationRequest{Prompt: "x", Compression: new(80), Format: "webp"}, nil},
		"batch":                 {jobs.GenerationRequest{Prompt: "x", Priority: "batch"}, nil},
		"urgent":                {jobs.GenerationRequest{Prompt: "x", Priority: "urgent"}, []string{"priority unsupported_value"}},
		"transparent":           {jobs.GenerationRequest{Prompt: "x", Background: "transparent"}, []string{"background unsupported_value"}},
		"too many tags":         {jobs.GenerationRequest{Prompt: "x", Tags: make([]string, 21)}, []string{"tags too_long"}},
		"metadata key too long": {jobs.GenerationRequest{Prompt: "x", Metadata: map[string]string{strings.Repeat("k", 65): ""}}, []string{"metadata." + strings.Repeat("k", 40) + "… too_long"}},
		"metadata value":        {jobs.GenerationRequest{Prompt: "x", Metadata: map[string]string{"k": strings.Repeat("v", 513)}}, []string{"metadata.k too_long"}},
	} {
		var got []string
		for _, f := range b.queue.Faults(&c.request) {
			got = append(got, f.Param+" "+f.Code)
			if f.Message == "" {
				t.Errorf("%s: a fault says nothing", name)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: faults differ (-want +got):\n%s", name, diff)
		}
	}
}

func TestCancel_QueuedAndTwice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	accepted, err := b.queue.SubmitGeneration(t.Context(), b.submission(""))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		g, err := b.queue.CancelGeneration(t.Context(), b.project.ID, accepted.Generation.ID)
		if err != nil || g.Status != store.StatusCanceled {
			t.Fatalf("got %+v, %v", g, err)
		}
	}
	if n := b.count(t, `SELECT count(*) FROM river.river_job WHERE state = 'cancelled'`); n != 1 {
		t.Errorf("%d tickets are cancelled, want the one of the generation", n)
	}
	for _, id := range []string{store.NewGenerationID(), "gen_\x00", ""} {
		if _, err := b.queue.CancelGeneration(t.Context(), b.project.ID, id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("canceling %q gave %v, want ErrNotFound", id, err)
		}
		if err := b.queue.RemoveGeneration(t.Context(), b.project.ID, id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("removing %q gave %v, want ErrNotFound", id, err)
		}
	}
}

// What is refused for its key's monthly limit takes no idempotency key: who repeats it
// is told the same, and another key may use it.
func TestSubmit_BeyondTheMonthlyLimit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	limit := 1
	submit := func(key string) error {
		s := b.submission(key)
		s.KeyMonthly = &limit
		_, err := b.queue.SubmitGeneration(t.Context(), s)
		return err
	}
	if err := submit("first"); err != nil {
		t.Fatal(err)
	}
	if err := submit("first"); err != nil {
		t.Errorf("a replay: %v", err)
	}
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			var quota *jobs.QuotaError
			if err := submit("second"); !errors.As(err, &quota) || quota.Limit != 1 || !quota.ResetsAt.After(time.Now()) {
				t.Errorf("beyond the limit: %v", err)
			}
		})
	}
	clients.Wait()
	b.wantRows(t, 1)
	unlimited := b.submission("second")
	unlimited.APIKeyID = "key_2"
	if accepted, err := b.queue.SubmitGeneration(t.Context(), unlimited); err != nil || accepted.Replayed {
		t.Errorf("another key: %v, %v", accepted, err)
	}
	b.wantRows(t, 2)
}
