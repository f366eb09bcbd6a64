package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// aheadHold is the default of AheadOptions.Hold.
	aheadHold = 50 * time.Millisecond
	// aheadTime bounds Finish beside its waits: more is for who can use any connection.
	aheadTime = 2 * time.Second
	// aheadRehearsal bounds a rehearsal, with the connection it may take.
	aheadRehearsal = 3 * time.Second
)

var (
	// ErrNotReady reports that an outcome was not written ahead: its connection was
	// not ready, or what it depends on took too long.
	ErrNotReady = errors.New("not ready to be written ahead")
	// ErrUnsure reports that nobody knows whether something was written.
	ErrUnsure = errors.New("the answer to the commit is lost")
)

// AheadOptions tune an Ahead.
type AheadOptions struct {
	// Hold is how long Finish waits for its connection, and how long it keeps what it
	// has written open, for others to wait for; default 50 ms.
	Hold time.Duration
}

// An Ahead writes outcomes while what they say is still being made true, one at a
// time, on a connection of its own. It is safe for concurrent use.
type Ahead struct {
	db   *DB
	cfg  *pgx.ConnConfig
	hold time.Duration

	use    chan struct{} // has room while the connection is not in use
	conn   *pgx.Conn     // nil until a rehearsal connects
	closed bool
}

// NewAhead returns an Ahead for the same database. Rehearse connects it.
func (db *DB) NewAhead(opts AheadOptions) *Ahead {
	cfg := db.pool.Config().ConnConfig.Copy()
	cfg.RuntimeParams["application_name"] = "nanobanana ahead"
	if opts.Hold == 0 {
		opts.Hold = aheadHold
	}
	return &Ahead{db: db, cfg: cfg, hold: opts.Hold, use: make(chan struct{}, 1)}
}

// Close ends the connection, once it is not in use. Nothing is written ahead any
// more. It gives up when ctx ends.
func (a *Ahead) Close(ctx context.Context) {
	select {
	case a.use <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer a.leave()
	a.closed = true
	a.drop(ctx)
}

// enter takes the connection, and waits for that as long as a commit may.
func (a *Ahead) enter() bool {
	over := time.NewTimer(a.hold)
	defer over.Stop()
	select {
	case a.use <- struct{}{}:
		return true
	case <-over.C:
		return false
	}
}

func (a *Ahead) leave() { <-a.use }

// tidy drops a connection that is broken, or within a transaction, which ends with
// it: the next must not commit what this one has left.
func (a *Ahead) tidy(ctx context.Context) {
	if a.conn.IsClosed() || a.conn.PgConn().TxStatus() != 'I' {
		a.drop(ctx)
	}
}

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
	defer a.tidy(ctx)
	for range rounds {
		if err := a.rehearseOnce(ctx); err != nil {
			return fmt.Errorf("rehearse to finish ahead: %w", err)
		}
	}
	return nil
}

func (a *Ahead) rehearseOnce(ctx context.Context) error {
	batch := beginAhead()
	nobodys := &Outcome{GenerationID: NewGenerationID(), Status: StatusFailed, Told: true}
	if _, err := queueFinish(batch, Sender{}, []*Outcome{nobodys}); err != nil {
		return err
	}
	batch.Queue(admitNextSQL, hot(a.db.admitNextArgs([]string{nobodys.GenerationID})))
	batch.Queue("ROLLBACK")
	return a.conn.SendBatch(ctx, batch).Close()
}

// beginAhead begins a transaction that keeps others from its rows for a second at
// most when its process stalls before it commits.
func beginAhead() *pgx.Batch {
	var batch pgx.Batch
	batch.Queue("BEGIN")
	batch.Queue("SET LOCAL idle_in_transaction_session_timeout = '1s'")
	return &batch
}

// Finish writes an outcome as FinishGenerations does, while what it says is still
// being made true: it is committed once ready has returned nil, which is told what
// is going to come of it. With ready's error nothing is written, nor with ErrNotReady,
// which says that ready took too long after the writing or the connection was in use
// or not open. Only with ErrUnsure it may have been.
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
	ctx, cancel := context.WithTimeout(ctx, aheadTime+a.hold)
	defer cancel()
	defer a.tidy(ctx)
	finish, err := a.finish(ctx, by, o, ready)
	if err != nil {
		return Finish{}, fmt.Errorf("finish ahead: %w", err)
	}
	return finish, nil
}

func (a *Ahead) finish(ctx context.Context, by Sender, o *Outcome, ready func(context.Context, Finish) error) (Finish, error) {
	batch := beginAhead()
	f, err := queueFinish(batch, by, []*Outcome{o})
	if err != nil {
		return Finish{}, err
	}
	if err := a.conn.SendBatch(ctx, batch).Close(); err != nil {
		return Finish{}, err
	}
	if len(f.finished) > 0 && f.finished[0].Held {
		if _, err := a.conn.Exec(ctx, admitNextSQL, hot(a.db.admitNextArgs([]string{o.GenerationID}))); err != nil {
			return Finish{}, err
		}
	}
	finish := f.finishes()[0]
	if err := a.readyIn(ctx, func(ctx context.Context) error { return ready(ctx, finish) }); err != nil {
		_, rollback := a.conn.Exec(ctx, "ROLLBACK")
		return Finish{}, errors.Join(err, rollback)
	}
	tag, err := a.conn.Exec(ctx, "COMMIT")
	if err != nil {
		return Finish{}, fmt.Errorf("%w: %w", ErrUnsure, err)
	}
	if tag.String() != "COMMIT" {
		return Finish{}, pgx.ErrTxCommitRollback
	}
	return finish, nil
}

// readyIn waits for ready, but not for long.
func (a *Ahead) readyIn(ctx context.Context, ready func(context.Context) error) error {
	hold, cancel := context.WithTimeoutCause(ctx, a.hold, ErrNotReady)
	defer cancel()
	err := ready(hold)
	if errors.Is(err, context.DeadlineExceeded) && errors.Is(context.Cause(hold), ErrNotReady) {
		return ErrNotReady
	}
	return err
}
