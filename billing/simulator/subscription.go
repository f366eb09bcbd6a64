package simulator

import (
	"math/big"
	"net/http"
	"time"
)

type subscription struct {
	ID                   string            `json:"id"`
	Object               string            `json:"object"`
	AutomaticTax         map[string]any    `json:"automatic_tax"`
	BillingCycleAnchor   int64             `json:"billing_cycle_anchor"`
	BillingMode          map[string]any    `json:"billing_mode"`
	BillingSchedules     []string          `json:"billing_schedules"`
	CancelAt             *int64            `json:"cancel_at"`
	CancelAtPeriodEnd    bool              `json:"cancel_at_period_end"`
	CanceledAt           *int64            `json:"canceled_at"`
	CancellationDetails  map[string]any    `json:"cancellation_details"`
	CollectionMethod     string            `json:"collection_method"`
	Created              int64             `json:"created"`
	Currency             string            `json:"currency"`
	Customer             string            `json:"customer"`
	DaysUntilDue         *int64            `json:"days_until_due"`
	DefaultPaymentMethod *string           `json:"default_payment_method"`
	Description          *string           `json:"description"`
	Discounts            []string          `json:"discounts"`
	EndedAt              *int64            `json:"ended_at"`
	InvoiceSettings      map[string]any    `json:"invoice_settings"`
	Items                itemList          `json:"items"`
	LatestInvoice        *string           `json:"latest_invoice"`
	Livemode             bool              `json:"livemode"`
	Metadata             map[string]string `json:"metadata"`
	PauseCollection      *string           `json:"pause_collection"`
	PendingUpdate        *string           `json:"pending_update"`
	Schedule             *string           `json:"schedule"`
	StartDate            int64             `json:"start_date"`
	Status               string            `json:"status"`
	TestClock            *string           `json:"test_clock"`
	TrialEnd             *int64            `json:"trial_end"`
	TrialStart           *int64            `json:"trial_start"`
}

type itemList struct {
	Object  string              `json:"object"`
	Data    []*subscriptionItem `json:"data"`
	HasMore bool                `json:"has_more"`
	URL     string              `json:"url"`
}

// A subscriptionItem holds the period: there is none on the subscription itself.
type subscriptionItem struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	BillingThresholds  *string           `json:"billing_thresholds"`
	Created            int64             `json:"created"`
	CurrentPeriodEnd   int64             `json:"current_period_end"`
	CurrentPeriodStart int64             `json:"current_period_start"`
	Discounts          []string          `json:"discounts"`
	Metadata           map[string]string `json:"metadata"`
	Price              *price            `json:"price"`
	Quantity           int64             `json:"quantity,omitempty"` // none if metered
	Subscription       string            `json:"subscription"`
	TaxRates           []string          `json:"tax_rates"`
}

// newSubscription is one that has not begun and is not recorded.
func (t *tx) newSubscription(c *customer, metadata map[string]string) *subscription {
	now := t.unix()
	return &subscription{
		ID: t.state.newID("sub"), Object: "subscription", BillingCycleAnchor: now, Created: now, StartDate: now,
		AutomaticTax:     map[string]any{"disabled_reason": nil, "enabled": false, "liability": nil},
		BillingMode:      map[string]any{"type": "flexible", "flexible": map[string]any{"proration_discounts": "included"}},
		BillingSchedules: []string{}, CancellationDetails: map[string]any{"comment": nil, "feedback": nil, "reason": nil},
		CollectionMethod: "charge_automatically", Currency: "usd", Customer: c.ID, Discounts: []string{},
		InvoiceSettings: map[string]any{"account_tax_ids": nil, "issuer": map[string]any{"type": "self"}},
		Items:           itemList{Object: "list", Data: []*subscriptionItem{}}, Metadata: form{}.metadata(metadata), Status: "incomplete",
	}
}

// newItem is an item that begins now; its period is set with its subscription's.
func (t *tx) newItem(sub *subscription, p *price, quantity int64) *subscriptionItem {
	item := &subscriptionItem{
		ID: t.state.newID("si"), Object: "subscription_item", Created: t.unix(), Discounts: []string{}, Metadata: map[string]string{},
		Price: p, Quantity: quantity, Subscription: sub.ID, TaxRates: []string{},
	}
	if p.metered() {
		item.Quantity = 0
	}
	return item
}

// period is the current one, the same for all items.
func (sub *subscription) period() period {
	if len(sub.Items.Data) == 0 {
		return period{}
	}
	item := sub.Items.Data[0]
	return period{Start: item.CurrentPeriodStart, End: item.CurrentPeriodEnd}
}

func setPeriod(items []*subscriptionItem, span period) {
	for _, item := range items {
		item.CurrentPeriodStart, item.CurrentPeriodEnd = span.Start, span.End
	}
}

// firstPeriod is the period of a price that begins now.
func (t *tx) firstPeriod(p *price) period {
	return period{Start: t.unix(), End: periodEnd(t.unix(), t.unix(), p.Recurring)}
}

// following is the period after one.
func (t *tx) following(sub *subscription, span period) period {
	return period{Start: span.End, End: periodEnd(span.End, sub.BillingCycleAnchor, sub.Items.Data[0].Price.Recurring)}
}

// periodEnd is the end of the period that begins at a time. Months are counted from
// the anchor, so that one begun on the 31st comes back to it after shorter months.
// Source: https://docs.stripe.com/billing/subscriptions/billing-cycle.
func periodEnd(start, anchor int64, r *recurring) int64 {
	from := time.Unix(anchor, 0).UTC()
	for n := int(r.IntervalCount); ; n += int(r.IntervalCount) {
		var end time.Time
		switch r.Interval {
		case "day":
			end = from.AddDate(0, 0, n)
		case "week":
			end = from.AddDate(0, 0, 7*n)
		case "month":
			end = addMonths(from, n)
		default:
			end = addMonths(from, 12*n)
		}
		if end.Unix() > start {
			return end.Unix()
		}
	}
}

// addMonths is the same day n months on, or the last of a month that has no such day.
func addMonths(from time.Time, n int) time.Time {
	first := time.Date(from.Year(), from.Month()+time.Month(n), 1, from.Hour(), from.Minute(), from.Second(), 0, time.UTC)
	last := first.AddDate(0, 1, -1).Day()
	return first.AddDate(0, 0, min(from.Day(), last)-1)
}

// advance is the lines for a period that is paid for in advance.
func (t *tx) advance(sub *subscription, items []*subscriptionItem, span period) []*invoiceLine {
	var lines []*invoiceLine
	for _, item := range items {
		if item.Price.metered() {
			continue
		}
		l := t.newLine(item.Price, sub, item.ID, item.Quantity, item.Price.amount(big.NewRat(item.Quantity, 1)), span, false)
		unit := dollars(item.Price.amount(big.NewRat(1, 1)))
		lines = append(lines, l.describe("%d × %s (at %s / %s)", item.Quantity, t.productName(item.Price), unit, item.Price.Recurring.Interval))
	}
	return lines
}

// arrears is the lines for usage in a period.
func (t *tx) arrears(sub *subscription, items []*subscriptionItem, span period) []*invoiceLine {
	var lines []*invoiceLine
	for _, item := range items {
		if item.Price.metered() {
			lines = append(lines, t.usageLine(sub, item, period{Start: max(span.Start, item.Created), End: span.End}))
		}
	}
	return lines
}

// begin records a subscription and charges its first invoice; extra is lines besides
// its items'. The error is a problem, card_declined: then nothing is recorded but the
// attempt.
func (t *tx) begin(sub *subscription, extra []*invoiceLine) (*invoice, error) {
	span := t.firstPeriod(sub.Items.Data[0].Price)
	setPeriod(sub.Items.Data, span)
	sub.Items.URL = "/v1/subscription_items?subscription=" + sub.ID
	t.state.Subscriptions[sub.ID] = sub
	lines := append(t.advance(sub, sub.Items.Data, span), extra...)
	now := t.unix()
	inv := t.issue(t.draft(t.state.Customers[sub.Customer], sub, "subscription_create", period{Start: now, End: now}, lines))
	sub.LatestInvoice = &inv.ID
	t.emit("customer.subscription.created", sub, nil)
	t.finalize(inv)
	if err := t.collect(inv); err != nil {
		return nil, err
	}
	t.update("customer.subscription.updated", sub, func() { sub.Status = "active" })
	return inv, nil
}

// end cancels a subscription for a reason and stops collecting its invoices.
func (t *tx) end(sub *subscription, reason string) {
	now := t.unix()
	if sub.CanceledAt == nil {
		sub.CanceledAt = &now
	}
	sub.Status, sub.EndedAt, sub.CancellationDetails["reason"] = "canceled", &now, reason
	delete(t.state.PendingLines, sub.ID)
	for _, inv := range newestFirst(t.state.Invoices, func(inv *invoice) bool { return inv.subscription() == sub.ID }) {
		if inv.Status == "draft" || inv.Status == "open" {
			t.update("invoice.updated", inv, func() { inv.AutoAdvance, inv.NextPaymentAttempt, inv.FinalizesAt = false, nil, nil })
		}
	}
	t.emit("customer.subscription.deleted", sub, nil)
}

func (t *tx) subscription() (*subscription, error) {
	if sub := t.state.Subscriptions[t.id]; sub != nil {
		return sub, nil
	}
	return nil, unknownID(http.StatusNotFound, "subscription", "id", t.id)
}
