package simulator

import (
	"fmt"
	"time"
)

// finalizeAfter is how long the invoice of a renewal stays a draft, in which late usage
// still counts. Source: https://docs.stripe.com/billing/subscriptions/usage-based.
const finalizeAfter = time.Hour

// retryAfter is when a declined invoice is tried again, by attempt.
var retryAfter = []time.Duration{3 * 24 * time.Hour, 5 * 24 * time.Hour, 7 * 24 * time.Hour}

// issue records a draft.
func (t *tx) issue(inv *invoice) *invoice {
	inv.ID = t.state.newID("in")
	for _, l := range inv.Lines.Data {
		l.Invoice = &inv.ID
	}
	inv.Lines.URL = "/v1/invoices/" + inv.ID + "/lines"
	inv.Payments.URL = "/v1/invoice_payments?invoice=" + inv.ID
	t.state.Invoices[inv.ID] = inv
	t.emit("invoice.created", inv, nil)
	return inv
}

// finalize makes a draft an invoice that is to be paid; nothing to pay is paid.
func (t *tx) finalize(inv *invoice) {
	c := t.state.Customers[inv.Customer]
	for _, l := range inv.Lines.Data {
		t.count(l)
	}
	inv.total(c.Balance)
	ending := min(0, inv.StartingBalance+inv.Total)
	if c.Balance != ending {
		t.update("customer.updated", c, func() { c.Balance = ending })
	}
	number := fmt.Sprintf("%s-%04d", c.InvoicePrefix, c.NextInvoice)
	c.NextInvoice++
	link := t.link("/invoices/" + inv.ID)
	pdf := link + "/pdf"
	now := t.unix()
	inv.Number, inv.Status, inv.EndingBalance, inv.FinalizesAt = &number, "open", &ending, nil
	inv.EffectiveAt, inv.StatusTransitions.FinalizedAt = &now, &now
	inv.HostedInvoiceURL, inv.InvoicePDF = &link, &pdf
	t.emit("invoice.finalized", inv, nil)
	if inv.AmountDue == 0 {
		t.paid(inv)
	}
}

// link is the address of a page.
func (t *tx) link(path string) string {
	return orElse(t.base, orElse(t.s.opts.BaseURL, t.state.Base)) + path
}

// paid closes an invoice.
func (t *tx) paid(inv *invoice) {
	now := t.unix()
	inv.Status, inv.Attempted, inv.AmountPaid, inv.AmountRemaining = "paid", true, inv.AmountDue, 0
	inv.StatusTransitions.PaidAt, inv.NextPaymentAttempt, inv.AutoAdvance = &now, nil, false
	t.emit("invoice.paid", inv, nil)
	t.emit("invoice.payment_succeeded", inv, nil)
}

// collect charges an open invoice and brings its subscription to what follows. The
// error is a problem, card_declined.
func (t *tx) collect(inv *invoice) error {
	if inv.Status != "open" {
		return nil
	}
	var intent *paymentIntent
	var payment *invoicePayment
	if len(inv.Payments.Data) > 0 {
		payment = inv.Payments.Data[0]
		intent = t.state.PaymentIntents[payment.Payment["payment_intent"]]
	} else {
		intent = t.newPaymentIntent(inv.Customer, inv.AmountDue, inv.Currency, "Invoice "+*inv.Number, inv.PaymentMetadata)
		payment = &invoicePayment{
			ID: t.state.newID("inpay"), Object: "invoice_payment", AmountRequested: inv.AmountDue, Created: t.unix(), Currency: inv.Currency,
			Invoice: inv.ID, IsDefault: true, Payment: map[string]string{"type": "payment_intent", "payment_intent": intent.ID}, Status: "open",
			StatusTransitions: map[string]*int64{"canceled_at": nil, "paid_at": nil},
		}
		inv.Payments.Data = []*invoicePayment{payment}
	}
	inv.Attempted = true
	inv.AttemptCount++
	err := t.attempt(intent, false)
	if err != nil {
		t.refused(inv)
		return err
	}
	now := t.unix()
	payment.AmountPaid, payment.Status, payment.StatusTransitions["paid_at"] = &inv.AmountDue, "paid", &now
	t.paid(inv)
	if sub := t.state.Subscriptions[inv.subscription()]; sub != nil && sub.Status != "canceled" && !t.owes(sub) {
		t.update("customer.subscription.updated", sub, func() { sub.Status = "active" })
	}
	return nil
}

// owes reports whether an invoice of the subscription is open.
func (t *tx) owes(sub *subscription) bool {
	return len(newestFirst(t.state.Invoices, func(inv *invoice) bool { return inv.subscription() == sub.ID && inv.Status == "open" })) > 0
}

// refused is what follows when an invoice could not be charged.
func (t *tx) refused(inv *invoice) {
	last := int(inv.AttemptCount) > len(retryAfter)
	inv.NextPaymentAttempt = nil
	if !last && inv.AutoAdvance {
		next := t.now.Add(retryAfter[inv.AttemptCount-1]).Unix()
		inv.NextPaymentAttempt = &next
	}
	t.emit("invoice.payment_failed", inv, nil)
	sub := t.state.Subscriptions[inv.subscription()]
	if sub == nil || sub.Status == "canceled" {
		return
	}
	switch {
	case !last:
		if sub.Status == "active" {
			t.update("customer.subscription.updated", sub, func() { sub.Status = "past_due" })
		}
	case t.s.opts.LeaveUnpaid:
		t.update("customer.subscription.updated", sub, func() { sub.Status = "unpaid" })
	default:
		t.end(sub, "payment_failed")
	}
}

// payInvoiceByID charges an open invoice at once.
func (t *tx) payInvoiceByID(id string) error {
	inv := t.state.Invoices[id]
	switch {
	case inv == nil:
		return unknownID(404, "invoice", "invoice", id)
	case inv.Status == "draft":
		t.finalize(inv)
	case inv.Status == "paid":
		return invalid("", "invoice_already_paid", "Invoice is already paid")
	case inv.Status != "open":
		return invalid("", "invoice_not_payable", "Invoice is %s and can not be paid", inv.Status)
	}
	return t.collect(inv)
}
