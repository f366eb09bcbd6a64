package store_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// olderSubmit is how a program that knows no credits records a generation, and
// olderFinish how it ends one.
const (
	olderSubmit = `
		INSERT INTO generation (
			id, org_id, project_id, api_key_id, kind, status, test, simulated, model, model_used,
			prompt, params, n, metadata, tags, created_at, deadline_at, queue, held_at, river_job_id, webhook_url, webhook_events)
		VALUES ($1, $2, $3, 'key_1', 'generate', 'queued', false, false, 'banana', 'banana',
			'a banana', '{"resolution": "1K"}', 1, NULL, NULL, now(), now() + interval '1 hour', 'generate', NULL, NULL, NULL, NULL)`
	olderFinish = `
		UPDATE generation
		SET status = $2, error = $3, image_errors = $4, finished_at = now()
		WHERE id = $1`
	olderImage = `
		INSERT INTO image (id, generation_id, org_id, project_id, idx, blob_key, media_type, bytes, width, height, sha256, created_at, expires_at)
		SELECT $2, id, org_id, project_id, $3, $2, 'image/png', 1, 1, 1, '', now(), now() + interval '1 day' FROM generation WHERE id = $1`
)

func (b *bundle) olderImages(t *testing.T, id string, n int) {
	t.Helper()
	for i := range n {
		b.exec(t, olderImage, id, store.ImageID(id, i), i)
	}
}

// A program that knows no credits may run beside this one: what it records is free, and
// what it ends is charged when someone looks, once, however many look.
func TestSettleUnsettled_OfAnOlderProgram(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "free")
	succeeds, part, fails, ends, lives := b.priced(org, 3), b.priced(org, 8), b.priced(org, 5), b.priced(org, 1), b.priced(org, 2)
	part.N = 4
	rows := []*store.NewGeneration{succeeds, part, fails, ends, lives}
	if err := b.InsertGenerations(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	free := store.NewGenerationID()
	b.exec(t, olderSubmit, free, org, b.project.ID)
	b.olderImages(t, succeeds.ID, 1)
	b.exec(t, olderFinish, succeeds.ID, "succeeded", nil, nil)
	b.olderImages(t, part.ID, 3)
	b.exec(t, olderFinish, part.ID, "succeeded", nil, `[{"index": 3, "error": {"code": "content_blocked", "message": ""}}]`)
	b.exec(t, olderFinish, fails.ID, "failed", `{"code": "provider_error", "message": ""}`, nil)
	b.exec(t, olderFinish, ends.ID, "canceled", nil, nil)
	b.olderImages(t, free, 1)
	b.exec(t, olderFinish, free, "succeeded", nil, nil)

	var all sync.WaitGroup
	var mu sync.Mutex
	total := 0
	for range 4 {
		all.Go(func() {
			n, err := b.SettleUnsettled(t.Context(), 3)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			total += n
			mu.Unlock()
		})
	}
	all.Wait()
	n, err := b.SettleUnsettled(t.Context(), 10) // what those that met have left
	if total += n; err != nil || total != 4 {
		t.Errorf("%d settled, %v, want 4", total, err)
	}
	if got, want := b.credits(t, org), "50 granted, 2 reserved, 9 used"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	reasons := b.lines(t, `SELECT format('%s %s %s', kind, used, reason) FROM credit_entry WHERE kind IN ('settle', 'release') ORDER BY used DESC, reason`)
	want := []string{"settle 6 content_blocked", "settle 3 ", "release 0 canceled", "release 0 provider_error"}
	if diff := cmp.Diff(want, reasons); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	b.wantNoFaults(t)
}

// What was accepted before there were credits stays free, wherever it ends.
func TestMigrate_OldGenerationsStayFree(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), storetest.Unmigrated(t), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if err := db.MigrateTo(t.Context(), "0007"); err != nil {
		t.Fatal(err)
	}
	b := &bundle{DB: db, project: &store.Project{ID: "proj_1", OrgID: "org_1"}}
	b.exec(t, `INSERT INTO org (id, name, plan) VALUES ('org_1', 'o', 'free')`)
	b.exec(t, `INSERT INTO project (id, org_id, name) VALUES ('proj_1', 'org_1', 'p')`)
	ids := []string{store.NewGenerationID(), store.NewGenerationID(), store.NewGenerationID()}
	for _, id := range ids {
		b.exec(t, olderSubmit, id, "org_1", "proj_1")
	}
	b.exec(t, olderFinish, ids[0], "failed", `{"code": "provider_error", "message": ""}`, nil)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	claims, err := db.ClaimGenerations(t.Context(), claimer, []store.Ticket{{GenerationID: ids[1], RiverJobID: 1}})
	if err != nil || claims[0] == nil {
		t.Fatal(claims, err)
	}
	if !b.finish(t, succeeded(claims[0])) {
		t.Error("it did not finish")
	}
	if _, ended, err := db.CancelGeneration(t.Context(), "proj_1", ids[2]); !ended || err != nil {
		t.Errorf("canceled: %t, %v", ended, err)
	}
	if n, err := db.SettleUnsettled(t.Context(), 10); n != 0 || err != nil {
		t.Errorf("%d settled, %v", n, err)
	}
	if left := b.lines(t, `SELECT kind FROM credit_entry UNION ALL SELECT model FROM usage_hour UNION ALL SELECT plan FROM credit_account`); len(left) > 0 {
		t.Errorf("written: %q", left)
	}
	if charged := b.lines(t, `SELECT id FROM generation WHERE coalesce(credits, charged) IS NOT NULL`); len(charged) > 0 {
		t.Errorf("charged: %q", charged)
	}
	b.wantNoFaults(t)
	// From now on what it asks for costs.
	g := b.priced("org_1", 1)
	g.CreatedAt, g.DeadlineAt = time.Now(), time.Now().Add(time.Hour)
	if err := db.InsertGenerations(t.Context(), []*store.NewGeneration{g}); err != nil || g.Refusal != nil {
		t.Fatal(err, g.Refusal)
	}
	if got, want := b.credits(t, "org_1"), "50 granted, 1 reserved, 0 used"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	b.wantNoFaults(t)
}

// The migration holds generations and images alone, but for no longer than it takes to
// add columns: it reads neither.
func TestMigrate_ReadsNoTableOfWork(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), storetest.Unmigrated(t), store.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if err := db.MigrateTo(t.Context(), "0007"); err != nil {
		t.Fatal(err)
	}
	b := &bundle{DB: db}
	b.exec(t, `INSERT INTO org (id, name, plan) VALUES ('org_1', 'o', 'free')`)
	b.exec(t, `INSERT INTO project (id, org_id, name) VALUES ('proj_1', 'org_1', 'p')`)
	b.exec(t, olderSubmit, "gen_1", "org_1", "proj_1")
	const reads = `
		SELECT relname || ' ' || pg_stat_get_numscans(oid) || ' ' || pg_relation_filenode(oid) FROM pg_class
		WHERE relname IN ('generation', 'image', 'attempt') AND relkind = 'r' AND relnamespace = 'public'::regnamespace
		ORDER BY relname`
	flush := func() { b.lines(t, `SELECT pg_stat_force_next_flush()::text`) } // of the only connection
	flush()
	before := b.lines(t, reads)
	if err := db.MigrateTo(t.Context(), "0008"); err != nil {
		t.Fatal(err)
	}
	flush()
	if diff := cmp.Diff(before, b.lines(t, reads)); diff != "" {
		t.Errorf("reads of each, and its file (-before +after):\n%s", diff)
	}
}
