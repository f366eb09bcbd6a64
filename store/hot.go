package store

import (
	"context"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
)

// hot are the named arguments of a statement that every job executes. Its text, which
// must be one of few, is read once and not each time: to find the names in ten
// kilobytes of SQL takes as long as a look-up in a table.
type hot pgx.NamedArgs

// A reading is a statement with its arguments numbered, and their names in order.
type reading struct {
	sql   string
	names []any
}

// readings has a *reading by the statement as it was written.
var readings sync.Map

// RewriteQuery implements pgx.QueryRewriter.
func (h hot) RewriteQuery(ctx context.Context, conn *pgx.Conn, sql string, args []any) (string, []any, error) {
	found, ok := readings.Load(sql)
	if !ok {
		read, err := h.read(ctx, conn, sql, args)
		if err != nil {
			return "", nil, err
		}
		found, _ = readings.LoadOrStore(sql, read)
	}
	r, _ := found.(*reading)
	values := make([]any, len(r.names))
	for i, name := range r.names {
		if name, ok := name.(string); ok {
			values[i] = h[name]
		}
	}
	return r.sql, values, nil
}

// read has pgx tell the names, each of which stands for itself.
func (h hot) read(ctx context.Context, conn *pgx.Conn, sql string, args []any) (*reading, error) {
	names := make(pgx.NamedArgs, len(h))
	for name := range h {
		names[name] = name
	}
	numbered, order, err := names.RewriteQuery(ctx, conn, sql, args)
	if err != nil {
		return nil, err
	}
	for i, name := range order {
		if name == nil {
			return nil, fmt.Errorf("the statement's argument %d is not given", i+1)
		}
	}
	return &reading{sql: numbered, names: order}, nil
}

// manyHot runs a hot query that yields any number of T.
func manyHot[T any](ctx context.Context, db *DB, sql string, args hot) ([]*T, error) {
	rows, err := db.q.Query(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[T])
}
