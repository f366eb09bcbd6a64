package store_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// longestWait is how long a migration may delay anyone: as long as it waits for a
// table itself, and a little for a slow machine.
const longestWait = 3500 * time.Millisecond

// beforeTenancy returns a database of the release before organizations had members,
// with one organization.
func beforeTenancy(t *testing.T) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), storetest.Unmigrated(t), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if err := db.MigrateTo(t.Context(), "0006"); err != nil {
		t.Fatal(err)
	}
	execAll(t, db, `INSERT INTO org (id, name, plan) VALUES ('org_1', 'x', 'free')`, `INSERT INTO project (id, org_id, name) VALUES ('proj_1', 'org_1', 'x')`)
	return db
}

func execAll(t *testing.T, db *store.DB, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := db.Pool().Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// reading holds a table as a long report does, until it is told to end.
func reading(t *testing.T, db *store.DB, table string) (end func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), db.Pool().Config().ConnString()+"&application_name=report")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	for _, sql := range []string{`BEGIN`, `SELECT FROM ` + table} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if _, err := conn.Exec(t.Context(), `COMMIT`); err != nil {
			t.Error(err)
		}
	}
}

// untilWaiting returns once someone does, or no longer does, wait to have a table alone.
func untilWaiting(t *testing.T, db *store.DB, want bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var waits bool
		err := db.Pool().QueryRow(t.Context(), `
			SELECT EXISTS (SELECT FROM pg_locks
				WHERE NOT granted AND mode = 'AccessExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`).Scan(&waits)
		if err != nil {
			t.Fatal(err)
		}
		if waits == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after half a minute it waits: %t", waits)
		}
	}
}

// A report holds organizations for long while keys are made: the migration stands
// back, so that nobody waits for long, and gets through.
func TestMigrate_AmongTraffic(t *testing.T) {
	t.Parallel()
	db := beforeTenancy(t)
	end := reading(t, db, "org")
	migrated := make(chan error, 1)
	go func() {
		_, err := db.Migrate(t.Context())
		migrated <- err
	}()
	var longest atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			began := time.Now()
			_, err := db.Pool().Exec(t.Context(), `
				INSERT INTO api_key (id, org_id, project_id, name, kind, hash, pepper_version, last4)
				VALUES ('key_' || $1::int, 'org_1', 'proj_1', 'x', 'live', int4send($1::int), 0, 'abcd')`, n)
			if err != nil {
				t.Error(err)
				return
			}
			longest.Store(max(longest.Load(), int64(time.Since(began))))
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	untilWaiting(t, db, true)
	untilWaiting(t, db, false)
	untilWaiting(t, db, true)
	end()
	if err := <-migrated; err != nil {
		t.Error(err)
	}
	close(stop)
	<-stopped
	if got := time.Duration(longest.Load()); got > longestWait {
		t.Errorf("a key waited for %s, want %s at most", got, longestWait)
	}
	if err := db.CheckSchema(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMigrate_SaysWhoHoldsItsTables(t *testing.T) {
	t.Parallel()
	db := beforeTenancy(t)
	defer reading(t, db, "project")()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	migrated := make(chan error, 1)
	go func() {
		_, err := db.Migrate(ctx)
		migrated <- err
	}()
	untilWaiting(t, db, true)
	untilWaiting(t, db, false)
	cancel()
	err := <-migrated
	for _, part := range []string{"migrate 0007_tenancy.sql: others hold its tables", "(report), idle in transaction for", "holds project"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the error lacks %q: %v", part, err)
		}
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error hides why it stopped: %v", err)
	}
}

// Whoever has a key's row goes on to its organization: a migration that waits for the
// keys has not taken that away.
func TestMigrate_LocksInTheOrderOfPrograms(t *testing.T) {
	t.Parallel()
	db := beforeTenancy(t)
	migrated := make(chan error, 1)
	err := db.Transact(t.Context(), func(tx *store.DB) error {
		if _, err := tx.Tx().Exec(t.Context(), `SELECT FROM api_key`); err != nil {
			return err
		}
		go func() {
			_, err := db.Migrate(t.Context())
			migrated <- err
		}()
		untilWaiting(t, db, true)
		_, err := tx.Tx().Exec(t.Context(), `SET LOCAL lock_timeout = '300ms'; SELECT FROM project; SELECT FROM org`)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := <-migrated; err != nil {
		t.Error(err)
	}
}
