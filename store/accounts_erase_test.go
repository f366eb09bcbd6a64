package store_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// org makes an organization with members and their roles.
func (b *bundle) orgOf(t *testing.T, members map[*store.Account]string) string {
	t.Helper()
	org, err := b.CreateOrg(t.Context(), "org", "free", nil)
	if err != nil {
		t.Fatal(err)
	}
	for a, role := range members {
		b.exec(t, `INSERT INTO membership (org_id, account_id, role) VALUES ($1, $2, $3)`, org.ID, a.ID, role)
	}
	return org.ID
}

func TestEraseAccount(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, bob := b.claimant(t, "ada@example.com"), b.claimant(t, "bob@example.com")
	erase := func() (alone []string, err error) {
		err = b.Transact(t.Context(), func(tx *store.DB) (err error) {
			alone, err = tx.EraseAccount(t.Context(), ada.ID)
			return err
		})
		return alone, err
	}
	own := b.orgOf(t, map[*store.Account]string{ada: "owner"})
	member := b.orgOf(t, map[*store.Account]string{ada: "member", bob: "owner"})
	shared := b.orgOf(t, map[*store.Account]string{ada: "owner", bob: "admin"})
	gone := b.orgOf(t, map[*store.Account]string{ada: "owner", bob: "member"})
	b.exec(t, `UPDATE org SET deleted_at = now() WHERE id = $1`, gone)
	b.exec(t, `INSERT INTO account_identity (issuer, subject, account_id) VALUES ('i', 's', $1)`, ada.ID)
	if _, err := b.CreateSession(t.Context(), store.Session{AccountID: ada.ID, Method: store.MethodPassword}); err != nil {
		t.Fatal(err)
	}
	if err := b.CreateAccountToken(t.Context(), ada.ID, store.TokenReset, []byte("x"), 1e12); err != nil {
		t.Fatal(err)
	}
	for i, email := range []string{"ada@example.com", "bob@example.com"} {
		b.exec(t, `INSERT INTO invitation (id, org_id, email, email_key, role, hash, invited_by, expires_at) VALUES ($1, $2, $3, $3, 'member', convert_to($1, 'UTF8'), '', now())`,
			string(rune('a'+i)), member, email)
	}
	if err := b.InsertMail(t.Context(), store.Mail{ID: "mail_1", AccountID: &ada.ID, Recipient: ada.Email, Data: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if _, err := erase(); !errors.Is(err, store.ErrLastOwner) || !strings.Contains(err.Error(), shared) {
		t.Errorf("while the only owner: %v", err)
	}
	if _, err := b.Account(t.Context(), ada.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := b.VerifyAccount(t.Context(), ada.ID); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE membership SET role = 'owner' WHERE org_id = $1`, shared)
	alone, err := erase()
	if diff := cmp.Diff([]string{own}, alone); diff != "" || err != nil {
		t.Errorf("%v, alone in (-want +got):\n%s", err, diff)
	}
	for _, table := range []string{"membership", "account_identity", "session", "account_token", "mail"} {
		if n := b.count(t, `SELECT count(*) FROM `+table+` WHERE account_id = $1`, ada.ID); n > 0 {
			t.Errorf("%d rows of %s are left", n, table)
		}
	}
	if n := b.count(t, `SELECT count(*) FROM invitation`); n != 1 {
		t.Errorf("%d invitations are left", n)
	}
	left := b.count(t, `
		SELECT count(*) FROM account
		WHERE id = $1 AND erased_at IS NOT NULL AND (email, email_key, name) = ('', '', '') AND password IS NULL AND verified_at IS NULL`, ada.ID)
	if left != 1 {
		t.Error("the account keeps more than its id")
	}
	if _, err := erase(); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the second time: %v", err)
	}
	b.claimant(t, "ada@example.com") // the address is free
}

// One of two owners leaves while the other does: one of them has to stay.
func TestEraseAccount_AtTheSameTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, bob, eve := b.claimant(t, "ada@example.com"), b.claimant(t, "bob@example.com"), b.claimant(t, "eve@example.com")
	b.orgOf(t, map[*store.Account]string{ada: "owner", bob: "owner", eve: "member"})
	second := make(chan error, 1)
	err := b.Transact(t.Context(), func(tx *store.DB) error {
		if _, err := tx.EraseAccount(t.Context(), ada.ID); err != nil {
			return err
		}
		go func() {
			second <- b.Transact(t.Context(), func(tx *store.DB) error {
				_, err := tx.EraseAccount(t.Context(), bob.ID)
				return err
			})
		}()
		return b.awaitLockWait(t)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-second; !errors.Is(err, store.ErrLastOwner) {
		t.Errorf("the second: %v", err)
	}
}

func TestDeleteOrg(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.project.OrgID
	ada := b.claimant(t, "ada@example.com")
	if err := b.InsertMembership(t.Context(), org, ada.ID, store.RoleOwner); err != nil {
		t.Fatal(err)
	}
	b.made(t, b.scope(), nil)
	kept := b.orgOf(t, map[*store.Account]string{ada: "owner"})
	if err := b.DeleteOrg(t.Context(), org); err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteOrg(t.Context(), org); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the second time: %v", err)
	}
	for what, sql := range map[string]string{
		"keys":      `SELECT count(*) FROM api_key WHERE org_id = $1 AND revoked_at IS NULL`,
		"projects":  `SELECT count(*) FROM project WHERE org_id = $1 AND archived_at IS NULL`,
		"endpoints": `SELECT count(*) FROM webhook_endpoint WHERE org_id = $1 AND disabled_at IS NULL`,
		"members":   `SELECT count(*) FROM membership WHERE org_id = $1`,
		"orgs":      `SELECT count(*) FROM org WHERE id = $1 AND deleted_at IS NULL`,
	} {
		if n := b.count(t, sql, org); n > 0 {
			t.Errorf("%d %s are left", n, what)
		}
	}
	if n := b.count(t, `SELECT count(*) FROM membership WHERE org_id = $1`, kept); n != 1 {
		t.Error("another organization lost its owner")
	}
	if err := b.EraseOrg(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	if n := b.count(t, `SELECT count(*) FROM org WHERE id = $1 AND name <> ''`, kept); n != 1 {
		t.Error("an organization that goes on was erased")
	}
}
