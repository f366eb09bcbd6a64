package store_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nanobanana/nanobanana/store"
)

// person records an account whose address is its own, and returns its id.
func (b *bundle) person(t *testing.T, email string) string {
	t.Helper()
	now := time.Now()
	a, err := b.CreateAccount(t.Context(), store.Account{Email: email, Name: email, VerifiedAt: &now})
	if err != nil {
		t.Fatal(err)
	}
	return a.ID
}

// member makes a new person a member of the bundle's organization.
func (b *bundle) member(t *testing.T, email, role string) string {
	t.Helper()
	id := b.person(t, email)
	if err := b.InsertMembership(t.Context(), b.project.OrgID, id, role); err != nil {
		t.Fatal(err)
	}
	return id
}

// transact runs fn as Transact does, and fails the test if it fails.
func (b *bundle) transact(t *testing.T, fn func(tx *store.DB) error) {
	t.Helper()
	if err := b.Transact(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// race runs fn that many times at once and counts what came of it.
func race(times int, fn func(i int) error) map[error]int {
	var mu sync.Mutex
	var all sync.WaitGroup
	came := map[error]int{}
	for i := range times {
		all.Go(func() {
			err := fn(i)
			for _, known := range []error{
				store.ErrTooManyOrgs, store.ErrTooManyProjects, store.ErrSlugTaken, store.ErrLastOwner, store.ErrNotFound,
				store.ErrMember, store.ErrInvited, store.ErrTooManyInvitations,
			} {
				if errors.Is(err, known) {
					err = known
				}
			}
			mu.Lock()
			defer mu.Unlock()
			came[err]++
		})
	}
	all.Wait()
	return came
}

func TestCreateOwnedOrg_TheLimitIsExact(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.person(t, "ada@example.com")
	create := func(i int) error {
		return b.Transact(t.Context(), func(tx *store.DB) error {
			_, err := tx.CreateOwnedOrg(t.Context(), store.Org{ID: store.NewOrgID(), Name: fmt.Sprint("org ", i), Plan: "free"}, ada)
			return err
		})
	}
	want := map[error]int{nil: store.MaxOwnedOrgs, store.ErrTooManyOrgs: 8}
	if diff := cmp.Diff(want, race(store.MaxOwnedOrgs+8, create)); diff != "" {
		t.Error(diff)
	}
	// Those of others, and a deleted one, do not count.
	if err := b.InsertMembership(t.Context(), b.project.OrgID, ada, "admin"); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE org SET deleted_at = now() WHERE name = 'org 0' OR name = 'org 1'`)
	gone := b.count(t, `SELECT count(*)::int FROM org WHERE deleted_at IS NOT NULL`)
	if got := race(3, create); got[nil] != gone {
		t.Errorf("after %d were deleted, %v", gone, got)
	}
}

// However many organizations one account founds, deletes and leaves, one of them has the
// credits of the first plan in a period.
func TestCreateOwnedOrg_FreeCreditsOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, eve := b.person(t, "ada@example.com"), b.person(t, "eve@example.com")
	found := func(account string) (id string) {
		id = store.NewOrgID()
		if err := b.Transact(t.Context(), func(tx *store.DB) error {
			_, err := tx.CreateOwnedOrg(t.Context(), store.Org{ID: id, Name: "org", Plan: "free"}, account)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return id
	}
	granted := func(id string, at time.Time) int64 {
		a, err := b.OpenPeriod(t.Context(), id, at)
		if err != nil {
			t.Fatal(err)
		}
		return a.Granted
	}
	now := time.Date(2023, 6, 16, 0, 0, 0, 0, time.UTC)
	var total atomic.Int64
	var all sync.WaitGroup
	var last string
	for range 3 {
		for range 3 {
			last = found(ada)
			total.Add(granted(last, now))
		}
		if err := b.Transact(t.Context(), func(tx *store.DB) error { return tx.DeleteOrg(t.Context(), last) }); err != nil {
			t.Fatal(err)
		}
	}
	left, right := found(ada), found(ada)
	for _, id := range []string{left, right} {
		all.Go(func() { total.Add(granted(id, now)) })
	}
	all.Wait()
	if total.Load() != 50 {
		t.Errorf("%d credits were granted, want 50", total.Load())
	}
	if got := granted(found(eve), now); got != 50 {
		t.Errorf("another account's has %d credits", got)
	}
	july := now.AddDate(0, 1, 0)
	total.Store(0)
	for _, id := range []string{left, right} {
		all.Go(func() { total.Add(granted(id, july)) })
	}
	all.Wait()
	if total.Load() != 50 {
		t.Errorf("in the next period %d credits were granted, want 50", total.Load())
	}
	b.wantNoFaults(t)
}

func TestOrgsOfAccount_Pages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.person(t, "ada@example.com")
	var ids []string
	for i, role := range []string{"owner", "admin", "member", "billing", "read_only"} {
		org, err := b.CreateOrg(t.Context(), fmt.Sprint("org ", i), "free", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.InsertMembership(t.Context(), org.ID, ada, role); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, org.ID)
	}
	b.exec(t, `UPDATE org SET deleted_at = now() WHERE id = $1`, ids[2])
	for name, c := range map[string]struct {
		page store.Page
		want []string
	}{
		"newest first": {store.Page{Limit: 10}, []string{ids[4] + " read_only", ids[3] + " billing", ids[1] + " admin", ids[0] + " owner"}},
		"oldest first": {store.Page{Limit: 2, Ascending: true}, []string{ids[0] + " owner", ids[1] + " admin"}},
		"after":        {store.Page{Limit: 1, After: ids[4]}, []string{ids[3] + " billing"}},
		"before":       {store.Page{Limit: 1, Before: ids[0]}, []string{ids[1] + " admin"}},
		"from the old": {store.Page{Limit: 1, Ascending: true, After: ids[0]}, []string{ids[1] + " admin"}},
		"up to":        {store.Page{Limit: 1, Ascending: true, Before: ids[4]}, []string{ids[3] + " billing"}},
	} {
		rows, err := b.OrgsOfAccount(t.Context(), ada, c.page)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range rows {
			got = append(got, o.ID+" "+o.Role)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if rows, err := b.OrgsOfAccount(t.Context(), b.person(t, "eve@example.com"), store.Page{Limit: 10}); err != nil || len(rows) != 0 {
		t.Errorf("a stranger's: %v, %v", rows, err)
	}
}

func TestUpdateOrg(t *testing.T) {
	t.Parallel()
	b := setup(t)
	before, err := b.Org(t.Context(), b.project.OrgID)
	if err != nil {
		t.Fatal(err)
	}
	after, err := b.UpdateOrg(t.Context(), before.ID, "renamed")
	if err != nil {
		t.Fatal(err)
	}
	want := *before
	want.Name = "renamed"
	if diff := cmp.Diff(&want, after, cmpopts.EquateApproxTime(0)); diff != "" {
		t.Error(diff)
	}
	b.exec(t, `UPDATE org SET deleted_at = now()`)
	if _, err := b.Org(t.Context(), before.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a deleted one is read: %v", err)
	}
	if _, err := b.UpdateOrg(t.Context(), before.ID, "again"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a deleted one is changed: %v", err)
	}
}
