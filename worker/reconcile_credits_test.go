package worker_test

import (
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// What an older program has ended is charged, and what that releases of bought credits
// goes where it can be used, without anyone asking.
func TestReconcile_Credits(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	org := b.project.OrgID
	b.exec(t, `UPDATE org SET plan = 'free'`)
	last := time.Now().UTC().AddDate(0, -1, 0)
	begins, ends := store.PeriodOf(store.PeriodMonth, nil, last)
	for _, at := range []time.Time{begins, time.Now()} {
		if _, err := b.db.OpenPeriod(t.Context(), org, at); err != nil {
			t.Fatal(err)
		}
	}
	// Five are left of last month, all of them bought, of which a generation has four.
	bought := store.CreditChange{OrgID: org, Kind: store.CreditPurchase, Amount: 5, Bought: true}
	if _, _, err := b.db.ChangeCredits(t.Context(), bought, begins); err != nil {
		t.Fatal(err)
	}
	if _, err := b.db.SetCredits(t.Context(), org, 5, "", "", begins); err != nil {
		t.Fatal(err)
	}
	queue, err := jobs.NewQueue(jobs.Options{DB: b.db, LiveSimulated: true, Now: func() time.Time { return ends.Add(-time.Second) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(queue.Close)
	_, err = queue.SubmitGeneration(t.Context(), jobs.Submission{
		OrgID: org, ProjectID: b.project.ID, APIKeyID: "key_1", Request: jobs.GenerationRequest{Prompt: "a banana", N: 4, Size: "1024x1024"},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE generation SET status = 'failed', finished_at = now(), error = '{"code": "provider_error", "message": ""}'`)
	b.start(t, nil) // reconciles on starting
	b.eventually(t, 5, `SELECT bought::int FROM credit_account WHERE org_id = $1 AND period = $2`, org, ends)
	b.eventually(t, 0, `SELECT granted + reserved + used + bought FROM credit_account WHERE org_id = $1 AND period = $2`, org, begins)
	if faults, err := b.db.CreditFaults(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("%v, %q", err, faults)
	}
}
