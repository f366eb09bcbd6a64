package simulator

import "net/http"

func invoiceRoutes() []route {
	return []route{
		{
			method: http.MethodGet, path: "/v1/invoices", answer: listInvoices,
			params: paging.and(created).and(params{
				"customer": text, "subscription": text, "status": oneOf("draft", "open", "paid", "uncollectible", "void"),
				"collection_method": oneOf("charge_automatically", "send_invoice"),
			}),
		},
		{
			method: http.MethodPost, path: "/v1/invoices/create_preview", answer: previewInvoice,
			params: params{
				"customer": text, "subscription": text, "currency": text, "preview_mode": oneOf("next", "recurring"),
				"subscription_details.cancel_at_period_end": boolean, "subscription_details.cancel_now": boolean,
			}.and(subscriptionItems("subscription_details.")),
		},
		{method: http.MethodGet, path: "/v1/invoices/{id}", answer: func(t *tx) (any, error) { return t.invoice() }},
		{method: http.MethodPost, path: "/v1/invoices/{id}/pay", answer: payInvoice},
		{
			method: http.MethodGet, path: "/v1/invoice_payments", answer: listInvoicePayments,
			params: paging.and(params{
				"invoice": text, "status": oneOf("canceled", "open", "paid"), "payment.type": oneOf("payment_intent"), "payment.payment_intent": text,
			}),
		},
	}
}

func (t *tx) invoice() (*invoice, error) {
	if inv := t.state.Invoices[t.id]; inv != nil {
		return inv, nil
	}
	return nil, unknownID(http.StatusNotFound, "invoice", "invoice", t.id)
}

func listInvoices(t *tx) (any, error) {
	if t.form.has("customer") {
		if _, err := t.customerOf("customer"); err != nil {
			return nil, err
		}
	}
	same := func(param, value string) bool { return !t.form.has(param) || t.form.text(param) == value }
	found := newestFirst(t.state.Invoices, func(inv *invoice) bool {
		return t.createdMatches(inv.Created) && same("customer", inv.Customer) && same("subscription", inv.subscription()) &&
			same("status", inv.Status) && same("collection_method", inv.CollectionMethod)
	})
	return page(t, "/v1/invoices", found, func(inv *invoice) string { return inv.ID })
}

func payInvoice(t *tx) (any, error) {
	if err := t.payInvoiceByID(t.id); err != nil {
		return nil, err
	}
	return t.invoice()
}

func listInvoicePayments(t *tx) (any, error) {
	same := func(value string, path ...string) bool { return !t.form.has(path...) || t.form.text(path...) == value }
	all := map[string]*invoicePayment{}
	for _, inv := range t.state.Invoices {
		for _, p := range inv.Payments.Data {
			all[p.ID] = p
		}
	}
	found := newestFirst(all, func(p *invoicePayment) bool {
		return same(p.Invoice, "invoice") && same(p.Status, "status") && same(p.Payment["payment_intent"], "payment", "payment_intent")
	})
	return page(t, "/v1/invoice_payments", found, func(p *invoicePayment) string { return p.ID })
}

// previewInvoice is the next invoice of a subscription, as it is or as it would be, or
// the first of a new one.
func previewInvoice(t *tx) (any, error) {
	if !t.form.has("subscription") {
		return t.previewNew()
	}
	sub := t.state.Subscriptions[t.form.text("subscription")]
	if sub == nil {
		return nil, unknownID(http.StatusBadRequest, "subscription", "subscription", t.form.text("subscription"))
	}
	change := t.form.below("subscription_details")
	next, err := t.plan(sub, change)
	if err != nil {
		return nil, err
	}
	canceling := sub.CancelAtPeriodEnd
	if change.has("cancel_at_period_end") {
		canceling = change.flag("cancel_at_period_end")
	}
	if sub.Status == "canceled" || change.flag("cancel_now") {
		p := invalid("", "invoice_upcoming_none", "No upcoming invoices for customer: %s", sub.Customer)
		p.status = http.StatusNotFound
		return nil, p
	}
	at, lines := sub.period().End, append([]*invoiceLine{}, next.lines...)
	switch {
	case next.reset:
		at = t.unix()
	case change.text("proration_behavior") == "always_invoice":
		at = t.unix()
	default:
		lines = append(lines, t.state.PendingLines[sub.ID]...)
		lines = append(lines, t.arrears(sub, next.items, sub.period())...)
		if !canceling {
			lines = append(lines, t.advance(sub, next.items, t.following(sub, sub.period()))...)
		}
	}
	inv := t.draft(t.state.Customers[sub.Customer], sub, "upcoming", sub.period(), lines)
	inv.ID, inv.Created = t.state.newID("upcoming_in"), at
	inv.Lines.URL = "/v1/invoices/" + inv.ID + "/lines"
	return inv, nil
}

// previewNew is the first invoice of a subscription that is not there yet.
func (t *tx) previewNew() (any, error) {
	c, err := t.customerOf("customer")
	if err != nil {
		return nil, err
	}
	sub := t.newSubscription(c, nil)
	next, err := t.plan(sub, t.form.below("subscription_details"))
	if err != nil {
		return nil, err
	}
	if len(next.items) == 0 {
		p := invalid("", "invoice_upcoming_none", "No upcoming invoices for customer: %s", c.ID)
		p.status = http.StatusNotFound
		return nil, p
	}
	span := t.firstPeriod(next.items[0].Price)
	inv := t.draft(c, nil, "upcoming", span, t.advance(sub, next.items, span))
	inv.ID = t.state.newID("upcoming_in")
	inv.Lines.URL = "/v1/invoices/" + inv.ID + "/lines"
	return inv, nil
}
