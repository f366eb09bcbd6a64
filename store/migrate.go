package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/nanobanana/nanobanana/migrations"
)

// RiverSchema is the Postgres schema of River's tables.
const RiverSchema = "river"

// ErrSchemaOld reports a database that lacks migrations this program needs.
var ErrSchemaOld = errors.New("the database schema is older than this program")

// migrationLock serializes migrations of one database: "nbmigrat" in ASCII.
const migrationLock = 0x6e626d6967726174

// Migrate brings the schema up to date and returns the migrations it applied.
// Concurrent calls wait for each other. It uses connections of its own, on which
// a statement may take as long as it needs. Programs may be at work meanwhile: one
// that holds a table delays a migration, and the migration delays the others by
// little. After minutes of that the error says who holds what.
func (db *DB) Migrate(ctx context.Context) ([]string, error) {
	patient, err := Open(ctx, db.pool.Config().ConnString(), Options{Name: "nanobanana migrate", MaxConns: 4, Queue: true})
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	defer patient.Close()
	conn, err := patient.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, int64(migrationLock)); err != nil {
		return nil, fmt.Errorf("lock migrations: %w", err)
	}
	// The lock falls with the connection.
	applied, err := patient.migrate(ctx)
	if err != nil || len(applied) == 0 {
		return applied, err
	}
	if err := db.warmIdle(ctx); err != nil {
		return applied, fmt.Errorf("migrate: %w", err)
	}
	return applied, nil
}

func (db *DB) migrate(ctx context.Context) ([]string, error) {
	pending, err := db.prepareMigrations(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range pending {
		if err := db.migrateFile(ctx, name); err != nil {
			return nil, fmt.Errorf("migrate %s: %w", name, err)
		}
	}
	return pending, nil
}

// prepareMigrations brings the queue's schema up to date and returns the migrations
// to apply to the rest.
func (db *DB) prepareMigrations(ctx context.Context) ([]string, error) {
	if err := db.migrateQueue(ctx); err != nil {
		return nil, err
	}
	_, err := db.pool.Exec(ctx, `
		CREATE TABLE IF NOT EXISTS schema_migration (
			name       text PRIMARY KEY,
			applied_at timestamptz NOT NULL DEFAULT now()
		)`)
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	return db.pendingMigrations(ctx)
}

func (db *DB) migrateQueue(ctx context.Context) error {
	if _, err := db.pool.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS `+RiverSchema); err != nil {
		return fmt.Errorf("migrate queue: %w", err)
	}
	m, err := db.queueMigrator()
	if err != nil {
		return err
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrate queue: %w", err)
	}
	return nil
}

func (db *DB) queueMigrator() (*rivermigrate.Migrator[pgx.Tx], error) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	m, err := rivermigrate.New(riverpgxv5.New(db.pool), &rivermigrate.Config{Schema: RiverSchema, Logger: quiet})
	if err != nil {
		return nil, fmt.Errorf("migrate queue: %w", err)
	}
	return m, nil
}

// CheckSchema returns ErrSchemaOld if Migrate has work to do.
func (db *DB) CheckSchema(ctx context.Context) error {
	pending, err := db.pendingMigrations(ctx)
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == "42P01": // no such table
		return ErrSchemaOld
	case err != nil:
		return err
	case len(pending) > 0:
		return fmt.Errorf("%w: %v", ErrSchemaOld, pending)
	}
	m, err := db.queueMigrator()
	if err != nil {
		return err
	}
	res, err := m.Validate(ctx, nil)
	if err != nil {
		return fmt.Errorf("check queue schema: %w", err)
	}
	if !res.OK {
		return fmt.Errorf("%w: %v", ErrSchemaOld, res.Messages)
	}
	return nil
}

// pendingMigrations returns the names of the migrations not yet applied, in
// order.
func (db *DB) pendingMigrations(ctx context.Context) ([]string, error) {
	rows, err := db.pool.Query(ctx, `SELECT name FROM schema_migration`)
	if err != nil {
		return nil, fmt.Errorf("read applied migrations: %w", err)
	}
	applied, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read applied migrations: %w", err)
	}
	names, err := fs.Glob(migrations.Files, "*.sql")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(applied, name) }), nil
}
