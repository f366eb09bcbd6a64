package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// aheadHold is how long Finish waits for its connection, and how long it keeps what
	// it has written open for others to wait for.
	aheadHold = 50 * time.Millisecond
	// aheadRehearsal bounds a rehearsal, with the connection it may take.
	aheadRehearsal = 3 * time.Second
)

// ErrNotReady reports that an outcome was not written ahead: its connection was not
// ready, or what it depends on took too long.
var ErrNotReady = errors.New("not ready to be written ahead")

// An Ahead writes outcomes while what they say is still being made true, one at a
// time, on a connection of its own. It is safe for concurrent use.
type Ahead struct {
	db  *DB
	cfg *pgx.ConnConfig

	use    chan struct{} // has room while the connection is not in use
	conn   *pgx.Conn     // nil until a rehearsal connects
	closed bool
}

// NewAhead returns an Ahead for the same database. Rehearse connects it.
func (db *DB) NewAhead() *Ahead {
	cfg := db.pool.Config().ConnConfig.Copy()
	cfg.RuntimeParams["application_name"] = "nanobanana ahead"
	// A process that stalls before it commits must not keep others from the rows.
	cfg.RuntimeParams["idle_in_transaction_session_timeout"] = "1s"
	return &Ahead{db: db, cfg: cfg, use: make(chan struct{}, 1)}
}

// Close ends the connection. Nothing is written ahead any more.
func (a *Ahead) Close(ctx context.Context) {
	a.use <- struct{}{}
	defer a.leave()
	a.closed = true
	a.drop(ctx)
}

// enter takes the connection, and waits for that as long as a commit may.
func (a *Ahead) enter() bool {
	over := time.NewTimer(aheadHold)
	defer over.Stop()
	select {
	case a.use <- struct{}{}:
		return true
	case <-over.C:
		return false
	}
}

func (a *Ahead) leave() { <-a.use }

func (a *Ahead) drop(ctx context.Context) {
	if a.conn != nil {
		_ = a.conn.Close(ctx) // the server sees it end either way
		a.conn = nil
	}
}

// Rehearse does what Finish does, for nothing, so that Finish finds the connection
// open and its statements planned: Postgres plans them anew whenever the statistics
// of a table have changed, which takes many times as long as to execute them. It
// does nothing while the connection is in use.
func (a *Ahead) Rehearse(ctx context.Context) error {
	select {
	case a.use <- struct{}{}:
	default:
		return nil
	}
	defer a.leave()
	if a.closed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, aheadRehearsal)
	defer cancel()
	rounds := 1
	if a.conn == nil {
		conn, err := pgx.ConnectConfig(ctx, a.cfg)
		if err != nil {
			return fmt.Errorf("connect to finish ahead: %w", hideURL(err))
		}
		a.conn, rounds = conn, warmRounds
	}
	for range rounds {
		if err := a.rehearseOnce(ctx); err != nil {
			a.drop(ctx)
			return fmt.Errorf("rehearse to finish ahead: %w", err)
		}
	}
	return nil
}

func (a *Ahead) rehearseOnce(ctx context.Context) error {
	var batch pgx.Batch
	batch.Queue("BEGIN")
	nobodys := &Outcome{GenerationID: NewGenerationID(), Status: StatusFailed, Told: true}
	if _, err := queueFinish(&batch, Sender{}, []*Outcome{nobodys}); err != nil {
		return err
	}
	batch.Queue(admitNextSQL, hot(a.db.admitNextArgs([]string{nobodys.GenerationID})))
	batch.Queue("ROLLBACK")
	return a.conn.SendBatch(ctx, &batch).Close()
}

// Finish writes an outcome as FinishGenerations does, while what it says is still
// being made true: it is committed once ready has returned nil, which is told what
// is going to come of it. With ready's error, or with ErrNotReady if ready takes 50
// ms longer than the writing, nothing is written; neither with ErrNotReady because
// the connection is in use or not open. Other errors may leave it written, as those
// of FinishGenerations.
//
// It takes two round trips, and others wait for its rows meanwhile: it is for an
// outcome that no other one could share a commit with.
func (a *Ahead) Finish(ctx context.Context, by Sender, o *Outcome, ready func(context.Context, Finish) error) (Finish, error) {
	if !a.enter() {
		return Finish{}, ErrNotReady
	}
	defer a.leave()
	if a.conn == nil {
		return Finish{}, ErrNotReady
	}
	finish, err := a.finish(ctx, by, o, ready)
	if err != nil {
		if a.conn.IsClosed() || a.conn.PgConn().TxStatus() != 'I' {
			a.drop(ctx) // which ends its transaction
		}
		return Finish{}, fmt.Errorf("finish ahead: %w", err)
	}
	return finish, nil
}

func (a *Ahead) finish(ctx context.Context, by Sender, o *Outcome, ready func(context.Context, Finish) error) (Finish, error) {
	var batch pgx.Batch
	batch.Queue("BEGIN")
	f, err := queueFinish(&batch, by, []*Outcome{o})
	if err != nil {
		return Finish{}, err
	}
	if err := a.conn.SendBatch(ctx, &batch).Close(); err != nil {
		return Finish{}, err
	}
	if len(f.finished) > 0 && f.finished[0].Held {
		if _, err := a.conn.Exec(ctx, admitNextSQL, hot(a.db.admitNextArgs([]string{o.GenerationID}))); err != nil {
			return Finish{}, err
		}
	}
	finish := f.finishes()[0]
	if err := readyIn(ctx, func(ctx context.Context) error { return ready(ctx, finish) }); err != nil {
		_, rollback := a.conn.Exec(ctx, "ROLLBACK")
		return Finish{}, errors.Join(err, rollback)
	}
	if _, err := a.conn.Exec(ctx, "COMMIT"); err != nil {
		return Finish{}, err
	}
	return finish, nil
}

// readyIn waits for ready, but not for long.
func readyIn(ctx context.Context, ready func(context.Context) error) error {
	hold, cancel := context.WithTimeoutCause(ctx, aheadHold, ErrNotReady)
	defer cancel()
	err := ready(hold)
	if err != nil && errors.Is(context.Cause(hold), ErrNotReady) {
		return ErrNotReady
	}
	return err
}
