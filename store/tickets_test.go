package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// A plan's priority lets its generations overtake what was queued a moment before, and
// nothing that was queued earlier.
func TestInsertGenerations_HeadStart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	free, pro := b.org(t, "free"), b.org(t, "pro")
	early := b.submit(t, free, "", 1)[0]
	b.exec(t, `UPDATE river.river_job SET scheduled_at = scheduled_at - interval '1 second'`)
	for _, org := range []string{free, pro} {
		b.submit(t, org, "", 1)
	}
	rows, err := b.Pool().Query(t.Context(), `
		SELECT g.org_id FROM river.river_job AS j JOIN generation AS g ON g.river_job_id = j.id
		ORDER BY j.priority, j.scheduled_at, j.id`)
	if err != nil {
		t.Fatal(err)
	}
	order, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{early.OrgID, pro, free}, order); diff != "" {
		t.Errorf("order differs (-want +got):\n%s", diff)
	}
}
