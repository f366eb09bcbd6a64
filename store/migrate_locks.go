package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/nanobanana/nanobanana/migrations"
)

const (
	// migrationPatience is how long a migration is tried for while others hold its
	// tables.
	migrationPatience = 5 * time.Minute
	// migrationPause is between two tries, and up to as much again: what waits in
	// line behind one is done before the next.
	migrationPause = 500 * time.Millisecond
)

// migrateFile applies one migration. Whoever comes after it waits behind the table
// that it waits for itself, so it gives a table up after two seconds and tries anew.
func (db *DB) migrateFile(ctx context.Context, name string) error {
	sql, err := migrations.Files.ReadFile(name)
	if err != nil {
		return err
	}
	var busy error
	for deadline := time.Now().Add(migrationPatience); ; {
		err := db.Transact(ctx, func(tx *DB) error {
			if _, err := tx.tx.Exec(ctx, `SET LOCAL lock_timeout = '2s'`); err != nil {
				return err
			}
			if _, err := tx.tx.Exec(ctx, string(sql)); err != nil {
				return err
			}
			_, err := tx.tx.Exec(ctx, `INSERT INTO schema_migration (name) VALUES ($1)`, name)
			return err
		})
		switch {
		case isLocked(err):
			busy = err
		case err == nil || busy == nil || ctx.Err() == nil:
			return err
		}
		if ctx.Err() == nil && time.Now().Before(deadline) {
			select {
			case <-time.After(migrationPause + rand.N(migrationPause)): //nolint:gosec // it need not be unpredictable
				continue
			case <-ctx.Done():
			}
		}
		return fmt.Errorf("others hold its tables%s: %w", db.holders(context.WithoutCancel(ctx)), errors.Join(busy, ctx.Err()))
	}
}

const codeDeadlock = "40P01"

// isLocked reports whether err means that others hold what a statement needs.
func isLocked(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == codeLockTimeout || pg.Code == codeDeadlock)
}

// holders says who has held tables for longer than a migration waits, the longest
// first; nothing if that can not be told.
func (db *DB) holders(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	rows, err := db.pool.Query(ctx, `
		SELECT format('process %s (%s), %s for %s, holds %s', a.pid, coalesce(nullif(a.application_name, ''), 'unnamed'), a.state,
			date_trunc('second', clock_timestamp() - a.xact_start), string_agg(DISTINCT c.relname, ', '))
		FROM pg_stat_activity AS a
		JOIN pg_locks AS l ON l.pid = a.pid AND l.granted AND l.locktype = 'relation'
		JOIN pg_class AS c ON c.oid = l.relation AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
		WHERE a.datname = current_database() AND a.xact_start < clock_timestamp() - interval '2 seconds'
		GROUP BY a.pid, a.application_name, a.state, a.xact_start
		ORDER BY a.xact_start
		LIMIT 5`)
	if err != nil {
		return ""
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(lines) == 0 {
		return ""
	}
	return " (" + strings.Join(lines, "; ") + ")"
}
