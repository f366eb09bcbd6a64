package worker_test

import (
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/worker"
)

// A deleted organization's work is removed to the last blob, whether it had ended, was
// under way or had not begun; another's is not touched.
func TestEraseOrg(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	w := b.start(t, func(o *worker.Options) {
		o.Simulator.Routes[0].Provider = sending(t, jpegOf(t, drawing(1040, 1040, 9)))
	})
	ended := b.images(t, b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "secret"}).ID))[0]
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.submit(t, jobs.GenerationRequest{Prompt: "secret"})
	under := b.submit(t, jobs.GenerationRequest{Prompt: "secret"}).ID
	b.exec(t, `UPDATE generation SET status = 'processing', started_at = now(), fence = 1 WHERE id = $1`, under)
	if _, err := b.db.CreateWebhookEndpoint(t.Context(), store.Scope{OrgID: b.project.OrgID, ProjectID: b.project.ID}, store.WebhookEndpoint{
		ID: store.NewWebhookEndpointID(), URL: "https://secret.example.com", Events: []string{"*"}, Description: "secret", APIVersion: "x",
	}, store.SealedSecret{Sealed: []byte("secret"), Last4: "cret"}); err != nil {
		t.Fatal(err)
	}
	kept := b.project
	b.exec(t, `INSERT INTO org (id, name, plan) VALUES ('org_kept', 'kept', 'free')`)
	b.exec(t, `INSERT INTO generation SELECT (jsonb_populate_record(g, '{"id": "gen_kept", "org_id": "org_kept", "project_id": "proj_kept", "status": "failed"}')).* FROM generation AS g WHERE id = $1`, under)

	err := b.db.Transact(t.Context(), func(tx *store.DB) error { return b.queue.DeleteOrg(t.Context(), tx, kept.OrgID) })
	if err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE river.river_job SET scheduled_at = now(), state = 'available' WHERE kind = 'erase_org'`)
	b.exec(t, `DELETE FROM river.river_job WHERE kind = 'expire_images'`)
	b.start(t, nil)
	left := func(sql string, args ...any) (n int) {
		if err := b.db.Pool().QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	deadline := time.Now().Add(2 * time.Minute)
	for left(`SELECT count(*) FROM org WHERE id = $1 AND name = ''`, kept.OrgID) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("the organization is not erased")
		}
		time.Sleep(5 * time.Millisecond)
	}
	for what, sql := range map[string]string{
		"generations with a prompt": `SELECT count(*) FROM generation WHERE org_id = $1 AND (prompt <> '' OR removed_at IS NULL)`,
		"live generations":          `SELECT count(*) FROM generation WHERE org_id = $1 AND status IN ('queued', 'processing')`,
		"images to be seen":         `SELECT count(*) FROM image WHERE org_id = $1 AND deleted_at IS NULL`,
		"webhook secrets":           `SELECT count(*) FROM webhook_secret WHERE org_id = $1`,
		"webhook URLs":              `SELECT count(*) FROM webhook_endpoint WHERE org_id = $1 AND (url <> '' OR description <> '' OR deleted_at IS NULL)`,
		"names of projects":         `SELECT count(*) FROM project WHERE org_id = $1 AND name <> ''`,
	} {
		if n := left(sql, kept.OrgID); n > 0 {
			t.Errorf("%d %s are left", n, what)
		}
	}
	if n := left(`SELECT count(*) FROM generation WHERE id = 'gen_kept' AND prompt = 'secret'`); n != 1 {
		t.Error("another organization's generation is gone")
	}
	b.exec(t, `DELETE FROM river.river_job WHERE kind = 'expire_images'`)
	b.exec(t, `INSERT INTO river.river_job (kind, args, queue, max_attempts, state) VALUES ('expire_images', '{}', 'maintenance', 3, 'available')`)
	b.wantDeleted(t, store.BlobKeys(ended.BlobKey))
}
