// Package store is the system of record: every row the service keeps and every
// SQL statement that touches one.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrNotFound reports that no row matches, or that the caller may not see it.
var ErrNotFound = errors.New("not found")

type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// DB runs queries. Inside Transact it represents the transaction, so the same
// methods work in both places.
type DB struct {
	pool *pgxpool.Pool
	tx   pgx.Tx
	q    querier
}

// Options tune the connections of a DB. The zero value suits the application.
type Options struct {
	// Name is shown by pg_stat_activity; default "nanobanana".
	Name string
	// MaxConns bounds the pool; default 16. More than 16 is slower on two cores.
	MaxConns int32
	// Queue makes a pool for River, whose maintenance may take longer than the
	// application's statements and which holds no transaction open while idle.
	Queue bool
}

// Open connects to url and checks the connection.
func Open(ctx context.Context, url string, opts Options) (*DB, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("read database URL: %w", hideURL(err))
	}
	cfg.MaxConns = opts.MaxConns
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 16
	}
	params := cfg.ConnConfig.RuntimeParams
	params["application_name"] = opts.Name
	if opts.Name == "" {
		params["application_name"] = "nanobanana"
	}
	if !opts.Queue {
		// A stalled process must not hold rows that others wait for.
		params["statement_timeout"] = "20s"
		params["lock_timeout"] = "8s"
		params["idle_in_transaction_session_timeout"] = "5s"
	}
	cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", hideURL(err))
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("open database: %w", hideURL(err))
	}
	return &DB{pool: pool, q: pool}, nil
}

// hideURL drops a configuration error's copy of the connection string, which
// may hold a password in a form that the driver does not recognize.
func hideURL(err error) error {
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) {
		return errors.New("it is not a valid postgres:// URL or key=value list")
	}
	return err
}

// Close closes every connection.
func (db *DB) Close() { db.pool.Close() }

// Pool returns the connections, for River.
func (db *DB) Pool() *pgxpool.Pool { return db.pool }

// Tx is the transaction db represents, for River. It is nil outside Transact.
func (db *DB) Tx() pgx.Tx { return db.tx }

// Ping checks that the database answers.
func (db *DB) Ping(ctx context.Context) error { return db.pool.Ping(ctx) }

// Transact runs fn in one transaction: all of it happens or none of it does.
func (db *DB) Transact(ctx context.Context, fn func(tx *DB) error) error {
	return pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		return fn(&DB{pool: db.pool, tx: tx, q: tx})
	})
}

// IsUnavailable reports whether err means that the database cannot be reached
// or is refusing work for now, rather than that the statement was wrong.
func IsUnavailable(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code[:2] {
		case "08", "53", "57": // connection, resources, operator intervention
			return true
		}
		return pg.Code == "25P03" || pg.Code == "25006" // idle timeout, read-only standby
	}
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) || errors.Is(err, errLaneClosed) {
		return true
	}
	return pgconn.Timeout(err) || isBrokenConn(err)
}

// IsLockTimeout reports whether err is a wait for a row lock given up.
func IsLockTimeout(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "55P03"
}

// one runs a query that yields exactly one T, or ErrNotFound.
func one[T any](ctx context.Context, db *DB, sql string, args pgx.NamedArgs) (*T, error) {
	rows, err := db.q.Query(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[T])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNotFound
	}
	return row, err
}

// many runs a query that yields any number of T.
func many[T any](ctx context.Context, db *DB, sql string, args pgx.NamedArgs) ([]*T, error) {
	rows, err := db.q.Query(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[T])
}
