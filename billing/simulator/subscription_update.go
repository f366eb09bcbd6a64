package simulator

import (
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"time"
)

// subscriptionItems is the parameters that change what a subscription is for.
func subscriptionItems(prefix string) params {
	all := params{}
	for name, k := range (params{
		"items.*.id": text, "items.*.price": text, "items.*.quantity": count, "items.*.deleted": boolean, "items.*.metadata.*": clearable,
		"proration_behavior": oneOf("always_invoice", "create_prorations", "none"), "proration_date": integer,
		"billing_cycle_anchor": oneOf("now", "unchanged"),
	}) {
		all[prefix+name] = k
	}
	return all
}

func subscriptionRoutes() []route {
	cancellation := params{
		"cancellation_details.comment":  clearable,
		"cancellation_details.feedback": orEmpty(oneOf("customer_service", "low_quality", "missing_features", "other", "switched_service", "too_complex", "too_expensive", "unused")),
	}
	return []route{
		{method: http.MethodGet, path: "/v1/subscriptions/{id}", answer: func(t *tx) (any, error) { return t.subscription() }},
		{
			method: http.MethodPost, path: "/v1/subscriptions/{id}", answer: updateSubscription,
			params: params{
				"cancel_at_period_end": boolean, "description": clearable, "payment_behavior": oneOf("allow_incomplete", "error_if_incomplete"),
			}.and(metadata).and(cancellation).and(subscriptionItems("")),
		},
		{
			method: http.MethodDelete, path: "/v1/subscriptions/{id}", answer: cancelSubscription,
			params: params{"invoice_now": boolean, "prorate": boolean}.and(cancellation),
		},
		{
			method: http.MethodGet, path: "/v1/subscriptions", answer: listSubscriptions,
			params: paging.and(created).and(params{
				"customer": text, "price": text,
				"status": oneOf("active", "all", "canceled", "ended", "incomplete", "incomplete_expired", "past_due", "paused", "trialing", "unpaid"),
			}),
		},
	}
}

func listSubscriptions(t *tx) (any, error) {
	status := t.form.text("status")
	found := newestFirst(t.state.Subscriptions, func(sub *subscription) bool {
		switch {
		case status == "" && sub.Status == "canceled",
			status == "ended" && sub.Status != "canceled",
			status != "" && status != "all" && status != "ended" && status != sub.Status,
			t.form.has("customer") && t.form.text("customer") != sub.Customer:
			return false
		}
		return t.createdMatches(sub.Created) && (!t.form.has("price") ||
			slices.ContainsFunc(sub.Items.Data, func(i *subscriptionItem) bool { return i.Price.ID == t.form.text("price") }))
	})
	return page(t, "/v1/subscriptions", found, func(sub *subscription) string { return sub.ID })
}

// planned is what a change of items comes to.
type planned struct {
	items []*subscriptionItem
	lines []*invoiceLine // prorations, or the first period after a reset
	reset bool           // a period begins now
}

// plan works out a change of a subscription's items without making it.
func (t *tx) plan(sub *subscription, f form) (planned, error) {
	items, err := t.changedItems(sub, f)
	if err != nil {
		return planned{}, err
	}
	next := planned{items: items, reset: f.text("billing_cycle_anchor") == "now"}
	if len(sub.Items.Data) == 0 {
		return next, nil
	}
	was := sub.period()
	at := t.unix()
	if f.has("proration_date") {
		if at = f.number("proration_date"); at < was.Start || at > was.End {
			return planned{}, invalid("proration_date", "", "Invalid proration_date: it must be within the current period.")
		}
	}
	before, after := sub.Items.Data[0].Price.Recurring, items[0].Price.Recurring
	next.reset = next.reset || before.Interval != after.Interval || before.IntervalCount != after.IntervalCount
	next.lines = t.removedUse(sub, items, at)
	if f.text("proration_behavior") != "none" {
		next.lines = append(next.lines, t.prorate(sub, next, period{Start: at, End: was.End}, was)...)
	}
	if next.reset {
		next.lines = append(next.lines, t.advance(sub, items, t.firstPeriod(items[0].Price))...)
	}
	return next, nil
}

// removedUse is the lines for what was used of metered prices that are taken away.
func (t *tx) removedUse(sub *subscription, items []*subscriptionItem, at int64) []*invoiceLine {
	if sub.BillingMode["type"] != "flexible" {
		return nil
	}
	gone := slices.DeleteFunc(slices.Clone(sub.Items.Data), func(old *subscriptionItem) bool {
		return slices.ContainsFunc(items, func(i *subscriptionItem) bool { return i.ID == old.ID && i.Price.ID == old.Price.ID })
	})
	return t.arrears(sub, gone, period{Start: sub.period().Start, End: at})
}

// changedItems is the items of a subscription after a change.
func (t *tx) changedItems(sub *subscription, f form) ([]*subscriptionItem, error) {
	items := slices.Clone(sub.Items.Data)
	for i, change := range f.each("items") {
		param := func(name string) string { return fmt.Sprintf("items[%d][%s]", i, name) }
		at := slices.IndexFunc(items, func(item *subscriptionItem) bool { return item.ID == change.text("id") })
		if change.has("id") && at < 0 {
			return nil, unknownID(http.StatusBadRequest, "subscription_item", param("id"), change.text("id"))
		}
		if change.flag("deleted") && at >= 0 {
			items = slices.Delete(items, at, at+1)
			continue
		}
		var item subscriptionItem
		switch p, err := t.price(http.StatusBadRequest, param("price"), change.text("price")); {
		case change.has("price") && err != nil:
			return nil, err
		case change.has("price") && p.Recurring == nil:
			return nil, invalid(param("price"), "", "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.")
		case change.has("price") && !p.Active:
			return nil, invalid(param("price"), "", "The price specified is inactive. This field only accepts active prices.")
		case at >= 0:
			item = *items[at]
			if change.has("price") && p.ID != item.Price.ID {
				item.Price, item.Created = p, t.unix()
			}
		case !change.has("price"):
			return nil, invalid(param("price"), "parameter_missing", "Missing required param: %s.", param("price"))
		default:
			item = *t.newItem(sub, p, 1)
		}
		switch {
		case item.Price.metered() && change.has("quantity"):
			return nil, invalid(param("quantity"), "", "You cannot set the quantity for metered plans.")
		case change.has("quantity"):
			item.Quantity = change.number("quantity")
		case item.Price.metered():
			item.Quantity = 0
		case item.Quantity == 0:
			item.Quantity = 1
		}
		item.Metadata = change.metadata(item.Metadata)
		if at >= 0 {
			items[at] = &item
		} else {
			items = append(items, &item)
		}
	}
	if len(items) == 0 && len(sub.Items.Data) > 0 {
		return nil, invalid("items", "", "A subscription must have at least one active plan. To cancel a subscription, please use the cancel API endpoint on the subscription.")
	}
	return items, nil
}

// prorate is the lines that a change of items in mid-period comes to: what was paid
// for and not used, and what is left to pay of the new ones. Usage is not prorated.
// That of a metered price which is taken away in mid-period is billed in the billing
// mode flexible, and not in classic.
// Source: https://docs.stripe.com/billing/subscriptions/prorations and billing-mode.
func (t *tx) prorate(sub *subscription, next planned, rest, whole period) []*invoiceLine {
	share := big.NewRat(rest.End-rest.Start, max(1, whole.End-whole.Start))
	part := func(item *subscriptionItem) int64 {
		full := big.NewRat(item.Price.amount(big.NewRat(item.Quantity, 1)), 1)
		return round(full.Mul(full, share))
	}
	day := time.Unix(rest.Start, 0).UTC().Format("02 Jan 2006")
	var lines []*invoiceLine
	for _, old := range sub.Items.Data {
		kept := slices.ContainsFunc(next.items, func(i *subscriptionItem) bool {
			return i.ID == old.ID && i.Price.ID == old.Price.ID && (i.Quantity == old.Quantity || old.Price.metered())
		})
		switch {
		case kept && !next.reset, old.Price.metered():
		default:
			l := t.newLine(old.Price, sub, old.ID, old.Quantity, -part(old), rest, true)
			lines = append(lines, l.describe("Unused time on %s after %s", t.productName(old.Price), day))
		}
	}
	for _, item := range next.items {
		kept := slices.ContainsFunc(sub.Items.Data, func(i *subscriptionItem) bool {
			return i.ID == item.ID && i.Price.ID == item.Price.ID && i.Quantity == item.Quantity
		})
		if kept || next.reset || item.Price.metered() {
			continue
		}
		l := t.newLine(item.Price, sub, item.ID, item.Quantity, part(item), rest, true)
		lines = append(lines, l.describe("Remaining time on %s after %s", t.productName(item.Price), day))
	}
	return lines
}

func updateSubscription(t *tx) (any, error) {
	sub, err := t.subscription()
	if err != nil {
		return nil, err
	}
	f := t.form
	if sub.Status == "canceled" {
		return nil, invalid("", "", "A canceled subscription can only update its cancellation_details and metadata.")
	}
	next, err := t.plan(sub, f)
	if err != nil {
		return nil, err
	}
	now := next.reset || f.text("proration_behavior") == "always_invoice" && len(next.lines) > 0
	if now && f.text("payment_behavior") == "error_if_incomplete" && t.wouldDecline(sub, next.lines) {
		return nil, declined()
	}
	if !now {
		t.state.PendingLines[sub.ID] = append(t.state.PendingLines[sub.ID], next.lines...)
	}
	t.update("customer.subscription.updated", sub, func() { t.apply(sub, next) })
	if now {
		lines := append(t.state.PendingLines[sub.ID], next.lines...)
		delete(t.state.PendingLines, sub.ID)
		span := period{Start: t.unix(), End: t.unix()}
		inv := t.issue(t.draft(t.state.Customers[sub.Customer], sub, "subscription_update", span, lines))
		t.update("customer.subscription.updated", sub, func() { sub.LatestInvoice = &inv.ID })
		t.finalize(inv)
		_ = t.collect(inv) // a decline makes the subscription past due
	}
	return sub, nil
}

// apply sets what a request changes.
func (t *tx) apply(sub *subscription, next planned) {
	f, span := t.form, sub.period()
	if next.reset {
		span = t.firstPeriod(next.items[0].Price)
		sub.BillingCycleAnchor = span.Start
	}
	sub.Items.Data = next.items
	setPeriod(sub.Items.Data, span)
	sub.Metadata = f.metadata(sub.Metadata)
	if f.has("description") {
		sub.Description = orNull(f.text("description"))
	}
	t.setCancellation(sub, f)
	if !f.has("cancel_at_period_end") || f.flag("cancel_at_period_end") == sub.CancelAtPeriodEnd {
		return
	}
	sub.CancelAtPeriodEnd = f.flag("cancel_at_period_end")
	if !sub.CancelAtPeriodEnd {
		sub.CancelAt, sub.CanceledAt, sub.CancellationDetails["reason"] = nil, nil, nil
		return
	}
	now := t.unix()
	sub.CancelAt, sub.CanceledAt, sub.CancellationDetails["reason"] = &span.End, &now, "cancellation_requested"
}

// setCancellation keeps what the customer said.
func (t *tx) setCancellation(sub *subscription, f form) {
	for _, name := range []string{"comment", "feedback"} {
		if f.has("cancellation_details", name) {
			sub.CancellationDetails[name] = orNull(f.text("cancellation_details", name))
		}
	}
}

// wouldDecline reports whether the lines cost something that can not be charged, and
// takes a failure that was asked for as used.
func (t *tx) wouldDecline(sub *subscription, lines []*invoiceLine) bool {
	total := t.state.Customers[sub.Customer].Balance
	for _, l := range append(slices.Clone(t.state.PendingLines[sub.ID]), lines...) {
		total += l.Amount
	}
	if total <= 0 {
		return false
	}
	if t.state.FailNext[sub.Customer] > 0 {
		t.state.FailNext[sub.Customer]--
		return true
	}
	return t.state.BadCards[sub.Customer]
}

func cancelSubscription(t *tx) (any, error) {
	sub, err := t.subscription()
	if err != nil {
		return nil, err
	}
	if sub.Status == "canceled" {
		return nil, unknownID(http.StatusNotFound, "subscription", "id", sub.ID)
	}
	if t.form.flag("prorate") && !t.form.flag("invoice_now") {
		return nil, invalid("prorate", "", "The simulator prorates a cancellation only with invoice_now=true.")
	}
	t.setCancellation(sub, t.form)
	span := sub.period()
	until := period{Start: span.Start, End: t.unix()}
	var lines []*invoiceLine
	if t.form.flag("invoice_now") {
		lines = append(t.arrears(sub, sub.Items.Data, until), t.state.PendingLines[sub.ID]...)
	}
	if t.form.flag("prorate") {
		lines = append(lines, t.prorate(sub, planned{}, period{Start: t.unix(), End: span.End}, span)...)
	}
	t.endWithInvoice(sub, until, lines, "cancellation_requested")
	return sub, nil
}
