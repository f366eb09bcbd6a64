package main

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// chaosWorld is a service that has settled after all went well: one generation
// of two images, one that failed, one that was canceled and one that expired.
type chaosWorld struct {
	*chaosEvidence
	blobs string // the directory of the images
}

const chaosRows = `
	INSERT INTO org (id, name, plan) VALUES ('org_1', 'one', 'free');
	INSERT INTO generation (id, org_id, project_id, api_key_id, kind, status, test, simulated, model, model_used, prompt, params,
		n, metadata, fence, attempts, worker, error, image_errors, created_at, started_at, finished_at, deadline_at)
	SELECT id, 'org_1', 'proj_1', 'key_1', 'generate', status, false, false, 'banana', 'banana', 'an owl', '{}',
		n, jsonb_build_object('job', job), fence, attempts, 'worker-1', error::jsonb, errors::jsonb,
		now() - interval '1 minute', CASE WHEN status <> 'expired' THEN now() - interval '50 seconds' END,
		now() - interval '40 seconds', now() + interval '1 hour'
	FROM (VALUES
		('gen_good', 'succeeded', 2, 'chaos-1-0', 1, 2, NULL, NULL),
		('gen_bad', 'failed', 1, 'chaos-1-1', 1, 1, '{"code":"content_moderated"}', '[{"index":0}]'),
		('gen_gone', 'canceled', 1, 'chaos-1-2', 1, 0, NULL, NULL),
		('gen_late', 'expired', 1, 'chaos-1-3', 1, 0, NULL, NULL)
	) AS g (id, status, n, job, fence, attempts, error, errors);
	INSERT INTO attempt (generation_id, n, org_id, project_id, fence, image_index, route, model, started_at, finished_at, outcome)
	SELECT id, n, 'org_1', 'proj_1', 1, idx, 'gemini', 'banana', now() - interval '50 seconds', now() - interval '41 seconds', outcome
	FROM (VALUES ('gen_good', 1, 0, 'succeeded'), ('gen_good', 2, 1, 'succeeded'), ('gen_bad', 1, 0, 'moderation')) AS a (id, n, idx, outcome);
	INSERT INTO image (id, generation_id, org_id, project_id, idx, blob_key, media_type, bytes, width, height, sha256, created_at)
	SELECT 'img_' || i, 'gen_good', 'org_1', 'proj_1', i, 'proj_1/gen_good/' || i, 'image/png', 9, 1, 1, sha256(convert_to('picture ' || i, 'UTF8')), now()
	FROM generate_series(0, 1) AS i;
	INSERT INTO idempotency_key (project_id, test, route, key, org_id, fingerprint, generation_id, expires_at)
	SELECT project_id, false, 'generations', metadata ->> 'job', org_id, '', id, now() + interval '1 day' FROM generation;
	INSERT INTO river.river_job (kind, args, queue, max_attempts, state, finalized_at)
	SELECT 'generate', jsonb_build_object('id', id), 'generate', 1000, 'completed', now() FROM generation;
	INSERT INTO worker (id, slots, batch_slots, seen_at) VALUES ('worker-1', 20, 5, now()), ('worker-0', 20, 5, now() - interval '1 minute');
	INSERT INTO admission (org_id, queue) VALUES ('org_1', 'generate')`

func newChaosWorld(t *testing.T) *chaosWorld {
	t.Helper()
	w := &chaosWorld{blobs: filepath.Join(storetest.Dir(t), "images")}
	images, err := blobs.OpenDir(w.blobs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = images.Close() })
	w.chaosEvidence = &chaosEvidence{
		db: storetest.New(t), images: images, now: time.Now(), workers: []string{"worker-1"},
		answers: map[string]int{"POST 202": 4, "POST 429": 1, "GET 200": 3, "GET cut": 2, "GET 503": 1},
		calls:   map[string]int{"chaos-1-0": 2, "chaos-1-1": 1},
		seen:    map[string][]string{},
	}
	w.exec(t, chaosRows)
	w.tell(t)
	org := &chaosOrg{id: "org_1", free: true}
	for i, id := range []string{"gen_good", "gen_bad", "gen_gone", "gen_late"} {
		status := []string{"succeeded", "failed", "canceled", "expired"}[i]
		w.jobs = append(w.jobs, &chaosJob{token: "chaos-1-" + string(rune('0'+i)), ids: []string{id}, status: status, org: org, model: "banana", n: 1})
	}
	w.jobs[0].n, w.jobs[0].images = 2, 2
	w.put(t, "proj_1/gen_good/0", "picture 0")
	w.put(t, "proj_1/gen_good/1", "picture 1")
	return w
}

// exec runs statements on the database.
func (w *chaosWorld) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := w.db.Pool().Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
}

// put stores a blob.
func (w *chaosWorld) put(t *testing.T, key, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.images.Put(t.Context(), key, path, blobs.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// violated returns what each invariant finds, if anything.
func (w *chaosWorld) violated(t *testing.T) map[string][]string {
	t.Helper()
	violated := map[string][]string{}
	for _, i := range chaosInvariants() {
		found, err := i.find(context.WithoutCancel(t.Context()), w.chaosEvidence)
		if err != nil {
			t.Fatalf("%s: %v", i.name, err)
		}
		if len(found) > 0 {
			violated[i.name] = found
		}
	}
	return violated
}

func TestChaosInvariants_HoldOfAServiceThatIsWell(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(map[string][]string{}, newChaosWorld(t).violated(t)); diff != "" {
		t.Errorf("violated (-want +got):\n%s", diff)
	}
}

// A chaosPlant is a way in which a service may not be left, with what must be
// found of it: all of it, and nothing else.
type chaosPlant struct {
	name  string
	plant func(t *testing.T, w *chaosWorld)
	want  map[string][]string
}

// chaosPlants are of all but events; see chaosEventPlants.
var chaosPlants = []chaosPlant{
	{"accepted and gone", func(_ *testing.T, w *chaosWorld) { w.jobs[0].ids = []string{"gen_never"} }, map[string][]string{
		"accepted_exists": {"gen_never of chaos-1-0 was accepted and does not exist"},
		"keys_kept":       {"key chaos-1-0 was answered with gen_never and is kept with [gen_good]"},
		"answers_true":    {"gen_never was told to have succeeded and is []"},
	}},
	{"never ended", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `UPDATE generation SET status = 'processing', finished_at = NULL WHERE id = 'gen_gone'`)
	}, map[string][]string{
		"all_ended":        {"gen_gone is processing (tries 0, attempts 0, worker worker-1)"},
		"tickets_match":    {"gen_gone is live with 0 live tickets"},
		"events_true":      {"evt_gones tells of generation.canceled (project proj_1, test f), which did not happen"},
		"webhooks_true":    {"evt_gones told whep_1 generation.canceled number 9 of gen_gone, which is canceled, the rows say generation.canceled number 9 of gen_gone, which is processing"},
		"admission_counts": {"org_1 in generate: 0 running and 0 held are counted, 1 and 0 are so"},
		"answers_true":     {"gen_gone was told to have canceled and is [processing]"},
	}},
	{"ended without a time", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `UPDATE generation SET finished_at = NULL WHERE id = 'gen_gone'`)
	}, map[string][]string{"all_ended": {"gen_gone is canceled (tries 0, attempts 0, worker worker-1)"}}},
	{"key forgotten", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `DELETE FROM idempotency_key WHERE generation_id = 'gen_bad'`)
	}, map[string][]string{"keys_kept": {"key chaos-1-1 was answered with gen_bad and is kept with []"}}},
	{"made twice", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `UPDATE generation SET metadata = '{"job":"chaos-1-1"}' WHERE id = 'gen_gone'`)
	}, map[string][]string{"key_makes_one": {"key chaos-1-1 was answered with [gen_bad] and made [gen_bad gen_gone]"}}},
	{"answered twice", func(_ *testing.T, w *chaosWorld) { w.jobs[1].accept("gen_gone") }, map[string][]string{
		"key_makes_one": {"key chaos-1-1 was answered with [gen_bad gen_gone] and made [gen_bad]"},
	}},
	{"image beyond n", func(t *testing.T, w *chaosWorld) { w.exec(t, `UPDATE generation SET n = 1 WHERE id = 'gen_good'`) }, map[string][]string{
		"images_within_n": {"gen_good has 2 images of 1"},
		"ends_complete":   {"gen_good is succeeded with 2 images and 0 image errors of 1, error none"},
	}},
	{"image of nothing", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `UPDATE image SET generation_id = 'gen_never' WHERE id = 'img_1'`)
	}, map[string][]string{
		"images_within_n": {"gen_never has 1 images of no generation"},
		"ends_complete":   {"gen_good is succeeded with 1 images and 0 image errors of 2, error none"},
	}},
	{"one index twice", func(t *testing.T, w *chaosWorld) { w.exec(t, `UPDATE image SET idx = 0`) }, map[string][]string{
		"images_within_n": {"gen_good has 2 images of 2"},
	}},
	{"image made twice", func(t *testing.T, w *chaosWorld) { w.exec(t, `UPDATE attempt SET image_index = 0`) }, map[string][]string{
		"one_success_per_image": {"gen_good has 2 successful calls for image 0"},
	}},
	{"shared blob", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `UPDATE image SET blob_key = 'proj_1/gen_good/0', sha256 = sha256('picture 0')`)
		if err := w.images.Delete(t.Context(), "proj_1/gen_good/1"); err != nil {
			t.Fatal(err)
		}
	}, map[string][]string{"pictures_unique": {"blob proj_1/gen_good/0 is of img_0, img_1", "picture " + sumOf("picture 0") + " is of img_0, img_1"}}},
	{"two tickets", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `UPDATE river.river_job SET state = 'available', finalized_at = NULL WHERE args ->> 'id' = 'gen_late'`)
	}, map[string][]string{"tickets_match": {"gen_late is ended with 1 live tickets"}}},
	{"slot never freed", func(t *testing.T, w *chaosWorld) { w.exec(t, `UPDATE admission SET running = 1, held = 2`) }, map[string][]string{
		"admission_counts": {"org_1 in generate: 1 running and 2 held are counted, 0 and 0 are so"},
	}},
	{"dead worker alive", func(t *testing.T, w *chaosWorld) {
		if _, err := w.db.Pool().Exec(t.Context(), `UPDATE worker SET seen_at = $1`, w.now); err != nil {
			t.Fatal(err)
		}
	}, map[string][]string{
		"workers_live": {"worker-0 is dead and was seen 0.0 s ago"},
	}},
	{"live worker silent", func(_ *testing.T, w *chaosWorld) { w.workers = append(w.workers, "worker-2") }, map[string][]string{
		"workers_live": {"worker-2 lives and was not seen for 5 s"},
	}},
	{"blob without a row", func(t *testing.T, w *chaosWorld) { w.put(t, "proj_1/gen_bad/0", "x") }, map[string][]string{
		"blobs_have_rows": {"blob proj_1/gen_bad/0 has no row and nobody to remove it"},
	}},
	{"old blob without a row", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `UPDATE generation SET purge_at = now() WHERE id = 'gen_bad'`)
		w.put(t, "proj_1/gen_bad/0", "x")
		w.now = w.now.Add(2 * time.Hour)
		w.workers = nil
	}, map[string][]string{"blobs_have_rows": {"blob proj_1/gen_bad/0 has no row and is 2h0m0s old"}}},
	{"blob of a purged image", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `UPDATE image SET purged_at = now() WHERE id = 'img_1'`)
	}, map[string][]string{"blobs_have_rows": {"blob proj_1/gen_good/1 is of a purged image and has nobody to remove it"}}},
	{"blob of a purged image that is looked for", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `UPDATE image SET purged_at = now() WHERE id = 'img_1'`)
		w.exec(t, `UPDATE generation SET purge_at = now() + interval '5 minutes' WHERE id = 'gen_good'`)
	}, map[string][]string{}},
	{"row without a blob", func(t *testing.T, w *chaosWorld) {
		if err := w.images.Delete(t.Context(), "proj_1/gen_good/1"); err != nil {
			t.Fatal(err)
		}
	}, map[string][]string{"images_stored": {"img_1 has no blob proj_1/gen_good/1"}}},
	{"other bytes", func(t *testing.T, w *chaosWorld) { w.exec(t, `UPDATE image SET sha256 = '\x00' WHERE id = 'img_0'`) }, map[string][]string{
		"images_stored": {"img_0 has other bytes than its row's SHA-256"},
	}},
	{"fewer bytes", func(t *testing.T, w *chaosWorld) { w.exec(t, `UPDATE image SET bytes = 10 WHERE id = 'img_0'`) }, map[string][]string{
		"images_stored": {"img_0 has 10 bytes in its row and 9 in its blob"},
	}},
	{"failed without a reason", func(t *testing.T, w *chaosWorld) { w.exec(t, `UPDATE generation SET error = NULL`) }, map[string][]string{
		"ends_complete": {"gen_bad is failed with 0 images and 1 image errors of 1, error none"},
	}},
	{"told otherwise", func(_ *testing.T, w *chaosWorld) { w.jobs[2].status = "succeeded" }, map[string][]string{
		"answers_true": {"gen_gone was told to have succeeded and is [canceled]"},
	}},
	{"paid three times", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `
			INSERT INTO attempt SELECT (jsonb_populate_record(a, jsonb_build_object('n', n + i, 'outcome', 'ambiguous'))).*
			FROM attempt AS a, generate_series(1, 2) AS i WHERE generation_id = 'gen_bad';
			UPDATE attempt SET outcome = 'ambiguous' WHERE generation_id = 'gen_bad';
			UPDATE generation SET attempts = 3 WHERE id = 'gen_bad'`)
	}, map[string][]string{"paid_within_budget": {"image 0 of gen_bad: 3 calls were paid or may have been (ambiguous, ambiguous, ambiguous)"}}},
	{"call without an outcome", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `UPDATE attempt SET outcome = NULL, finished_at = NULL WHERE generation_id = 'gen_bad'`)
	}, map[string][]string{"attempts_ended": {"call 1 of gen_bad has no outcome (failed)"}}},
	{"calls miscounted", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `UPDATE generation SET attempts = 2 WHERE id = 'gen_bad'`)
	}, map[string][]string{
		"attempts_counted": {"gen_bad counts 2 calls and has 1"},
	}},
	{"call not recorded", func(_ *testing.T, w *chaosWorld) { w.calls["chaos-1-2"] = 1 }, map[string][]string{
		"calls_recorded": {"chaos-1-2: the provider was called 1 times, 0 calls are recorded"},
	}},
	{"bare 500", func(_ *testing.T, w *chaosWorld) { w.answers["POST 500"] = 3 }, map[string][]string{
		"answers_tolerable": {"POST 500: 3 times"},
	}},
	{"refused", func(_ *testing.T, w *chaosWorld) { w.jobs[3].refused = 422 }, map[string][]string{
		"all_answered": {"chaos-1-3 was refused with 422"},
	}},
	{"no answer", func(_ *testing.T, w *chaosWorld) { w.jobs[3].ids, w.jobs[3].status = nil, "" }, map[string][]string{
		"all_answered": {"chaos-1-3 was never answered"},
	}},
	{"end not told", func(_ *testing.T, w *chaosWorld) { w.jobs[3].status = "" }, map[string][]string{
		"all_answered": {"gen_late was accepted and its end never told"},
	}},
	{"no job at all", func(_ *testing.T, w *chaosWorld) { w.jobs = nil }, map[string][]string{
		"all_answered": {"none of 0 jobs was accepted"},
	}},
	{"recovered late or never", func(_ *testing.T, w *chaosWorld) {
		since := func(seconds float64) time.Time { return w.now.Add(time.Duration(seconds * float64(time.Second))) }
		w.workers = append(w.workers, "worker-1") // two places
		w.strikes = []chaosStrike{{chaosEvent{blow: blowKill, role: roleWorker}, since(-0.1), since(2)}}
		w.recoveries = []chaosRecovered{
			{"gen_good", 0, w.now, since(7.9)}, {"gen_bad", 0, w.now, since(8.1)}, {"gen_gone", 0, w.now, time.Time{}},
		}
	}, map[string][]string{"recovered_in_time": {
		"gen_bad of worker1 was taken up after 8.1 s, allowed are 8.0", "gen_gone of worker1 was never taken up",
	}}},
	{"database back for nobody", func(_ *testing.T, w *chaosWorld) {
		soon, late := w.now.Add(9*time.Second), w.now.Add(11*time.Second)
		w.comebacks = []chaosComeback{
			{w.now, w.now, soon, w.now, soon}, {back: w.now}, // well; nothing left to do
			{w.now, w.now, late, w.now, late}, {back: w.now, asked: w.now, worked: w.now},
		}
	}, map[string][]string{"database_back": {
		"return 3 of the database: the first answer came after 11.0 s, allowed are 10.0",
		"return 3 of the database: the first end came after 11.0 s, allowed are 10.0",
		"return 4 of the database: no answer came", "return 4 of the database: no end came",
	}}},
	{"changed after the end", func(_ *testing.T, w *chaosWorld) { w.seen[seenEndedStays] = []string{"gen_good was"} }, map[string][]string{
		seenEndedStays: {"gen_good was"},
	}},
}

func sumOf(text string) string {
	const digits = "0123456789abcdef"
	sum, b := sha256.Sum256([]byte(text)), strings.Builder{}
	for _, c := range sum[:6] {
		_ = b.WriteByte(digits[c>>4])
		_ = b.WriteByte(digits[c&15])
	}
	return b.String()
}

func TestChaosInvariants_FindWhatIsPlanted(t *testing.T) {
	t.Parallel()
	for _, tt := range slices.Concat(chaosPlants, chaosEventPlants) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newChaosWorld(t)
			tt.plant(t, w)
			if diff := cmp.Diff(tt.want, w.violated(t)); diff != "" {
				t.Errorf("violated (-want +got):\n%s", diff)
			}
		})
	}
}

func TestChaosInvariants_EachHasAPlant(t *testing.T) {
	t.Parallel()
	planted := map[string]bool{seenTickets: true, seenCaps: true, seenCounts: true, seenCredits: true, seenNumbers: true, seenProcesses: true} // see TestChaosWatch
	for _, p := range slices.Concat(chaosPlants, chaosEventPlants, chaosMoneyPlants) {
		for name := range p.want {
			planted[name] = true
		}
	}
	var names []string
	for _, i := range chaosInvariants() {
		names = append(names, i.name)
		if !planted[i.name] {
			t.Errorf("nothing shows that %s is found violated", i.name)
		}
		if i.promise == "" || !slices.Contains([]string{"", harmLost, harmDoubled, harmLeaked, harmChargedTwice, harmHeldCredits, harmUncharged}, i.harm) {
			t.Errorf("%s promises %q and does %q harm", i.name, i.promise, i.harm)
		}
	}
	if slices.Sort(names); len(slices.Compact(names)) != len(chaosInvariants()) {
		t.Errorf("two invariants have one name: %v", names)
	}
	for name := range planted {
		if !slices.Contains(names, name) {
			t.Errorf("there is no invariant %s", name)
		}
	}
}

func TestChaosInvariants_AHeldGenerationHasNoTicket(t *testing.T) {
	t.Parallel()
	w := newChaosWorld(t)
	w.exec(t, `
		UPDATE generation SET status = 'queued', finished_at = NULL, held_at = now() WHERE id IN ('gen_gone', 'gen_late');
		UPDATE river.river_job SET state = 'available', finalized_at = NULL WHERE args ->> 'id' = 'gen_late'`)
	if diff := cmp.Diff([]string{"gen_late is held with 1 live tickets"}, w.violated(t)["tickets_match"]); diff != "" {
		t.Errorf("tickets_match (-want +got):\n%s", diff)
	}
	if g, err := w.db.Generation(t.Context(), "proj_1", "gen_late"); err != nil || g.Status != store.StatusQueued {
		t.Errorf("the generation is %v, %v", g, err)
	}
}
