package jobs_test

import (
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// What was admitted before an organization ended may arrive for half a minute, and has
// its turns in the database then: the erasure comes behind it.
func TestDeleteOrg_ErasesBehindWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	project, err := b.db.CreateFirstProject(t.Context(), "free", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.db.Transact(t.Context(), func(tx *store.DB) error { return b.queue.DeleteOrg(t.Context(), tx, project.OrgID) }); err != nil {
		t.Fatal(err)
	}
	var seconds int
	if err := b.db.Pool().QueryRow(t.Context(), `
		SELECT extract(epoch FROM scheduled_at - now())::int FROM river.river_job
		WHERE kind = 'erase_org'`).Scan(&seconds); err != nil {
		t.Fatal(err)
	}
	// A body's 30 s and three of the 10 s that each question to the database may take.
	if after := time.Duration(seconds) * time.Second; after < time.Minute || after > 10*time.Minute {
		t.Errorf("it begins after %s", after)
	}
}
