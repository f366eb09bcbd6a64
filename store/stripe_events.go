package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A StripeEvent says that something has changed at Stripe.
type StripeEvent struct {
	ID         string // Stripe's evt_...
	Type       string // "invoice.paid"
	ObjectID   string
	Customer   *string
	CreatedAt  time.Time
	ReceivedAt time.Time
	HandledAt  *time.Time
	Error      *string // of the last try, or why nothing came of it
}

// InsertStripeEvent keeps an event, and reports whether it is the first time.
func (db *DB) InsertStripeEvent(ctx context.Context, e StripeEvent) (first bool, err error) {
	tag, err := db.q.Exec(ctx, `
		INSERT INTO stripe_event (id, type, object_id, customer, created_at)
		VALUES (@id, @type, @object_id, @customer, @created_at)
		ON CONFLICT (id) DO NOTHING`,
		pgx.NamedArgs{"id": e.ID, "type": e.Type, "object_id": e.ObjectID, "customer": e.Customer, "created_at": e.CreatedAt})
	if err != nil {
		return false, fmt.Errorf("keep Stripe event %s: %w", e.ID, err)
	}
	return tag.RowsAffected() > 0, nil
}

// StripeEvent returns an event, or ErrNotFound.
func (db *DB) StripeEvent(ctx context.Context, id string) (*StripeEvent, error) {
	e, err := one[StripeEvent](ctx, db, `
		SELECT `+columns[StripeEvent]("")+` FROM stripe_event
		WHERE id = @id`, pgx.NamedArgs{"id": id})
	if err != nil {
		return nil, fmt.Errorf("event %s of Stripe: %w", id, err)
	}
	return e, nil
}

// HandleStripeEvent notes that an event was handled, and why nothing came of it, if so.
func (db *DB) HandleStripeEvent(ctx context.Context, id, note string) error {
	return db.noteStripeEvent(ctx, id, `handled_at = now(), error = @note`, note)
}

// FailStripeEvent notes why an event could not be handled.
func (db *DB) FailStripeEvent(ctx context.Context, id, reason string) error {
	return db.noteStripeEvent(ctx, id, `error = @note`, reason)
}

func (db *DB) noteStripeEvent(ctx context.Context, id, set, note string) error {
	_, err := db.q.Exec(ctx, `
		UPDATE stripe_event
		SET `+set+`
		WHERE id = @id AND handled_at IS NULL`, pgx.NamedArgs{"id": id, "note": textOrNil(note)})
	if err != nil {
		return fmt.Errorf("note what came of event %s of Stripe: %w", id, err)
	}
	return nil
}

// UnhandledStripeEvents returns the ids of events that were received before a time and
// have not been handled, the oldest first, at most limit.
func (db *DB) UnhandledStripeEvents(ctx context.Context, before time.Time, limit int) ([]string, error) {
	list, err := many[struct{ ID string }](ctx, db, `
		SELECT id FROM stripe_event
		WHERE handled_at IS NULL AND received_at < @before
		ORDER BY received_at
		LIMIT @limit`, pgx.NamedArgs{"before": before, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("list unhandled events of Stripe: %w", err)
	}
	ids := make([]string, len(list))
	for i, e := range list {
		ids[i] = e.ID
	}
	return ids, nil
}

// ForgetStripeEvents deletes events that were handled before a time, at most limit, and
// returns how many.
func (db *DB) ForgetStripeEvents(ctx context.Context, before time.Time, limit int) (n int, err error) {
	tag, err := db.q.Exec(ctx, `
		DELETE FROM stripe_event
		WHERE id IN (SELECT id FROM stripe_event WHERE handled_at < @before LIMIT @limit FOR UPDATE SKIP LOCKED)`,
		pgx.NamedArgs{"before": before, "limit": limit})
	if err != nil {
		return 0, fmt.Errorf("forget events of Stripe: %w", err)
	}
	return int(tag.RowsAffected()), nil
}
