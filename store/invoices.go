package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// An Invoice is an organization's with Stripe, as it was when it was last fetched.
// Amounts are in the currency's smallest unit.
type Invoice struct {
	ID          string // Stripe's in_...
	OrgID       string
	Number      *string
	Status      string // draft, open, paid, void, uncollectible
	Currency    string
	AmountDue   int64
	AmountPaid  int64
	Refunded    int64
	PeriodStart *time.Time
	PeriodEnd   *time.Time
	URL         *string
	PDF         *string
	Payment     *string   // Stripe's pi_... that has paid it
	FetchedAt   time.Time // Clock before it was asked for
	CreatedAt   time.Time
}

// maxStripeID is longer than any id of Stripe's.
const maxStripeID = 255

// ValidInvoiceID reports whether id could be one of Stripe's invoices.
func ValidInvoiceID(id string) bool {
	rest, ok := strings.CutPrefix(id, "in_")
	return ok && rest != "" && len(id) <= maxStripeID && strings.Trim(rest, alphanumeric) == ""
}

const alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"

// SaveInvoice keeps an invoice as it was fetched, unless what is known was fetched later.
// It stays the organization's whose it is.
func (db *DB) SaveInvoice(ctx context.Context, i Invoice) error {
	_, err := db.q.Exec(ctx, `
		INSERT INTO invoice AS i (`+columns[Invoice]("")+`)
		VALUES (@id, @org_id, @number, @status, @currency, @amount_due, @amount_paid, @refunded,
			@period_start, @period_end, @url, @pdf, @payment, @fetched_at, @created_at)
		ON CONFLICT (id) DO UPDATE
		SET number = @number, status = @status, amount_due = @amount_due, amount_paid = @amount_paid,
			refunded = CASE WHEN i.refunded_at > @fetched_at THEN i.refunded ELSE @refunded END,
			refunded_at = greatest(i.refunded_at, @fetched_at),
			period_start = @period_start, period_end = @period_end, url = @url, pdf = @pdf, payment = @payment, fetched_at = @fetched_at
		WHERE i.fetched_at < @fetched_at AND i.org_id = @org_id`,
		pgx.NamedArgs{
			"id": i.ID, "org_id": i.OrgID, "number": i.Number, "status": i.Status, "currency": i.Currency, "amount_due": i.AmountDue,
			"amount_paid": i.AmountPaid, "refunded": i.Refunded, "period_start": i.PeriodStart, "period_end": i.PeriodEnd, "url": i.URL,
			"pdf": i.PDF, "payment": i.Payment, "fetched_at": i.FetchedAt, "created_at": i.CreatedAt,
		})
	if err != nil {
		return fmt.Errorf("save invoice %s: %w", i.ID, err)
	}
	return nil
}

// OpenInvoices returns the ids of an organization's invoices that are to be paid, as far
// as is known, at most ten.
func (db *DB) OpenInvoices(ctx context.Context, orgID string) ([]string, error) {
	list, err := many[struct{ ID string }](ctx, db, `
		SELECT id FROM invoice
		WHERE org_id = @org_id AND status = 'open'
		ORDER BY created_at, id
		LIMIT 10`, pgx.NamedArgs{"org_id": orgID})
	if err != nil {
		return nil, fmt.Errorf("list open invoices of %s: %w", orgID, err)
	}
	ids := make([]string, len(list))
	for i, in := range list {
		ids[i] = in.ID
	}
	return ids, nil
}

// RefundInvoice notes how much of the payment of an invoice was given back, all in all,
// as it was fetched at a time of Clock, unless what is known was fetched later.
func (db *DB) RefundInvoice(ctx context.Context, orgID, payment string, refunded int64, fetched time.Time) error {
	_, err := db.q.Exec(ctx, `
		UPDATE invoice
		SET refunded = @refunded, refunded_at = @fetched
		WHERE org_id = @org_id AND payment = @payment AND coalesce(refunded_at, fetched_at) < @fetched`,
		pgx.NamedArgs{"org_id": orgID, "payment": payment, "refunded": refunded, "fetched": fetched})
	if err != nil {
		return fmt.Errorf("note a refund of payment %s: %w", payment, err)
	}
	return nil
}

// Invoice returns an invoice of an organization, or ErrNotFound. Operators name none:
// orgID is empty.
func (db *DB) Invoice(ctx context.Context, orgID, id string) (*Invoice, error) {
	i, err := one[Invoice](ctx, db, `
		SELECT `+columns[Invoice]("")+` FROM invoice
		WHERE id = @id AND (@org_id = '' OR org_id = @org_id)`, pgx.NamedArgs{"id": id, "org_id": orgID})
	if err != nil {
		return nil, fmt.Errorf("invoice %s: %w", id, err)
	}
	return i, nil
}

// Invoices returns a page of an organization's invoices, in the order they were made.
// A cursor that is none of them is ErrNotFound.
func (db *DB) Invoices(ctx context.Context, orgID string, p Page) ([]*Invoice, error) {
	for _, cursor := range []*string{&p.After, &p.Before} {
		if *cursor == "" {
			continue
		}
		i, err := db.Invoice(ctx, orgID, *cursor)
		if err != nil {
			return nil, fmt.Errorf("list invoices of %s: %w", orgID, err)
		}
		*cursor = fmt.Sprintf("%012d%s", i.CreatedAt.Unix(), i.ID)
	}
	// Stripe's ids are not in the order of time.
	type placed struct {
		Invoice
		Place string
	}
	rows, err := paged[placed](ctx, db, `
			SELECT `+columns[Invoice]("")+`, (lpad(extract(epoch FROM created_at)::bigint::text, 12, '0') || id) COLLATE "C" AS place FROM invoice
			WHERE org_id = @org_id`, "place", p, pgx.NamedArgs{"org_id": orgID})
	if err != nil {
		return nil, fmt.Errorf("list invoices of %s: %w", orgID, err)
	}
	list := make([]*Invoice, len(rows))
	for i, row := range rows {
		list[i] = &row.Invoice
	}
	return list, nil
}
