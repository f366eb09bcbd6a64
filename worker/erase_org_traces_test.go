package worker_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/worker"
)

// number returns the one number that a query yields.
func (b *bundle) number(t *testing.T, sql string, args ...any) (n int) {
	t.Helper()
	if err := b.db.Pool().QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// eventually waits until a query yields a number.
func (b *bundle) eventually(t *testing.T, want int, sql string, args ...any) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for b.number(t, sql, args...) != want {
		if time.Now().After(deadline) {
			t.Fatalf("it is %d, want %d: %s", b.number(t, sql, args...), want, sql)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// traces are the rows of any table, "table: row", in which a word stands.
func (b *bundle) traces(t *testing.T, word string) (found []string) {
	t.Helper()
	collect := func(sql string, args ...any) []string {
		rows, err := b.db.Pool().Query(t.Context(), sql, args...)
		if err != nil {
			t.Fatal(err)
		}
		list, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	for _, table := range collect(`
		SELECT table_schema || '.' || table_name FROM information_schema.tables
		WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')`) {
		for _, row := range collect(`SELECT row_to_json(r)::text FROM `+table+` AS r WHERE row_to_json(r)::text ILIKE '%' || $1 || '%'`, word) {
			found = append(found, table+": "+row)
		}
	}
	return found
}

// fillOrg gives the bundle's organization something of all that customers enter, with
// a word in it: more of each than one round of a sweep takes.
func (b *bundle) fillOrg(t *testing.T, word string) {
	t.Helper()
	refuse := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = fmt.Fprint(w, "no ", word, " here")
	})
	echo, other := b.receive(t, refuse), httptest.NewServer(refuse)
	t.Cleanup(other.Close)
	for sql, args := range map[string][]any{
		`UPDATE webhook_endpoint SET description = $1, url = url || '/' || $1`:                                                                                                            {word},
		`UPDATE org SET name = $1 WHERE id = $2`:                                                                                                                                          {word, b.project.OrgID},
		`UPDATE project SET name = $1, slug = $1, webhook_url = 'https://x/' || $1`:                                                                                                       {word},
		`INSERT INTO api_key (id, org_id, project_id, name, kind, hash, pepper_version, last4) VALUES ('key_1', $2, $3, $1, 'live', '', 1, '')`:                                           {word, b.project.OrgID, b.project.ID},
		`INSERT INTO mail (id, kind, recipient, org_id, data) VALUES ('mail_1', 'invitation', $1, $2, '{}')`:                                                                              {word, b.project.OrgID},
		`INSERT INTO invitation (id, org_id, email, email_key, role, hash, invited_by, expires_at) VALUES ('inv_1', $2, $1, $1, 'member', '', '', now())`:                                 {word, b.project.OrgID},
		`INSERT INTO idempotency_key (project_id, test, route, key, org_id, fingerprint, generation_id, expires_at) VALUES ($2, false, 'keys', $1, $2, '', '', now() + interval '1 day')`: {word, b.project.OrgID},
	} {
		b.exec(t, sql, args...)
	}
	request := jobs.GenerationRequest{
		Prompt: word, Metadata: map[string]string{word: word}, Tags: []string{word},
		WebhookURL: "https://images.example.com/" + word, WebhookEvents: []string{"*"},
	}
	accepted, err := b.queue.SubmitGeneration(t.Context(), jobs.Submission{
		OrgID: b.project.OrgID, ProjectID: b.project.ID, APIKeyID: "key_1", Request: request, IdempotencyKey: word,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE generation SET webhook_url = $1`, other.URL+"/"+word)
	w := b.start(t, nil)
	b.ended(t, accepted.Generation.ID)
	b.eventually(t, 0, `SELECT count(*) FROM webhook_delivery WHERE log IS NULL`)
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.db.PingWebhookEndpoint(t.Context(), store.Scope{OrgID: b.project.OrgID, ProjectID: b.project.ID}, echo.endpoint); err != nil {
		t.Fatal(err)
	}
	const many = 450
	for _, sql := range []string{
		`INSERT INTO event (id, org_id, project_id, sequence, type, test, created_at, data) SELECT 'evt_' || n, e.org_id, e.project_id, 1000 + n, 'key.revoked', false, now(), jsonb_build_object('name', $2::text) FROM generate_series(1, $1::int) AS n, (SELECT * FROM event LIMIT 1) AS e`,
		`INSERT INTO webhook_delivery (endpoint_id, event_id, org_id, project_id, state, created_at, log) SELECT CASE WHEN n % 2 = 0 THEN 'request' ELSE d.endpoint_id END, 'evt_' || n, d.org_id, d.project_id, 'failed', now(), jsonb_build_array(jsonb_build_object('response', $2::text)) FROM generate_series(1, $1::int) AS n, (SELECT * FROM webhook_delivery WHERE endpoint_id <> 'request' LIMIT 1) AS d`,
		`INSERT INTO idempotency_key (project_id, test, route, key, org_id, fingerprint, generation_id, expires_at) SELECT k.project_id, k.test, k.route, $2::text || n, k.org_id, '', '', now() + interval '1 day' FROM generate_series(1, $1::int) AS n, (SELECT * FROM idempotency_key WHERE project_id LIKE 'proj%') AS k`,
		`INSERT INTO request_log (id, org_id, method, path, status, ms, ip, user_agent, test, created_at) SELECT 'req_' || n, org_id, 'POST', '/', 400, 1, '', $2, false, now() FROM generate_series(1, $1::int) AS n, (SELECT org_id FROM project LIMIT 1) AS p`,
		`INSERT INTO credit_entry (org_id, period, kind, reason, actor) SELECT org_id, period, 'grant', $2, $2 || n FROM generate_series(1, $1::int) AS n, (SELECT org_id, period FROM credit_account LIMIT 1) AS a`,
	} {
		b.exec(t, sql, many, word)
	}
	b.exec(t, `INSERT INTO budget (org_id, credits, alerts, hard_stop, downgrade_quality) VALUES ($1, 1, '{80}', false, $2)`, b.project.OrgID, word)
	b.exec(t, `INSERT INTO spend_alert (org_id, period, what, percent) VALUES ($1, now(), $2, 80)`, b.project.OrgID, word)
	b.exec(t, `INSERT INTO refund_request (id, org_id, invoice, amount, reason, actor, owner, key, fingerprint) VALUES ('rfd_1', $1, 'in_1', 900, $2, $2, 'usr_1', encode(sha256('key'), 'hex'), '')`, b.project.OrgID, word)
	b.exec(t, `INSERT INTO invoice (id, org_id, status, currency, amount_due, amount_paid, fetched_at, created_at) VALUES ('in_1', $1, 'paid', 'usd', 900, 900, now(), now())`, b.project.OrgID)
}

// Nothing of what a customer has entered is left of a deleted organization, wherever
// its erasure was cut short and however often it is done, by two at once in the end.
func TestEraseOrg_LeavesNoTrace(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	const word = "zzmarker"
	b.fillOrg(t, word)
	if n := len(b.traces(t, word)); n < 1300 {
		t.Fatalf("only %d traces to begin with", n)
	}
	err := b.db.Transact(t.Context(), func(tx *store.DB) error { return b.queue.DeleteOrg(t.Context(), tx, b.project.OrgID) })
	if err != nil {
		t.Fatal(err)
	}
	b.exec(t, `CREATE FUNCTION refuse_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$`)
	again := `WITH woken AS (SELECT pg_notify('river.river_insert', '{"queue": "maintenance"}')) UPDATE river.river_job SET scheduled_at = now(), state = 'available' WHERE kind = 'erase_org' AND state <> 'running' AND (SELECT count(*) FROM woken) = 1`
	b.start(t, func(o *worker.Options) { o.Backoff = func(int) time.Duration { return time.Hour } })
	// Each run fails at what still refuses, and does the rest.
	tables := []string{"generation", "image", "webhook_delivery", "event", "idempotency_key", "request_log", "credit_entry", "budget", "spend_alert", "refund_request", "webhook_secret", "webhook_endpoint", "invitation", "mail", "api_key", "project", "org"}
	for _, table := range tables {
		b.exec(t, `CREATE TRIGGER refuse_row BEFORE UPDATE OR DELETE ON `+table+` FOR EACH ROW EXECUTE FUNCTION refuse_row()`)
	}
	for i, table := range tables {
		b.exec(t, again)
		b.eventually(t, i+1, `SELECT coalesce(cardinality(errors), 0) FROM river.river_job WHERE kind = 'erase_org'`)
		b.exec(t, `DROP TRIGGER refuse_row ON `+table)
	}
	b.exec(t, `INSERT INTO river.river_job (kind, args, queue, max_attempts, state) SELECT kind, args, queue, max_attempts, 'available' FROM river.river_job WHERE kind = 'erase_org'`)
	b.exec(t, again)
	// Each is done, and will be once more later.
	b.eventually(t, 2, `SELECT count(*) FROM river.river_job WHERE kind = 'erase_org' AND state = 'scheduled'`)
	for _, left := range b.traces(t, word) {
		t.Errorf("left: %.400s", left)
	}
	// What a process that was frozen for long has brought in behind.
	b.exec(t, `UPDATE generation SET removed_at = NULL, prompt = $1`, word)
	b.exec(t, `UPDATE river.river_job SET created_at = now() - interval '2 hours' WHERE kind = 'erase_org'`)
	b.exec(t, again)
	b.eventually(t, 2, `SELECT count(*) FROM river.river_job WHERE kind = 'erase_org' AND state = 'completed'`)
	for _, left := range b.traces(t, word) {
		t.Errorf("left behind: %.400s", left)
	}
	// The books stay.
	faults, err := b.db.CreditFaults(t.Context())
	if n := b.number(t, `SELECT count(*) FROM credit_entry`); err != nil || n < 450 || b.number(t, `SELECT count(*) FROM invoice`) != 1 {
		t.Errorf("%d entries and %v are left, %v", n, b.number(t, `SELECT count(*) FROM invoice`), err)
	}
	for _, fault := range faults {
		// Sizes are removed with the generations.
		if !strings.HasPrefix(fault, "use is what the entries say") {
			t.Error(fault)
		}
	}
}
