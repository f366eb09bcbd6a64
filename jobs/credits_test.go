package jobs_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// setCredits puts the bundle's organization on the first plan, with so many credits.
func (b *bundle) setCredits(t *testing.T, n int) {
	t.Helper()
	if _, err := b.db.Pool().Exec(t.Context(), `UPDATE org SET plan = 'free'`); err != nil {
		t.Fatal(err)
	}
	if _, err := b.db.SetCredits(t.Context(), b.project.OrgID, n, "", "", time.Now()); err != nil {
		t.Fatal(err)
	}
}

func (b *bundle) wantCredits(t *testing.T, reserved, available int64) {
	t.Helper()
	a, err := b.db.CreditAccount(t.Context(), b.project.OrgID, time.Now())
	if err != nil || a.Reserved != reserved || a.Available() != available {
		t.Errorf("%+v, %v; want %d reserved and %d left", a, err, reserved, available)
	}
	if faults, err := b.db.CreditFaults(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("%v, faults:\n%s", err, strings.Join(faults, "\n"))
	}
}

func TestSubmitBatch(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.setCredits(t, 5)
	three := slices.Repeat([]jobs.Submission{b.submission("")}, 3)
	id, accepted, err := b.queue.SubmitBatch(t.Context(), three)
	if err != nil || len(accepted) != 3 || *accepted[2].BatchID != id {
		t.Fatalf("%d accepted as %s, %v", len(accepted), id, err)
	}
	b.wantCredits(t, 3, 2)
	if _, _, err := b.queue.SubmitBatch(t.Context(), three); err == nil {
		t.Error("a batch of three was accepted for two credits")
	} else if want := (&jobs.CreditsError{}); !errors.As(err, &want) || want.Needed != 3 || want.Available != 2 || want.Plan != "free" || !want.ResetsAt.After(time.Now()) {
		t.Errorf("refused with %v", err)
	}
	limited := slices.Clone(three[:2])
	one := 1
	for i := range limited {
		limited[i].KeyMonthly = &one
	}
	var quota *jobs.QuotaError
	if _, _, err := b.queue.SubmitBatch(t.Context(), limited); !errors.As(err, &quota) || quota.Limit != 1 {
		t.Errorf("a batch beyond its key's limit: %v", err)
	}
	mixed := slices.Clone(three[:2])
	mixed[1].Test = true
	if _, _, err := b.queue.SubmitBatch(t.Context(), mixed); err == nil {
		t.Error("a batch of a live and a test key was accepted")
	}
	b.wantRows(t, 3)
	b.wantCredits(t, 3, 2)
}

// Whoever shares a commit with a dearer request under the same idempotency key is not
// told that credits are missing for their own.
func TestSubmit_DuplicatesThatCostMore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.setCredits(t, 1)
	var mu sync.Mutex
	got := map[string]int{}
	var clients sync.WaitGroup
	for i := range 40 {
		s := b.submission("k")
		s.Request.N = 1 + 3*(i%2)
		clients.Go(func() {
			_, err := b.queue.SubmitGeneration(t.Context(), s)
			var credits *jobs.CreditsError
			outcome := "accepted"
			switch {
			case errors.As(err, &credits):
				outcome = fmt.Sprintf("%d needed", credits.Needed)
			case errors.Is(err, jobs.ErrIdempotencyInFlight), errors.Is(err, jobs.ErrIdempotencyKeyReused):
				outcome = "another's key"
			case err != nil:
				outcome = err.Error()
			}
			mu.Lock()
			got[fmt.Sprint(s.Request.N, " ", outcome)]++
			mu.Unlock()
		})
	}
	clients.Wait()
	for outcome := range got {
		if !slices.Contains([]string{"1 accepted", "1 another's key", "4 4 needed", "4 another's key"}, outcome) {
			t.Errorf("%d times %q", got[outcome], outcome)
		}
	}
	again := b.submission("k")
	again.Request.N = 1
	if _, err := b.queue.SubmitGeneration(t.Context(), again); err != nil {
		t.Errorf("once more: %v", err)
	}
	if diff := cmp.Diff(1, b.count(t, `SELECT count(*) FROM generation`)); diff != "" {
		t.Error(diff)
	}
	b.wantCredits(t, 1, 0)
}

// Whoever waits for an organization whose period has to be opened keeps nobody of
// another waiting, and is let in when it is there: all that came at the turn, once.
func TestSubmitGeneration_AnothersPeriod(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, sql := range []string{
		`INSERT INTO org (id, name, plan) VALUES ('org_late', 'o', 'free')`,
		`INSERT INTO project (id, org_id, name) VALUES ('proj_late', 'org_late', 'p')`,
	} {
		if _, err := b.db.Pool().Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	b.setCredits(t, 50)
	const n = 20
	late := make(chan error, n)
	err := b.db.Transact(t.Context(), func(tx *store.DB) error {
		if _, err := tx.LockOrg(t.Context(), "org_late"); err != nil {
			return err
		}
		var others sync.WaitGroup
		for i := range n {
			s := b.submission("")
			s.OrgID, s.ProjectID, s.IdempotencyKey = "org_late", "proj_late", fmt.Sprint("k", i/2)
			go func() {
				_, err := b.queue.SubmitGeneration(t.Context(), s)
				late <- err
			}()
			others.Go(func() {
				if _, err := b.queue.SubmitGeneration(t.Context(), b.submission("")); err != nil {
					t.Error(err)
				}
			})
		}
		others.Wait()
		if len(late) > 0 {
			t.Errorf("%d were answered before their period was opened", len(late))
		}
		var waiting int
		err := tx.Tx().QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&waiting)
		if err == nil && waiting > 1 {
			err = fmt.Errorf("%d wait for the organization in the database", waiting)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for range n {
		if err := <-late; err != nil {
			t.Error(err)
		}
	}
	a, err := b.db.CreditAccount(t.Context(), "org_late", time.Now())
	if err != nil || a.Reserved != n/2 {
		t.Errorf("%+v, %v; want %d reserved", a, err, n/2)
	}
	b.wantCredits(t, n, 50-n)
}
