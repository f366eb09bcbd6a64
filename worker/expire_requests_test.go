package worker_test

import (
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// A worker that starts forgets what is older than 30 days, and nothing else.
func TestExpireRequests(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	recent := store.LoggedRequest{ID: store.NewRequestID(), OrgID: b.project.OrgID, CreatedAt: time.Now()}
	if err := b.db.RecordRequests(t.Context(), []store.LoggedRequest{recent}); err != nil {
		t.Fatal(err)
	}
	// More than one round takes, with ids of 1970.
	b.exec(t, `
		INSERT INTO request_log (id, org_id, method, path, status, ms, ip, user_agent, test, created_at)
		SELECT 'req_' || lpad(n::text, 26, '0'), 'org', '', '', 200, 0, '', '', false, now() FROM generate_series(1, 1200) AS n`)
	b.start(t, nil)
	b.eventually(t, 1, `SELECT count(*)::int FROM request_log`)
	if b.number(t, `SELECT count(*)::int FROM request_log WHERE id = $1`, recent.ID) != 1 {
		t.Error("the recent one has gone")
	}
	if store.RequestRetention != 30*24*time.Hour {
		t.Error("the promise is 30 days")
	}
}
