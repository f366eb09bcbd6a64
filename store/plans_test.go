package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// crowd fills the tables: 20,000 generations, each with an image, an event and a
// delivery to an endpoint, whose id it returns. One in ten is another project's.
func (b *bundle) crowd(t *testing.T) string {
	t.Helper()
	endpoint := b.endpoint(t, []string{"*"}, "")
	b.exec(t, `
		INSERT INTO generation (id, org_id, project_id, api_key_id, kind, status, test, simulated, model, model_used,
			prompt, params, n, created_at, deadline_at, finished_at, fence)
		SELECT 'gen_' || lpad(i::text, 25, '0') || '0', $1, CASE WHEN i % 10 = 0 THEN 'prj_other' ELSE $2 END, 'key_1', 'generate',
			CASE WHEN i % 20 = 1 THEN 'failed' ELSE 'succeeded' END, false, true, 'm', 'm', 'a banana', '{}', 1, now(), now(), now(), 1
		FROM generate_series(1, 20000) AS i`, b.project.OrgID, b.project.ID)
	b.exec(t, `
		INSERT INTO image (id, generation_id, org_id, project_id, idx, blob_key, media_type, bytes, width, height, sha256,
			created_at, expires_at, derive_at)
		SELECT 'img_' || substr(id, 5), id, org_id, project_id, 0, id, 'image/png', 1, 1, 1, '', now(), now() - n * random() * interval '1 hour', now() - n * random() * interval '1 hour'
		FROM generation`)
	b.exec(t, `
		INSERT INTO event (id, org_id, project_id, sequence, type, test, created_at)
		SELECT 'evt_' || substr(id, 5, 25) || 's', org_id, project_id, row_number() OVER (ORDER BY id), 'generation.' || status, false, now()
		FROM generation`)
	b.exec(t, `
		INSERT INTO webhook_delivery (endpoint_id, event_id, org_id, project_id, state, ticket, created_at)
		SELECT $1, id, org_id, project_id, CASE WHEN sequence % 20 = 1 THEN 'failed' ELSE 'delivered' END, sequence, now() FROM event`, endpoint)
	b.exec(t, `ANALYZE generation, image, event, webhook_delivery`)
	return endpoint
}

func crowdGeneration(i int) string { return fmt.Sprintf("gen_%025d0", i) }
func crowdEvent(i int) string      { return fmt.Sprintf("evt_%025ds", i) }

// Whether Postgres plans a statement for its values or, from the sixth time on a
// connection, for any: nothing that is asked often may read a whole table.
func TestPlans_ReadLittle(t *testing.T) {
	t.Parallel()
	b := setup(t)
	endpoint := b.crowd(t)
	project, scope := b.project.ID, store.Scope{OrgID: b.project.OrgID, ProjectID: b.project.ID}
	var errands []store.Errand
	for i := range 32 {
		errands = append(errands, store.Errand{EndpointID: endpoint, EventID: crowdEvent(1 + 333*i), Ticket: 1})
	}
	generations := func(f store.GenerationFilter) func(*store.DB) error {
		return func(db *store.DB) error { _, err := db.Generations(t.Context(), project, f); return err }
	}
	events := func(f store.EventFilter) func(*store.DB) error {
		return func(db *store.DB) error { _, err := db.Events(t.Context(), project, f); return err }
	}
	deliveries := func(f store.DeliveryFilter) func(*store.DB) error {
		return func(db *store.DB) error { _, err := db.Deliveries(t.Context(), scope, endpoint, f); return err }
	}
	for name, ask := range map[string]func(*store.DB) error{
		"one sending":         func(db *store.DB) error { _, err := db.Sendings(t.Context(), errands[:1]); return err },
		"many sendings":       func(db *store.DB) error { _, err := db.Sendings(t.Context(), errands); return err },
		"generations":         generations(store.GenerationFilter{Limit: 20}),
		"generations after":   generations(store.GenerationFilter{Limit: 20, After: crowdGeneration(300)}),
		"generations before":  generations(store.GenerationFilter{Limit: 20, Before: crowdGeneration(19000)}),
		"generations oldest":  generations(store.GenerationFilter{Limit: 20, Ascending: true, After: crowdGeneration(19000)}),
		"generations failed":  generations(store.GenerationFilter{Limit: 20, Status: store.StatusFailed}),
		"generations of test": generations(store.GenerationFilter{Limit: 20, Test: true}),
		"events":              events(store.EventFilter{Limit: 20}),
		"events after":        events(store.EventFilter{Limit: 20, After: 19000}),
		"events before":       events(store.EventFilter{Limit: 20, Before: 500}),
		"events newest":       events(store.EventFilter{Limit: 20, Descending: true, After: 500}),
		"deliveries":          deliveries(store.DeliveryFilter{Limit: 20}),
		"deliveries after":    deliveries(store.DeliveryFilter{Limit: 20, After: crowdEvent(300)}),
		"deliveries before":   deliveries(store.DeliveryFilter{Limit: 20, Before: crowdEvent(19000)}),
		"deliveries failed":   deliveries(store.DeliveryFilter{Limit: 20, State: store.DeliveryFailed}),
		"a generation's events": func(db *store.DB) error {
			_, err := db.GenerationEvents(t.Context(), project, crowdGeneration(77), 0)
			return err
		},
		"expired images": func(db *store.DB) error { _, err := db.ExpiredImages(t.Context(), nil, 20); return err },
		"images to derive": func(db *store.DB) error {
			_, err := db.ClaimDerivations(t.Context(), 20, 0, time.Minute)
			return err
		},
		"calls": func(db *store.DB) error {
			_, err := db.Attempts(t.Context(), project, []string{crowdGeneration(7)})
			return err
		},
	} {
		if n := b.rowsRead(t, ask); n > 1500 {
			t.Errorf("%s: %d rows are read", name, n)
		}
	}
}

// rowsRead is how many rows of tables a call reads for the eighth time on one
// connection.
func (b *bundle) rowsRead(t *testing.T, ask func(*store.DB) error) (n int) {
	t.Helper()
	err := b.Transact(t.Context(), func(tx *store.DB) error {
		const total = `SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::int FROM pg_stat_xact_user_tables`
		// What other processes read for it would not be counted.
		if _, err := tx.Tx().Exec(t.Context(), `SET LOCAL max_parallel_workers_per_gather = 0`); err != nil {
			return err
		}
		var before, after int
		for range 8 {
			if err := tx.Tx().QueryRow(t.Context(), total).Scan(&before); err != nil {
				return err
			}
			if err := ask(tx); err != nil {
				return err
			}
			if err := tx.Tx().QueryRow(t.Context(), total).Scan(&after); err != nil {
				return err
			}
			n = max(n, after-before)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
