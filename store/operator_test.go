package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// account makes an account whose address is known to be theirs, or not.
func (b *bundle) account(t *testing.T, email string, verified bool) string {
	t.Helper()
	a := store.Account{Email: email}
	if now := time.Now(); verified {
		a.VerifiedAt = &now
	}
	made, err := b.CreateAccount(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return made.ID
}

func TestSetOperator(t *testing.T) {
	t.Parallel()
	b := setup(t)
	claimed := b.account(t, "Ann@example.com", false)
	if _, _, err := b.SetOperator(t.Context(), "ann@example.com", true); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an address that is only claimed: %v", err)
	}
	ann := b.account(t, "Ann@Example.com", true)
	for _, step := range []struct{ operator, changed bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
		got, changed, err := b.SetOperator(t.Context(), " ANN@example.com ", step.operator)
		if err != nil || got.ID != ann || got.Operator != step.operator || changed != step.changed {
			t.Errorf("%+v: %+v, %v, %v", step, got, changed, err)
		}
	}
	if got, err := b.OperatorAccount(t.Context(), claimed); err != nil || got.Operator {
		t.Errorf("the other one: %+v, %v", got, err)
	}
}

// Suspension ends every session, and keeps its first time.
func TestSuspendAccount(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ann, bob := b.account(t, "ann@example.com", true), b.account(t, "bob@example.com", true)
	var sessions []string
	for _, id := range []string{ann, ann, bob} {
		s, err := b.CreateSession(t.Context(), store.Session{AccountID: id, Method: store.MethodPassword})
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s.ID)
	}
	var first, again, after *store.OperatorAccount
	for _, step := range []struct {
		into      **store.OperatorAccount
		suspended bool
	}{{&first, true}, {&again, true}, {&after, false}} {
		err := b.Transact(t.Context(), func(tx *store.DB) (err error) {
			*step.into, err = tx.SuspendAccount(t.Context(), ann, step.suspended)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if first.SuspendedAt == nil || !first.SuspendedAt.Equal(*again.SuspendedAt) || after.SuspendedAt != nil {
		t.Errorf("%v, %v, %v", first.SuspendedAt, again.SuspendedAt, after.SuspendedAt)
	}
	var ended []bool
	for _, id := range sessions {
		s, err := b.SessionState(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		ended = append(ended, s.Ended)
	}
	if diff := cmp.Diff([]bool{true, true, false}, ended); diff != "" {
		t.Error(diff)
	}
	b.exec(t, `UPDATE account SET erased_at = now() WHERE id = $1`, bob)
	for _, id := range []string{bob, "usr_none"} {
		if _, err := b.SuspendAccount(t.Context(), id, true); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestSuspendOrg(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.project.OrgID
	first, err := b.SuspendOrg(t.Context(), id, true)
	if err != nil || first.SuspendedAt == nil {
		t.Fatal(first, err)
	}
	again, err := b.SuspendOrg(t.Context(), id, true)
	if err != nil || !again.SuspendedAt.Equal(*first.SuspendedAt) {
		t.Errorf("%v, %v", again, err)
	}
	after, err := b.SuspendOrg(t.Context(), id, false)
	if err != nil || after.SuspendedAt != nil {
		t.Errorf("%v, %v", after, err)
	}
	b.exec(t, `UPDATE org SET deleted_at = now() WHERE id = $1`, id)
	if _, err := b.SuspendOrg(t.Context(), id, true); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
	if _, err := b.OverrideOrg(t.Context(), store.Org{ID: id, Plan: "pro"}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
}

// What an organization has asked for is done, also if it is suspended meanwhile: it was
// accepted, held or not.
func TestSuspendOrg_HeldGenerationsRun(t *testing.T) {
	t.Parallel()
	b := setupCapped(t)
	rows := b.submit(t, b.project.OrgID, store.QueueGenerate, 3)
	if !rows[2].Held {
		t.Fatal("none is held")
	}
	if _, err := b.SuspendOrg(t.Context(), b.project.OrgID, true); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE org SET plan = 'unlimited' WHERE id = $1`, b.project.OrgID)
	if n, err := b.AdmitHeld(t.Context()); n != 1 || err != nil {
		t.Errorf("%d admitted, %v", n, err)
	}
}

// Operators search among many in a moment: by the beginning of an address or name.
func TestOperatorSearch_ReadsLittle(t *testing.T) {
	t.Parallel()
	b := setup(t)
	emails := func(prefix string, p store.Page) func(*store.DB) error {
		p.Limit = 20
		return func(db *store.DB) error {
			_, err := db.OperatorAccounts(t.Context(), store.AccountFilter{Email: prefix, Page: p})
			return err
		}
	}
	orgs := func(f store.OrgFilter) func(*store.DB) error {
		f.Limit = 20
		return func(db *store.DB) error { _, err := db.OperatorOrgs(t.Context(), f); return err }
	}
	keys := func(org string) func(*store.DB) error {
		return func(db *store.DB) error {
			_, err := db.OperatorKeys(t.Context(), org, store.Page{Limit: 20})
			return err
		}
	}
	b.exec(t, `
		INSERT INTO account (id, email, email_key, name)
		SELECT 'usr_' || lpad(i::text, 26, '0'), 'u' || i || '@x', 'u' || i || '@x', '' FROM generate_series(1, 20000) AS i`)
	b.exec(t, `
		INSERT INTO org (id, name, plan)
		SELECT 'org_' || lpad(i::text, 26, '0'), 'Name ' || i, 'free' FROM generate_series(1, 20000) AS i`)
	b.exec(t, `
		INSERT INTO api_key (id, org_id, project_id, name, kind, hash, pepper_version, last4)
		SELECT 'key_' || lpad(i::text, 26, '0'), 'org_' || lpad((1 + i / 50)::text, 26, '0'), id, '', 'live', decode(lpad(i::text, 64, '0'), 'hex'), 0, ''
		FROM generate_series(1, 20000) AS i, project`)
	middle := store.Page{After: fmt.Sprintf("usr_%026d", 9000)}
	b.exec(t, `ANALYZE account, org, api_key`)
	for name, ask := range map[string]func(*store.DB) error{
		"address":        emails("u1234", store.Page{}),
		"all accounts":   emails("", store.Page{}),
		"accounts after": emails("", middle),
		"name":           orgs(store.OrgFilter{Name: "NAME 1234"}),
		"all orgs":       orgs(store.OrgFilter{}),
		"keys of one":    keys(fmt.Sprintf("org_%026d", 7)),
		"all keys":       keys(""),
	} {
		if n := b.rowsRead(t, ask); n > 500 {
			t.Errorf("%s: %d rows are read", name, n)
		}
	}
	page, err := b.OperatorAccounts(t.Context(), store.AccountFilter{Email: "u1234", Page: store.Page{Ascending: true, Limit: 20}})
	if err != nil || len(page) != 11 || !strings.HasPrefix(page[10].Email, "u1234") {
		t.Errorf("%d accounts, %v", len(page), err)
	}
}
