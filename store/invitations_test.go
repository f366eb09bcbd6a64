package store_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// invite records an invitation to the bundle's organization, whose token is its
// address.
func (b *bundle) invite(t *testing.T, email string, at time.Time) (inv *store.Invitation, err error) {
	err = b.Transact(t.Context(), func(tx *store.DB) error {
		if _, err := tx.LockOrg(t.Context(), b.project.OrgID); err != nil {
			return err
		}
		hash := sha256.Sum256([]byte(email + at.String()))
		inv, err = tx.CreateInvitation(t.Context(), store.Invitation{
			ID: store.NewInvitationID(), OrgID: b.project.OrgID, Email: email, EmailKey: store.EmailKey(email), Role: "member",
			Hash: hash[:], InvitedBy: "key_1", CreatedAt: at,
		})
		return err
	})
	return inv, err
}

func (b *bundle) accept(t *testing.T, inv *store.Invitation, account string, at time.Time) (m *store.Membership, err error) {
	err = b.Transact(t.Context(), func(tx *store.DB) error {
		if _, err := tx.LockOrg(t.Context(), inv.OrgID); err != nil {
			return err
		}
		m, err = tx.AcceptInvitation(t.Context(), inv.OrgID, inv.ID, account, at)
		return err
	})
	return m, err
}

func TestInvitations(t *testing.T) {
	t.Parallel()
	b := setup(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	inv, err := b.invite(t, "Ada@example.com", now)
	if err != nil {
		t.Fatal(err)
	}
	want := &store.Invitation{
		ID: inv.ID, OrgID: b.project.OrgID, Email: "Ada@example.com", EmailKey: "ada@example.com", Role: "member", Hash: inv.Hash,
		InvitedBy: "key_1", CreatedAt: now, ExpiresAt: now.Add(7 * 24 * time.Hour),
	}
	if diff := cmp.Diff(want, inv); diff != "" {
		t.Error(diff)
	}
	if _, err := b.invite(t, "ada@EXAMPLE.com", now); !errors.Is(err, store.ErrInvited) {
		t.Errorf("a second one: %v", err)
	}
	if _, err := b.OpenInvitation(t.Context(), "org_other", inv.ID, now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another organization reads it: %v", err)
	}
	for name, change := range map[string]func(tx *store.DB) error{
		"revokes": func(tx *store.DB) error {
			_, err := tx.RevokeInvitation(t.Context(), "org_other", inv.ID, now)
			return err
		},
		"renews": func(tx *store.DB) error {
			_, err := tx.RenewInvitation(t.Context(), "org_other", inv.ID, "usr_2", []byte("x"), now)
			return err
		},
		"renews late": func(tx *store.DB) error {
			_, err := tx.RenewInvitation(t.Context(), inv.OrgID, inv.ID, "usr_2", []byte("x"), inv.ExpiresAt)
			return err
		},
	} {
		if err := b.Transact(t.Context(), change); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("one %s it: %v", name, err)
		}
	}

	later := now.Add(time.Hour)
	b.transact(t, func(tx *store.DB) error {
		_, err := tx.RenewInvitation(t.Context(), inv.OrgID, inv.ID, "usr_2", []byte("another"), later)
		return err
	})
	if _, err := b.InvitationByHash(t.Context(), inv.Hash); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the former token still leads to it: %v", err)
	}
	renewed, err := b.InvitationByHash(t.Context(), []byte("another"))
	if err != nil || !renewed.ExpiresAt.Equal(later.Add(store.InvitationTTL)) {
		t.Errorf("renewed: %v, %v", renewed, err)
	}

	ada := b.person(t, "ada@example.com")
	m, err := b.accept(t, inv, ada, later)
	if err != nil || m.Role != "member" || m.AccountID != ada {
		t.Errorf("accepted: %v, %v", m, err)
	}
	if _, err := b.accept(t, inv, b.person(t, "eve@example.com"), later); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("accepted twice: %v", err)
	}
	if _, err := b.invite(t, "ada@example.com", later); !errors.Is(err, store.ErrMember) {
		t.Errorf("a member is invited: %v", err)
	}
	if left, err := b.OpenInvitations(t.Context(), inv.OrgID, later, store.Page{Limit: 10}); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// One that has run out can not be accepted, and does not stand in the way.
func TestInvitations_RunOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	now := time.Now()
	old, err := b.invite(t, "ada@example.com", now.Add(-store.InvitationTTL))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.accept(t, old, b.person(t, "ada@example.com"), now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("accepted late: %v", err)
	}
	fresh, err := b.invite(t, "ada@example.com", now)
	if err != nil {
		t.Fatal(err)
	}
	open, err := b.OpenInvitations(t.Context(), b.project.OrgID, now, store.Page{Limit: 10})
	if err != nil || len(open) != 1 || open[0].ID != fresh.ID {
		t.Errorf("open: %v, %v", open, err)
	}
}

func TestInvitations_LimitsAreExact(t *testing.T) {
	t.Parallel()
	b := setup(t)
	now := time.Now()
	b.exec(t, `
		INSERT INTO invitation (id, org_id, email, email_key, role, hash, invited_by, created_at, expires_at)
		SELECT 'inv_' || i, $1, i, i, 'member', i::text::bytea, 'key_1', $2::timestamptz - interval '2 days', $2::timestamptz + interval '5 days'
		FROM generate_series(1, $3::int) AS i`, b.project.OrgID, now, store.MaxOpenInvitations-3)
	came := race(6, func(i int) error {
		_, err := b.invite(t, fmt.Sprintf("p%d@example.com", i), now)
		return err
	})
	if diff := cmp.Diff(map[error]int{nil: 3, store.ErrTooManyInvitations: 3}, came); diff != "" {
		t.Error(diff)
	}
	b.exec(t, `UPDATE invitation SET revoked_at = now()`)
	b.exec(t, `UPDATE invitation SET created_at = $1 WHERE invited_by = 'key_1'`, now.Add(-23*time.Hour))
	b.exec(t, `
		INSERT INTO invitation (id, org_id, email, email_key, role, hash, invited_by, created_at, expires_at, revoked_at)
		SELECT 'inv_more_' || i, $1, i, i, 'member', ('more' || i)::bytea, 'key_1', $2, $2, $2
		FROM generate_series(1, $3::int) AS i`, b.project.OrgID, now, store.MaxDailyInvitations-store.MaxOpenInvitations)
	if _, err := b.invite(t, "late@example.com", now); !errors.Is(err, store.ErrInvitingTooOften) {
		t.Errorf("the next one of the day: %v", err)
	}
	if _, err := b.invite(t, "late@example.com", now.Add(2*time.Hour)); err != nil {
		t.Errorf("once the first are a day old: %v", err)
	}
}

func TestAcceptInvitation_OnceAndWithinTheLimit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	now := time.Now()
	inv, err := b.invite(t, "ada@example.com", now)
	if err != nil {
		t.Fatal(err)
	}
	ada := b.person(t, "ada@example.com")
	b.exec(t, `
		INSERT INTO account (id, email, email_key, name)
		SELECT 'usr_' || i, i, i, '' FROM generate_series(1, $1::int) AS i`, store.MaxMembers)
	b.exec(t, `INSERT INTO membership (org_id, account_id, role) SELECT $1, id, 'member' FROM account WHERE id <> $2`, b.project.OrgID, ada)
	if _, err := b.accept(t, inv, ada, now); !errors.Is(err, store.ErrTooManyMembers) {
		t.Errorf("one too many: %v", err)
	}
	b.exec(t, `DELETE FROM membership WHERE account_id = 'usr_1'`)
	came := race(6, func(int) error {
		_, err := b.accept(t, inv, ada, now)
		return err
	})
	if diff := cmp.Diff(map[error]int{nil: 1, store.ErrNotFound: 5}, came); diff != "" {
		t.Error(diff)
	}
}
