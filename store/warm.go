package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// warmRounds is how often a new connection runs each statement: Postgres plans the
// first five executions for their values, and may keep a plan from the sixth on.
// https://www.postgresql.org/docs/current/sql-prepare.html#SQL-PREPARE-NOTES
const warmRounds = 6

// warmKey marks a warm connection in its custom data.
const warmKey = "nanobanana.warm"

// keepWarm makes a pool keep n connections open and warm. Those that it opens
// beyond, in a rush, go to work at once as they are.
func keepWarm(cfg *pgxpool.Config, n int32) {
	if n == 0 {
		return
	}
	cfg.MinConns = min(n, cfg.MaxConns)
	// Those that were opened together are not all replaced together.
	cfg.MaxConnLifetimeJitter = cfg.MaxConnLifetime / 4
	var warm atomic.Int32
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if warm.Add(1) > cfg.MinConns {
			warm.Add(-1)
			return nil
		}
		conn.PgConn().CustomData()[warmKey] = false
		err := warmUp(ctx, conn)
		if err != nil {
			warm.Add(-1) // it is not closed by way of BeforeClose
		}
		return err
	}
	cfg.BeforeClose = func(conn *pgx.Conn) {
		if _, ok := conn.PgConn().CustomData()[warmKey]; ok {
			warm.Add(-1)
		}
	}
}

// warmUp runs the statements of a job on a connection, for nothing. It fails only
// if that has cost the connection: one without them, as before the first migration
// or during any, is only slower at first.
func warmUp(ctx context.Context, conn *pgx.Conn) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("warm connection: %w", err)
	}
	// Not for a migration that holds a table.
	_, err = tx.Exec(ctx, `SET LOCAL lock_timeout = '100ms'`)
	for i := 0; i < warmRounds && err == nil; i++ {
		err = rehearse(ctx, &DB{tx: tx, q: tx})
	}
	if rollback := tx.Rollback(ctx); rollback != nil {
		return fmt.Errorf("warm connection: %w", errors.Join(err, rollback))
	}
	conn.PgConn().CustomData()[warmKey] = err == nil
	return nil
}

// rehearse runs what a job and its delivery run, for a generation that nobody has.
func rehearse(ctx context.Context, db *DB) error {
	id := NewGenerationID()
	errand := Errand{EndpointID: EndpointRequest, EventID: eventIDs(id)[0]}
	if _, err := db.ClaimIdempotencyKeys(ctx, []*IdempotencyKey{}); err != nil {
		return err
	}
	if err := db.InsertGenerations(ctx, nil); err != nil {
		return err
	}
	if _, err := db.ClaimGenerations(ctx, Claimer{}, []Ticket{{GenerationID: id}}); err != nil {
		return err
	}
	outcome := &Outcome{GenerationID: id, Status: StatusSucceeded, Told: true}
	if _, err := db.FinishGenerations(ctx, Sender{}, []*Outcome{outcome}); err != nil {
		return err
	}
	if _, err := db.Sendings(ctx, []Errand{errand}); err != nil {
		return err
	}
	return db.RecordSent(ctx, 0, []*Sent{{EndpointID: errand.EndpointID, EventID: errand.EventID}})
}

// warmIdle warms the connections that were opened before they could be.
func (db *DB) warmIdle(ctx context.Context) error {
	var errs []error
	for _, c := range db.pool.AcquireAllIdle(ctx) {
		if warm, ok := c.Conn().PgConn().CustomData()[warmKey]; ok && warm == false {
			errs = append(errs, warmUp(ctx, c.Conn()))
		}
		c.Release()
	}
	return errors.Join(errs...)
}
