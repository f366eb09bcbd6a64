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
	"github.com/jackc/puddle/v2"
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
	// application's statements. Its commits wait for the disk too: if a crash took
	// back that a ticket was fetched, another worker would fetch it and pay for a
	// call, and what River then writes late of the first, whoever has the ticket,
	// would have it run and paid for once more.
	Queue bool
	// Warm is how many connections are kept open with the statements of a job
	// planned, so that under a light load no job waits for either; default 0. It is
	// for processes that serve, and counts toward MaxConns.
	Warm int32
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
	// A host that is gone must not keep its locks for as long as TCP hopes.
	params["tcp_user_timeout"] = "15000"
	// A stalled process must not hold rows that others wait for.
	params["idle_in_transaction_session_timeout"] = "5s"
	if !opts.Queue {
		params["statement_timeout"] = "20s"
		params["lock_timeout"] = "8s"
	}
	cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	keepWarm(cfg, opts.Warm)
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
	tx, err := db.pool.Begin(ctx)
	if pgconn.SafeToRetry(err) {
		tx, err = db.pool.Begin(ctx) // the connection had died unnoticed
	}
	if err != nil {
		return err
	}
	// It does nothing after Commit; after a failure it frees the connection
	// whether or not ctx still lives.
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if err := fn(&DB{pool: db.pool, tx: tx, q: tx}); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// within runs fn in the transaction that db represents, or in one of its own.
func (db *DB) within(ctx context.Context, fn func(tx *DB) error) error {
	if db.tx != nil {
		return fn(db)
	}
	return db.Transact(ctx, fn)
}

// IsUnavailable reports whether err means that the database can not be reached
// or is refusing work for now, rather than that the statement was wrong.
func IsUnavailable(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "25P03", "25006", codeLockTimeout: // idle in transaction, read-only standby, a migration at work
			return true
		case codeStatementTimeout:
			return false
		}
		switch pg.Code[:2] {
		case "08", "40", "53", "57": // connection, deadlock, resources, operator intervention
			return true
		}
		return false
	}
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) || errors.Is(err, errLaneClosed) || errors.Is(err, puddle.ErrClosedPool) || errors.Is(err, pgconn.ErrConnClosed) {
		return true
	}
	return pgconn.Timeout(err) || pgconn.SafeToRetry(err) || isBrokenConn(err)
}

const codeStatementTimeout = "57014"

// IsStatementTimeout reports whether err is a statement that took longer than
// the application allows: asking again would take as long.
func IsStatementTimeout(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == codeStatementTimeout
}

const codeLockTimeout = "55P03"

// IsRejected reports whether err means that the database will never take the
// values it was given: they do not fit a type or a constraint.
func IsRejected(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code[:2] == "22" || pg.Code[:2] == "23")
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

// isCheckViolation reports whether a row's CHECK has refused what was written.
func isCheckViolation(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23514"
}
