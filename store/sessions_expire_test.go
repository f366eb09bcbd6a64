package store_test

import (
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

func TestExpireSessions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.claimant(t, "ada@example.com")
	for i := range 5 {
		if _, err := b.CreateSession(t.Context(), store.Session{AccountID: a.ID, Method: store.MethodPassword}); err != nil {
			t.Fatal(err)
		}
		b.exec(t, `INSERT INTO account_token (hash, account_id, purpose, expires_at) VALUES (convert_to($1, 'UTF8'), $2, 'verify_email', now())`, string(rune('a'+i)), a.ID)
	}
	b.exec(t, `UPDATE session SET expires_at = now() - interval '2 hours' WHERE id <> (SELECT max(id) FROM session)`)
	b.exec(t, `UPDATE account_token SET expires_at = now() - interval '2 hours' WHERE hash < 'c'`)
	for _, want := range []int{3, 1, 0} {
		n, err := b.ExpireSessions(t.Context(), time.Now().Add(-time.Hour), 3)
		if n != want || err != nil {
			t.Errorf("%d are forgotten, want %d; %v", n, want, err)
		}
	}
	if sessions, tokens := b.count(t, `SELECT count(*) FROM session`), b.count(t, `SELECT count(*) FROM account_token`); sessions != 1 || tokens != 3 {
		t.Errorf("%d sessions and %d tokens are left", sessions, tokens)
	}
}
