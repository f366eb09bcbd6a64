package worker_test

import "testing"

// What was handled or sent 41 days ago is forgotten, and nothing that still waits.
func TestExpireBilling(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	b.exec(t, `
		INSERT INTO stripe_event (id, type, object_id, created_at, received_at, handled_at)
		SELECT 'evt_' || n, 'invoice.paid', 'in_1', now(), now() - interval '50 days',
			CASE WHEN n > 2 THEN now() - interval '41 days' WHEN n = 2 THEN now() - interval '39 days' END
		FROM generate_series(1, 1200) AS n`)
	b.exec(t, `
		INSERT INTO usage_report (identifier, org_id, period, customer, credits, at, created_at, sent_at)
		SELECT 'r' || n, 'org_1', now(), 'cus_1', 1, now(), now() - interval '50 days',
			CASE WHEN n > 2 THEN now() - interval '41 days' WHEN n = 2 THEN now() - interval '39 days' END
		FROM generate_series(1, 1200) AS n`)
	b.start(t, nil)
	b.eventually(t, 2, `SELECT count(*)::int FROM stripe_event`)
	b.eventually(t, 2, `SELECT count(*)::int FROM usage_report`)
}
