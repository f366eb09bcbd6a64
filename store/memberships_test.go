package store_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// roles are those of everyone in the bundle's organization, by account.
func (b *bundle) roles(t *testing.T) map[string]string {
	t.Helper()
	members, err := b.Memberships(t.Context(), b.project.OrgID, store.Page{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	roles := map[string]string{}
	for _, m := range members {
		roles[m.AccountID] = m.Role
	}
	return roles
}

// setRole gives a member of the bundle's organization a role, or removes one.
func (b *bundle) setRole(t *testing.T, account, role string) error {
	return b.Transact(t.Context(), func(tx *store.DB) error {
		if _, err := tx.LockOrg(t.Context(), b.project.OrgID); err != nil {
			return err
		}
		m, err := tx.Membership(t.Context(), b.project.OrgID, account)
		if err != nil {
			return err
		}
		if role == "" {
			return tx.DeleteMembership(t.Context(), m)
		}
		return tx.UpdateMembership(t.Context(), m, role)
	})
}

func TestMemberships(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, bob := b.member(t, "ada@example.com", "owner"), b.member(t, "bob@example.com", "member")
	if err := b.InsertMembership(t.Context(), b.project.OrgID, bob, "admin"); !errors.Is(err, store.ErrMember) {
		t.Errorf("a member becomes one again: %v", err)
	}
	m, err := b.Membership(t.Context(), b.project.OrgID, ada)
	if err != nil {
		t.Fatal(err)
	}
	want := &store.Membership{
		OrgID: b.project.OrgID, AccountID: ada, Email: "ada@example.com", Name: "ada@example.com", Role: "owner",
		VerifiedAt: m.VerifiedAt, CreatedAt: m.CreatedAt,
	}
	if diff := cmp.Diff(want, m); diff != "" || m.VerifiedAt == nil || m.CreatedAt.IsZero() {
		t.Error(diff)
	}
	if _, err := b.Membership(t.Context(), "org_other", ada); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a member of another: %v", err)
	}
	for _, step := range []struct {
		account, role string
		want          error
	}{
		{ada, "admin", store.ErrLastOwner},
		{ada, "", store.ErrLastOwner},
		{ada, "owner", nil},
		{bob, "owner", nil},
		{ada, "read_only", nil},
		{bob, "", store.ErrLastOwner},
		{ada, "", nil},
		{ada, "", store.ErrNotFound},
	} {
		if err := b.setRole(t, step.account, step.role); !errors.Is(err, step.want) {
			t.Errorf("%v: %v", step, err)
		}
	}
	if diff := cmp.Diff(map[string]string{bob: "owner"}, b.roles(t)); diff != "" {
		t.Error(diff)
	}
}

// An organization that the command line has made has no owner; its members come and
// go nevertheless.
func TestMemberships_WithoutAnOwner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bob := b.member(t, "bob@example.com", "member")
	for _, role := range []string{"admin", ""} {
		if err := b.setRole(t, bob, role); err != nil {
			t.Errorf("to %q: %v", role, err)
		}
	}
}

func TestMemberships_OneOwnerStays(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"", "admin"} {
		b := setup(t)
		var owners []string
		for i := range 8 {
			owners = append(owners, b.member(t, fmt.Sprintf("owner%d@example.com", i), "owner"))
		}
		came := race(len(owners), func(i int) error { return b.setRole(t, owners[i], role) })
		if diff := cmp.Diff(map[error]int{nil: 7, store.ErrLastOwner: 1}, came); diff != "" {
			t.Errorf("to %q: %s", role, diff)
		}
		if n := b.count(t, `SELECT count(*)::int FROM membership WHERE role = 'owner'`); n != 1 {
			t.Errorf("to %q: %d owners are left", role, n)
		}
	}
}
