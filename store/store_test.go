package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

func TestTransact_AfterTheConnectionsWereCut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 5 {
		conn, err := pgx.Connect(t.Context(), storetest.URL(b.DB))
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Exec(t.Context(), `
			SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close(t.Context())
		err = b.Transact(t.Context(), func(tx *store.DB) error {
			_, err := tx.FirstProject(t.Context())
			return err
		})
		if err != nil && !store.IsUnavailable(err) {
			t.Errorf("got %v, want success or an absent database", err)
		}
	}
}

func TestTransact_AFailureLeavesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	failed := pgx.ErrNoRows
	err := b.Transact(t.Context(), func(tx *store.DB) error {
		if _, err := tx.CreateProject(t.Context(), b.project.OrgID, "half"); err != nil {
			t.Fatal(err)
		}
		return failed
	})
	if err != failed { //nolint:errorlint // the very error
		t.Errorf("got %v, want the function's error", err)
	}
	var n int
	if err := b.Pool().QueryRow(t.Context(), `SELECT count(*) FROM project WHERE name = 'half'`).Scan(&n); err != nil || n != 0 {
		t.Errorf("%d rows are left, %v", n, err)
	}
}

// A process that is frozen within a transaction holds what it has locked for
// seconds, not until it thaws: others may need it to go on, the queue's leader
// among them.
func TestOpen_AFrozenTransactionEnds(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]store.Options{"Application": {}, "Queue": {Queue: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			db, err := store.Open(t.Context(), storetest.URL(b.DB), opts)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(db.Close)
			frozen, err := db.Pool().Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = frozen.Rollback(context.WithoutCancel(t.Context())) }()
			const lock = `SELECT FROM org FOR UPDATE`
			if _, err := frozen.Exec(t.Context(), lock); err != nil {
				t.Fatal(err)
			}
			within, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			other, err := pgx.Connect(within, storetest.URL(b.DB))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = other.Close(context.WithoutCancel(t.Context())) }()
			if _, err := other.Exec(within, lock); err != nil {
				t.Errorf("the row is still locked: %v", err)
			}
		})
	}
}
