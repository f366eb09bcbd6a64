package worker_test

import (
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/worker"
)

// One row that can not be erased keeps nothing else, and what was given up is taken up
// again until nothing is found any more.
func TestEraseOrgs(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	org := b.project.OrgID
	bad := b.submit(t, jobs.GenerationRequest{Prompt: "bad"}).ID
	b.submit(t, jobs.GenerationRequest{Prompt: "good"})
	scope := store.Scope{OrgID: org, ProjectID: b.project.ID}
	if _, err := b.db.CreateWebhookEndpoint(t.Context(), scope, store.WebhookEndpoint{
		ID: store.NewWebhookEndpointID(), URL: "https://secret.example.com", Events: []string{"*"}, APIVersion: "x",
	}, store.SealedSecret{Sealed: []byte("secret"), Last4: "cret"}); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `CREATE FUNCTION bad() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'damaged row'; END $$`)
	b.exec(t, `CREATE TRIGGER bad BEFORE UPDATE ON generation FOR EACH ROW WHEN (OLD.id = '`+bad+`') EXECUTE FUNCTION bad()`)
	if err := b.db.Transact(t.Context(), func(tx *store.DB) error { return b.queue.DeleteOrg(t.Context(), tx, org) }); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE river.river_job SET scheduled_at = now(), state = 'available', max_attempts = 1 WHERE kind = 'erase_org'`)
	w := b.start(t, func(o *worker.Options) { o.Backoff = func(int) time.Duration { return time.Hour } })
	b.eventually(t, 1, `SELECT count(*) FROM river.river_job WHERE kind = 'erase_org' AND state = 'discarded'`)
	if n := b.number(t, `SELECT count(*) FROM webhook_secret`) + b.number(t, `SELECT count(*) FROM generation WHERE prompt = 'good'`); n != 0 {
		t.Errorf("%d good rows are left", n)
	}
	if n := b.number(t, `SELECT count(*) FROM generation WHERE prompt = 'bad'`); n != 1 {
		t.Errorf("%d bad rows are left", n)
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}

	b.exec(t, `DROP TRIGGER bad ON generation`)
	b.exec(t, `UPDATE org SET deleted_at = now() - interval '2 hours' WHERE id = $1`, org)
	b.exec(t, `INSERT INTO org (id, name, plan, deleted_at) VALUES ('org_just', 'just', 'free', now() - interval '10 minutes')`)
	b.exec(t, `INSERT INTO org (id, name, plan, deleted_at, erased_at) VALUES ('org_done', '', 'free', now() - interval '1 year', now())`)
	sweep := func(n int) {
		b.exec(t, `DELETE FROM river.river_job WHERE kind = 'erase_orgs'`)
		b.exec(t, `INSERT INTO river.river_job (kind, args, queue, max_attempts, state) SELECT 'erase_orgs', '{}', 'maintenance', 3, 'available' FROM generate_series(1, $1::int)`, n)
	}
	sweep(2)
	b.start(t, nil)
	b.eventually(t, 0, `SELECT count(*) FROM river.river_job WHERE kind = 'erase_orgs' AND state <> 'completed'`)
	b.eventually(t, 1, `SELECT count(*) FROM river.river_job WHERE kind = 'erase_org' AND state = 'scheduled'`)
	if n := b.number(t, `SELECT count(*) FROM river.river_job WHERE kind = 'erase_org'`); n != 2 {
		t.Errorf("there are %d erasures, want the one that was given up and one", n)
	}
	if n := b.number(t, `SELECT count(*) FROM generation WHERE prompt <> ''`) + b.number(t, `SELECT count(*) FROM org WHERE erased_at IS NOT NULL`); n != 1 {
		t.Errorf("%d generations are left, or it is called erased by a run that has found something", n)
	}
	b.exec(t, `
		WITH woken AS (SELECT pg_notify('river.river_insert', '{"queue": "maintenance"}'))
		UPDATE river.river_job SET created_at = now() - interval '2 hours', scheduled_at = now(), state = 'available'
		WHERE kind = 'erase_org' AND state = 'scheduled' AND (SELECT count(*) FROM woken) = 1`)
	b.eventually(t, 1, `SELECT count(*) FROM org WHERE id = '`+org+`' AND erased_at IS NOT NULL`)
	sweep(1)
	// The fleet's own timetable may add one.
	b.eventually(t, 0, `SELECT count(*) FROM river.river_job WHERE kind = 'erase_orgs' AND state <> 'completed'`)
	if n := b.number(t, `SELECT count(*) FROM river.river_job WHERE kind = 'erase_org'`); n != 2 {
		t.Errorf("there are %d erasures after the end", n)
	}
}
