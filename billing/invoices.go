package billing

import (
	"context"
	"time"

	"github.com/stripe/stripe-go/v85"
)

// An Invoice is a customer's, as Stripe has it. Amounts are in the currency's smallest
// unit.
type Invoice struct {
	ID            string
	Customer      string
	Subscription  string // that it is for, if any
	Number        string // none while it is a draft
	Status        string // draft, open, paid, void, uncollectible
	Currency      string
	AmountDue     int64
	AmountPaid    int64
	PeriodStart   time.Time
	PeriodEnd     time.Time
	URL           string // where the customer sees it
	PDF           string
	PaymentIntent string // that has paid it
	CreatedAt     time.Time
}

// Invoice returns an invoice as it is now.
func (c *Client) Invoice(ctx context.Context, id string) (*Invoice, error) {
	doing := "fetch invoice " + id
	if !c.On() {
		return nil, off(doing)
	}
	params := &stripe.InvoiceRetrieveParams{}
	params.AddExpand("payments")
	i, err := c.stripe.V1Invoices.Retrieve(ctx, id, params)
	if err != nil {
		return nil, failed(doing, err)
	}
	return invoice(i), nil
}

// Invoices returns a customer's latest invoices, the newest first, at most limit.
func (c *Client) Invoices(ctx context.Context, customer string, limit int) ([]*Invoice, error) {
	const doing = "list invoices"
	if !c.On() {
		return nil, off(doing)
	}
	params := &stripe.InvoiceListParams{Customer: &customer}
	params.Limit = new(int64(min(limit, 100)))
	params.AddExpand("data.payments")
	var list []*Invoice
	for i, err := range c.stripe.V1Invoices.List(ctx, params).All(ctx) {
		if err != nil {
			return nil, failed(doing, err)
		}
		if list = append(list, invoice(i)); len(list) >= limit {
			break
		}
	}
	return list, nil
}

func invoice(i *stripe.Invoice) *Invoice {
	in := &Invoice{
		ID: i.ID, Number: i.Number, Status: string(i.Status), Currency: string(i.Currency), AmountDue: i.AmountDue, AmountPaid: i.AmountPaid,
		PeriodStart: at(i.PeriodStart), PeriodEnd: at(i.PeriodEnd), URL: i.HostedInvoiceURL, PDF: i.InvoicePDF, CreatedAt: at(i.Created),
	}
	if i.Customer != nil {
		in.Customer = i.Customer.ID
	}
	if i.Parent != nil && i.Parent.SubscriptionDetails != nil && i.Parent.SubscriptionDetails.Subscription != nil {
		in.Subscription = i.Parent.SubscriptionDetails.Subscription.ID
	}
	if i.Payments == nil {
		return in
	}
	for _, p := range i.Payments.Data {
		if p != nil && p.Status == "paid" && p.Payment != nil && p.Payment.PaymentIntent != nil {
			in.PaymentIntent = p.Payment.PaymentIntent.ID
		}
	}
	return in
}
