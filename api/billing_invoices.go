package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// invoice is one as its organization sees it.
type invoice struct {
	ID          string     `json:"id" doc:"Stripe's" example:"in_1S9xqT2eZvKYlo2C"`
	Object      string     `json:"object" enum:"invoice"`
	Number      *string    `json:"number" doc:"null while it is a draft"`
	Status      string     `json:"status" enum:"draft,open,paid,void,uncollectible"`
	Currency    string     `json:"currency" example:"usd"`
	AmountDue   int64      `json:"amount_due" doc:"In the currency's smallest unit: cents"`
	AmountPaid  int64      `json:"amount_paid"`
	Refunded    int64      `json:"refunded" doc:"Of what was paid, given back"`
	PeriodStart *time.Time `json:"period_start"`
	PeriodEnd   *time.Time `json:"period_end"`
	URL         *string    `json:"url" doc:"Where it is seen and paid"`
	PDF         *string    `json:"pdf"`
	CreatedAt   time.Time  `json:"created_at"`
}

func viewInvoice(i *store.Invoice) invoice {
	return invoice{
		ID: i.ID, Object: "invoice", Number: i.Number, Status: i.Status, Currency: i.Currency, AmountDue: i.AmountDue,
		AmountPaid: i.AmountPaid, Refunded: i.Refunded, PeriodStart: utc(i.PeriodStart), PeriodEnd: utc(i.PeriodEnd),
		URL: i.URL, PDF: i.PDF, CreatedAt: i.CreatedAt.UTC(),
	}
}

type listInvoicesInput struct {
	PageInput
}

func (s *server) listInvoices(ctx context.Context, in *listInvoicesInput) (*pageOutput[invoice], error) {
	selected, err := in.page("an invoice", store.ValidInvoiceID)
	if err != nil {
		return nil, err
	}
	orgID := auth.FromContext(ctx).OrgID
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	rows, err := s.db.Invoices(ctx, orgID, selected)
	if errors.Is(err, store.ErrNotFound) {
		return nil, refuse("invalid_cursor", "")
	}
	if err != nil {
		return nil, err
	}
	return pageOf(&in.PageInput, rows, func(i *store.Invoice) string { return i.ID }, viewInvoice), nil
}

type invoiceInput struct {
	ID string `path:"id" example:"in_1S9xqT2eZvKYlo2C"`
}

type invoiceOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         invoice
}

func (s *server) getInvoice(ctx context.Context, in *invoiceInput) (*invoiceOutput, error) {
	if !store.ValidInvoiceID(in.ID) {
		return nil, fmt.Errorf("invoice %q: %w", in.ID, store.ErrNotFound)
	}
	orgID := auth.FromContext(ctx).OrgID
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	i, err := s.db.Invoice(ctx, orgID, in.ID)
	if err != nil {
		return nil, err
	}
	return &invoiceOutput{CacheControl: notKept, Body: viewInvoice(i)}, nil
}
