package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// SaveCheckout remembers a page that a customer may pay on.
func (db *DB) SaveCheckout(ctx context.Context, id, orgID string) error {
	_, err := db.q.Exec(ctx, `
		INSERT INTO checkout (id, org_id)
		VALUES (@id, @org_id)
		ON CONFLICT (id) DO NOTHING`, pgx.NamedArgs{"id": id, "org_id": orgID})
	if err != nil {
		return fmt.Errorf("save checkout page %s: %w", id, err)
	}
	return nil
}

// CheckoutsToFetch returns Stripe's ids of pages that were made, or asked for, ten
// minutes ago: those on which customers may have paid without Stripe telling of it. They
// count as asked for from then on, whatever comes of it. The longest not asked for come
// first, at most limit.
func (db *DB) CheckoutsToFetch(ctx context.Context, limit int) ([]string, error) {
	list, err := many[struct{ ID string }](ctx, db, `
		WITH due AS (
			SELECT id FROM checkout
			WHERE asked_at < now() - interval '9 minutes' -- it is asked every ten
			ORDER BY asked_at
			LIMIT @limit
			FOR UPDATE SKIP LOCKED
		)
		UPDATE checkout
		SET asked_at = now()
		FROM due WHERE checkout.id = due.id
		RETURNING checkout.id`, pgx.NamedArgs{"limit": limit})
	if err != nil {
		return nil, fmt.Errorf("list checkout pages to fetch: %w", err)
	}
	ids := make([]string, len(list))
	for i, c := range list {
		ids[i] = c.ID
	}
	return ids, nil
}

// CheckoutCustomer returns whose page it is, a customer of Stripe's, or ErrNotFound.
func (db *DB) CheckoutCustomer(ctx context.Context, id string) (string, error) {
	row, err := one[struct{ Customer string }](ctx, db, `
		SELECT s.customer FROM checkout AS c
		JOIN subscription AS s ON s.org_id = c.org_id
		WHERE c.id = @id`, pgx.NamedArgs{"id": id})
	if err != nil {
		return "", fmt.Errorf("customer of checkout page %s: %w", id, err)
	}
	return row.Customer, nil
}

// EndCheckout forgets a page of which nothing more comes.
func (db *DB) EndCheckout(ctx context.Context, id string) error {
	if _, err := db.q.Exec(ctx, `DELETE FROM checkout WHERE id = @id`, pgx.NamedArgs{"id": id}); err != nil {
		return fmt.Errorf("forget checkout page %s: %w", id, err)
	}
	return nil
}
