package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// aheadHold is how long FinishGenerationAhead keeps what it has written open for
// others to wait for.
const aheadHold = 50 * time.Millisecond

// ErrNotReady reports that what an outcome depends on took too long.
var ErrNotReady = errors.New("what the outcome depends on is not done in time")

// FinishGenerationAhead writes an outcome as FinishGenerations does, while what it
// says is still being made true: it is committed once ready has returned nil, which
// is given what is going to come of it. With ready's error, or ErrNotReady if ready
// takes more than 50 ms longer than the writing, nothing is written. Other errors
// may leave it written, as those of FinishGenerations.
//
// It takes two round trips, and others wait for its rows meanwhile: it is for an
// outcome that no other one could share a commit with. It can not be used within
// Transact.
func (db *DB) FinishGenerationAhead(ctx context.Context, by Sender, o *Outcome, ready func(context.Context, Finish) error) (Finish, error) {
	finish, err := db.finishAhead(ctx, by, o, ready)
	if err != nil {
		return Finish{}, fmt.Errorf("finish generation ahead: %w", err)
	}
	return finish, nil
}

func (db *DB) finishAhead(ctx context.Context, by Sender, o *Outcome, ready func(context.Context, Finish) error) (Finish, error) {
	var batch pgx.Batch
	batch.Queue("BEGIN")
	// A process that stalls now must not keep others from these rows for long.
	batch.Queue("SET LOCAL idle_in_transaction_session_timeout = '1s'")
	f, err := queueFinish(&batch, by, []*Outcome{o})
	if err != nil {
		return Finish{}, err
	}
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return Finish{}, err
	}
	// One that is left within a transaction is closed, which ends it.
	defer conn.Release()
	if err := conn.SendBatch(ctx, &batch).Close(); err != nil {
		return Finish{}, err
	}
	if len(f.finished) > 0 && f.finished[0].Held {
		if _, err := conn.Exec(ctx, admitNextSQL, db.admitNextArgs([]string{o.GenerationID})); err != nil {
			return Finish{}, err
		}
	}
	finish := f.finishes()[0]
	if err := readyIn(ctx, func(ctx context.Context) error { return ready(ctx, finish) }); err != nil {
		_, rollback := conn.Exec(ctx, "ROLLBACK")
		return Finish{}, errors.Join(err, rollback)
	}
	if _, err := conn.Exec(ctx, "COMMIT"); err != nil {
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
