package simulator

import (
	"fmt"
	"math/big"
)

type invoice struct {
	ID                  string            `json:"id"`
	Object              string            `json:"object"`
	AccountCountry      string            `json:"account_country"`
	AccountName         string            `json:"account_name"`
	AmountDue           int64             `json:"amount_due"`
	AmountOverpaid      int64             `json:"amount_overpaid"`
	AmountPaid          int64             `json:"amount_paid"`
	AmountPaidOffStripe int64             `json:"amount_paid_off_stripe"`
	AmountRemaining     int64             `json:"amount_remaining"`
	AmountShipping      int64             `json:"amount_shipping"`
	AttemptCount        int64             `json:"attempt_count"`
	Attempted           bool              `json:"attempted"`
	AutoAdvance         bool              `json:"auto_advance"`
	AutomaticTax        map[string]any    `json:"automatic_tax"`
	FinalizesAt         *int64            `json:"automatically_finalizes_at"`
	BillingReason       string            `json:"billing_reason"`
	CollectionMethod    string            `json:"collection_method"`
	Created             int64             `json:"created"`
	Currency            string            `json:"currency"`
	Customer            string            `json:"customer"`
	CustomerEmail       *string           `json:"customer_email"`
	CustomerName        *string           `json:"customer_name"`
	DefaultTaxRates     []string          `json:"default_tax_rates"`
	Description         *string           `json:"description"`
	Discounts           []string          `json:"discounts"`
	DueDate             *int64            `json:"due_date"`
	EffectiveAt         *int64            `json:"effective_at"`
	EndingBalance       *int64            `json:"ending_balance"`
	HostedInvoiceURL    *string           `json:"hosted_invoice_url"`
	InvoicePDF          *string           `json:"invoice_pdf"`
	Issuer              map[string]string `json:"issuer"`
	Lines               *lineList         `json:"lines"`
	Livemode            bool              `json:"livemode"`
	Metadata            map[string]string `json:"metadata"`
	NextPaymentAttempt  *int64            `json:"next_payment_attempt"`
	Number              *string           `json:"number"`
	Parent              *invoiceParent    `json:"parent"`
	Payments            *paymentList      `json:"payments"`
	PaymentSettings     map[string]any    `json:"payment_settings"`
	PeriodEnd           int64             `json:"period_end"`
	PeriodStart         int64             `json:"period_start"`
	PostCreditNotes     int64             `json:"post_payment_credit_notes_amount"`
	PreCreditNotes      int64             `json:"pre_payment_credit_notes_amount"`
	StartingBalance     int64             `json:"starting_balance"`
	Status              string            `json:"status"`
	StatusTransitions   transitions       `json:"status_transitions"`
	Subtotal            int64             `json:"subtotal"`
	Total               int64             `json:"total"`
	TotalTaxes          []string          `json:"total_taxes"`
	WebhooksDeliveredAt *int64            `json:"webhooks_delivered_at"`
	PaymentMetadata     map[string]string `json:"_payment_metadata"`
}

type lineList struct {
	Object  string         `json:"object"`
	Data    []*invoiceLine `json:"data"`
	HasMore bool           `json:"has_more"`
	URL     string         `json:"url"`
}

type transitions struct {
	FinalizedAt           *int64 `json:"finalized_at"`
	MarkedUncollectibleAt *int64 `json:"marked_uncollectible_at"`
	PaidAt                *int64 `json:"paid_at"`
	VoidedAt              *int64 `json:"voided_at"`
}

type invoiceParent struct {
	QuoteDetails        *string              `json:"quote_details"`
	SubscriptionDetails *subscriptionDetails `json:"subscription_details"`
	Type                string               `json:"type"`
}

type subscriptionDetails struct {
	Metadata     map[string]string `json:"metadata"`
	Subscription string            `json:"subscription"`
}

type paymentList struct {
	Object  string            `json:"object"`
	Data    []*invoicePayment `json:"data"`
	HasMore bool              `json:"has_more"`
	URL     string            `json:"url"`
}

type invoicePayment struct {
	ID                string            `json:"id"`
	Object            string            `json:"object"`
	AmountPaid        *int64            `json:"amount_paid"`
	AmountRequested   int64             `json:"amount_requested"`
	Created           int64             `json:"created"`
	Currency          string            `json:"currency"`
	Invoice           string            `json:"invoice"`
	IsDefault         bool              `json:"is_default"`
	Livemode          bool              `json:"livemode"`
	Payment           map[string]string `json:"payment"`
	Status            string            `json:"status"`
	StatusTransitions map[string]*int64 `json:"status_transitions"`
}

// An invoiceLine is one amount on an invoice.
type invoiceLine struct {
	ID                  string            `json:"id"`
	Object              string            `json:"object"`
	Amount              int64             `json:"amount"`
	Currency            string            `json:"currency"`
	Description         *string           `json:"description"`
	DiscountAmounts     []string          `json:"discount_amounts"`
	Discountable        bool              `json:"discountable"`
	Discounts           []string          `json:"discounts"`
	Invoice             *string           `json:"invoice"`
	Livemode            bool              `json:"livemode"`
	Metadata            map[string]string `json:"metadata"`
	Parent              map[string]any    `json:"parent"`
	Period              period            `json:"period"`
	PretaxCreditAmounts []string          `json:"pretax_credit_amounts"`
	Pricing             map[string]any    `json:"pricing"`
	Quantity            int64             `json:"quantity"`
	Subscription        *string           `json:"subscription"`
	Subtotal            int64             `json:"subtotal"`
	Taxes               []string          `json:"taxes"`
	Usage               *usageSpan        `json:"_usage"` // counted until the invoice is finalized
}

type period struct {
	End   int64 `json:"end"`
	Start int64 `json:"start"`
}

// A usageSpan is what a line for metered usage counts.
type usageSpan struct {
	Customer, Price string
	From, To        int64
}

// newLine is a line without an invoice for a price, of a subscription's item or, with
// none, by itself.
func (t *tx) newLine(p *price, sub *subscription, itemID string, quantity, amount int64, span period, proration bool) *invoiceLine {
	l := &invoiceLine{
		ID: t.state.newID("il"), Object: "line_item", Amount: amount, Currency: p.Currency, DiscountAmounts: []string{},
		Discountable: !proration, Discounts: []string{}, Metadata: map[string]string{}, Period: span, PretaxCreditAmounts: []string{},
		Pricing: map[string]any{
			"price_details": map[string]any{"price": p.ID, "product": p.Product}, "type": "price_details", "unit_amount_decimal": p.UnitAmountDecimal,
		},
		Quantity: quantity, Subtotal: amount, Taxes: []string{},
	}
	details := map[string]any{"invoice_item": nil, "proration": proration, "proration_details": nil, "subscription": nil}
	if proration {
		details["invoice_item"], details["proration_details"] = t.state.newID("ii"), map[string]any{"credited_items": nil}
	}
	if sub == nil {
		details["invoice_item"] = t.state.newID("ii")
		l.Parent = map[string]any{"type": "invoice_item_details", "invoice_item_details": details, "subscription_item_details": nil}
		return l
	}
	l.Subscription, l.Metadata = &sub.ID, sub.Metadata
	details["subscription"], details["subscription_item"] = sub.ID, itemID
	l.Parent = map[string]any{"type": "subscription_item_details", "subscription_item_details": details, "invoice_item_details": nil}
	return l
}

// describe says what a line is for.
func (l *invoiceLine) describe(format string, args ...any) *invoiceLine {
	description := fmt.Sprintf(format, args...)
	l.Description = &description
	return l
}

// usageLine is the line for what a metered item counts in a period.
func (t *tx) usageLine(sub *subscription, item *subscriptionItem, span period) *invoiceLine {
	p := item.Price
	l := t.newLine(p, sub, item.ID, 0, 0, span, false)
	l.Usage = &usageSpan{Customer: sub.Customer, Price: p.ID, From: span.Start, To: span.End}
	t.count(l)
	return l
}

// count brings the line for metered usage up to date.
func (t *tx) count(l *invoiceLine) {
	if l.Usage == nil {
		return
	}
	p := t.state.Prices[l.Usage.Price]
	used := t.usage(*p.Recurring.Meter, l.Usage.Customer, l.Usage.From, l.Usage.To)
	l.Quantity = round(used)
	l.Amount = p.amount(used)
	l.Subtotal = l.Amount
	l.describe("%d × %s (at %s / month)", l.Quantity, t.productName(p), dollars(p.amount(big.NewRat(1, 1))))
}

func (t *tx) productName(p *price) string { return t.state.Products[p.Product].Name }

// draft is an invoice that is not finalized.
func (t *tx) draft(c *customer, sub *subscription, reason string, span period, lines []*invoiceLine) *invoice {
	inv := &invoice{
		Object: "invoice", AccountCountry: "US", AccountName: "Simulator", AutoAdvance: true,
		AutomaticTax:  map[string]any{"disabled_reason": nil, "enabled": false, "liability": nil, "provider": nil, "status": nil},
		BillingReason: reason, CollectionMethod: "charge_automatically", Created: t.unix(), Currency: "usd", Customer: c.ID,
		CustomerEmail: c.Email, CustomerName: c.Name, DefaultTaxRates: []string{}, Discounts: []string{},
		Issuer: map[string]string{"type": "self"}, Metadata: map[string]string{},
		PaymentSettings: map[string]any{"default_mandate": nil, "payment_method_options": nil, "payment_method_types": nil},
		PeriodStart:     span.Start, PeriodEnd: span.End, StartingBalance: c.Balance, Status: "draft", TotalTaxes: []string{},
		Lines: &lineList{Object: "list", Data: append([]*invoiceLine{}, lines...)}, Payments: &paymentList{Object: "list", Data: []*invoicePayment{}},
	}
	if sub != nil {
		inv.Currency = sub.Currency
		inv.Parent = &invoiceParent{Type: "subscription_details", SubscriptionDetails: &subscriptionDetails{Metadata: sub.Metadata, Subscription: sub.ID}}
	}
	inv.total(c.Balance)
	return inv
}

// total adds up the lines and what the customer's balance pays.
func (inv *invoice) total(balance int64) {
	inv.Subtotal = 0
	for _, l := range inv.Lines.Data {
		inv.Subtotal += l.Amount
	}
	inv.Total, inv.StartingBalance = inv.Subtotal, balance
	inv.AmountDue = max(0, inv.Total+balance)
	inv.AmountRemaining = inv.AmountDue - inv.AmountPaid
}

// subscription is the id of the invoice's subscription, or "".
func (inv *invoice) subscription() string {
	if inv.Parent == nil {
		return ""
	}
	return inv.Parent.SubscriptionDetails.Subscription
}
