package worker_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// TestExpireEvents has events, deliveries, tickets and secrets on either side of the
// end of their time, with days between them.
func TestExpireEvents(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	b.exec(t, `
		INSERT INTO webhook_endpoint (id, org_id, project_id, test, url, events, description, api_version)
		VALUES ('whep_1', $1, $2, false, 'https://example.com', '{*}', '', '2026-11-01')`, b.project.OrgID, b.project.ID)
	days := []float64{60, 45, 30.01, 29.99, 0}
	var ids []string
	for i, age := range days {
		g := b.submit(t, jobs.GenerationRequest{Prompt: "x"})
		ids = append(ids, "evt_"+g.ID[4:29]+"4")
		at := time.Now().Add(-time.Duration(age * 24 * float64(time.Hour)))
		b.exec(t, `UPDATE event SET created_at = $1 WHERE id = $2`, at, ids[i])
		b.exec(t, `UPDATE webhook_delivery SET created_at = $1 WHERE event_id = $2`, at, ids[i])
	}
	b.exec(t, `DELETE FROM river.river_job WHERE kind = 'generate'`) // nobody is to begin
	b.exec(t, `UPDATE generation SET held_at = now()`)
	b.exec(t, `UPDATE river.river_job SET state = 'pending', scheduled_at = now() + interval '1 day' WHERE kind = 'webhook'`)
	b.exec(t, `INSERT INTO webhook_secret (owner, n, org_id, sealed, last4, expires_at)
		VALUES ('whep_1', 1, 'o', 'x', 'abcd', now() - interval '1 minute'), ('whep_1', 2, 'o', 'x', 'abcd', now() + interval '1 hour'), ('whep_1', 3, 'o', 'x', 'abcd', NULL)`)
	b.start(t, nil)
	left := func(sql string) []string {
		rows, err := b.db.Pool().Query(t.Context(), sql)
		if err != nil {
			t.Fatal(err)
		}
		list, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	deadline := time.Now().Add(2 * time.Minute)
	for len(left(`SELECT n::text FROM webhook_secret`)) > 2 { // they go last
		if time.Now().After(deadline) {
			t.Fatal("nothing has been forgotten")
		}
		time.Sleep(5 * time.Millisecond)
	}
	// The worker's timetable may have begun some after all, of which more is told.
	for what, sql := range map[string]string{
		"events":     `SELECT id FROM event WHERE id LIKE '%4' ORDER BY id`,
		"deliveries": `SELECT event_id FROM webhook_delivery WHERE event_id LIKE '%4' ORDER BY event_id`,
		"tickets":    `SELECT args ->> 'event' FROM river.river_job WHERE kind = 'webhook' AND args ->> 'event' LIKE '%4' ORDER BY id`,
	} {
		if diff := cmp.Diff(ids[3:], left(sql)); diff != "" {
			t.Errorf("%s (-want +left):\n%s", what, diff)
		}
	}
	if diff := cmp.Diff([]string{"2", "3"}, left(`SELECT n::text FROM webhook_secret ORDER BY n`)); diff != "" {
		t.Errorf("secrets (-want +left):\n%s", diff)
	}
	if store.EventRetention != 30*24*time.Hour {
		t.Error("the ages above are of 30 days")
	}
}
