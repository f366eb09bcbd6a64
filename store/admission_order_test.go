package store_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// Two processes end the generations of the same organizations, listed in opposite
// orders, while others cancel theirs, sweep and submit: nobody waits for anybody
// in a circle, and the counts come out right.
func TestAdmission_OppositeOrdersDoNotDeadlock(t *testing.T) {
	t.Parallel()
	b := setupCapped(t)
	b.fleet(t, 4)
	b.exec(t, `UPDATE plan SET concurrency = 0`)
	other, err := store.Open(t.Context(), storetest.URL(b.DB), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	orgs := []string{b.org(t, "free"), b.org(t, "free"), b.org(t, "free"), b.org(t, "free")}
	const rounds = 25
	var mu sync.Mutex
	var canceled []string
	work := func(db *store.DB, orgs []string) {
		me := &bundle{DB: db, project: b.project}
		for range rounds {
			var rows []*store.NewGeneration
			for _, org := range orgs {
				for range 5 {
					rows = append(rows, me.unqueued(func(g *store.NewGeneration) { g.OrgID = org }))
				}
			}
			if err := db.InsertGenerations(t.Context(), rows); err != nil {
				t.Errorf("insert: %v", err)
			}
			mu.Lock()
			for i := 0; i < len(rows); i += 2 {
				canceled = append(canceled, rows[i].ID)
			}
			mu.Unlock()
			var outcomes []*store.Outcome
			for _, org := range orgs {
				for _, id := range me.fetch(t, org, 3) {
					if c := me.claim(t, id); c != nil { // else it was canceled
						outcomes = append(outcomes, succeeded(c))
					}
				}
			}
			if _, err := db.FinishGenerations(t.Context(), store.Sender{}, outcomes); err != nil {
				t.Errorf("finish: %v", err)
			}
		}
	}
	backwards := slices.Clone(orgs)
	slices.Reverse(backwards)
	var workers, others sync.WaitGroup
	workers.Go(func() { work(b.DB, orgs) })
	workers.Go(func() { work(other, backwards) })
	done := make(chan struct{})
	for _, db := range []*store.DB{b.DB, other} {
		others.Go(func() {
			for {
				mu.Lock()
				ids := canceled
				canceled = nil
				mu.Unlock()
				for _, id := range ids {
					if _, _, err := db.CancelGeneration(t.Context(), b.project.ID, id); err != nil {
						t.Errorf("cancel: %v", err)
					}
				}
				if _, err := db.AdmitHeld(t.Context()); err != nil {
					t.Errorf("admit: %v", err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	workers.Wait()
	close(done)
	others.Wait()
	if wrong, err := b.Recount(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("the counts were not those of the generations: %+v, %v", wrong, err)
	}
	var deadlocks int
	if err := b.Pool().QueryRow(t.Context(), `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&deadlocks); err != nil || deadlocks > 0 {
		t.Errorf("%d deadlocks, %v", deadlocks, err)
	}
}

// fetch takes up to n tickets of an organization, as River would.
func (b *bundle) fetch(t *testing.T, orgID string, n int) []string {
	t.Helper()
	rows, err := b.Pool().Query(t.Context(), `
		UPDATE river.river_job SET state = 'running'
		WHERE id IN (
			SELECT j.id FROM river.river_job AS j JOIN generation AS g ON g.river_job_id = j.id
			WHERE g.org_id = $1 AND j.state = 'available'
			LIMIT $2 FOR UPDATE OF j SKIP LOCKED)
		RETURNING args ->> 'id'`, orgID, n)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return ids
}
