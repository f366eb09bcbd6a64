package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

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

// Lists read their page, whether the planner knows the tables or takes them for small.
func TestPlans_TenancyReadsLittle(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `INSERT INTO org (id, name, plan) SELECT 'org_' || i, i, 'free' FROM generate_series(1, 3000) AS i`)
	b.exec(t, `INSERT INTO account (id, email, email_key, name, verified_at) SELECT 'usr_' || i, i, i, i, now() FROM generate_series(1, 10000) AS i`)
	b.exec(t, `INSERT INTO membership (org_id, account_id, role) SELECT 'org_' || i % 3000 + 1, 'usr_' || i, 'member' FROM generate_series(1, 10000) AS i`)
	b.exec(t, `INSERT INTO membership (org_id, account_id, role) SELECT $1, 'usr_' || i, 'member' FROM generate_series(1, 1000) AS i`, b.project.OrgID)
	b.exec(t, `INSERT INTO project (id, org_id, name) SELECT 'proj_' || i, 'org_' || i % 3000 + 1, i FROM generate_series(1, 10000) AS i`)
	b.exec(t, `
		INSERT INTO invitation (id, org_id, email, email_key, role, hash, invited_by, expires_at)
		SELECT 'inv_' || i, 'org_' || i % 3000 + 1, i, i, 'member', i::text::bytea, 'usr_1', now() + interval '1 day'
		FROM generate_series(1, 10000) AS i`)
	now, orgID := time.Now(), b.project.OrgID
	for _, analyzed := range []bool{false, true} {
		for name, ask := range map[string]func(*store.DB) error{
			"members": func(db *store.DB) error {
				_, err := db.Memberships(t.Context(), orgID, store.Page{Limit: 20})
				return err
			},
			"members after": func(db *store.DB) error {
				_, err := db.Memberships(t.Context(), orgID, store.Page{Limit: 20, After: "usr_5"})
				return err
			},
			"a member": func(db *store.DB) error { _, err := db.Membership(t.Context(), orgID, "usr_5"); return err },
			"organizations": func(db *store.DB) error {
				_, err := db.OrgsOfAccount(t.Context(), "usr_5", store.Page{Limit: 20})
				return err
			},
			"projects": func(db *store.DB) error {
				_, err := db.Projects(t.Context(), "org_7", false, store.Page{Limit: 20})
				return err
			},
			"invitations": func(db *store.DB) error {
				_, err := db.OpenInvitations(t.Context(), "org_7", now, store.Page{Limit: 20})
				return err
			},
			"a token": func(db *store.DB) error { _, err := db.InvitationByHash(t.Context(), []byte("7")); return err },
		} {
			if n := b.rowsRead(t, ask); n > 100 {
				t.Errorf("%s, analyzed %t: %d rows are read", name, analyzed, n)
			}
		}
		b.exec(t, `ANALYZE org, account, membership, project, invitation`)
	}
}
