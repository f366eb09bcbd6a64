package simulator

import (
	"fmt"
	"net/http"
)

type refund struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	Amount             int64             `json:"amount"`
	BalanceTransaction *string           `json:"balance_transaction"`
	Charge             string            `json:"charge"`
	Created            int64             `json:"created"`
	Currency           string            `json:"currency"`
	DestinationDetails map[string]any    `json:"destination_details"`
	Metadata           map[string]string `json:"metadata"`
	PaymentIntent      string            `json:"payment_intent"`
	Reason             *string           `json:"reason"`
	ReceiptNumber      *string           `json:"receipt_number"`
	Status             string            `json:"status"`
}

func refundRoutes() []route {
	return []route{
		{
			method: http.MethodPost, path: "/v1/refunds", answer: createRefund,
			params: params{
				"charge": text, "payment_intent": text, "amount": integer, "reason": oneOf("duplicate", "fraudulent", "requested_by_customer"),
			}.and(metadata),
		},
		{method: http.MethodGet, path: "/v1/refunds/{id}", answer: retrieveRefund},
		{
			method: http.MethodGet, path: "/v1/refunds", answer: listRefunds,
			params: paging.and(created).and(params{"charge": text, "payment_intent": text}),
		},
	}
}

func createRefund(t *tx) (any, error) {
	id := t.form.text("charge")
	if t.form.has("payment_intent") {
		p := t.state.PaymentIntents[t.form.text("payment_intent")]
		if p == nil {
			return nil, unknownID(http.StatusBadRequest, "payment_intent", "payment_intent", t.form.text("payment_intent"))
		}
		if p.Status != "succeeded" {
			return nil, invalid("payment_intent", "payment_intent_unexpected_state", "This PaymentIntent (%s) does not have a successful charge to refund.", p.ID)
		}
		id = deref(p.LatestCharge)
	} else if id == "" {
		return nil, invalid("", "", "One of the following params should be provided for this request: payment_intent or charge.")
	}
	c := t.state.Charges[id]
	if c == nil {
		return nil, unknownID(http.StatusBadRequest, "charge", "charge", id)
	}
	left := c.Amount - c.AmountRefunded
	amount := left
	if t.form.has("amount") {
		amount = t.form.number("amount")
	}
	switch {
	case !c.Paid:
		return nil, invalid("charge", "charge_not_refundable", "Charge %s has failed and can not be refunded.", c.ID)
	case left == 0:
		return nil, invalid("charge", "charge_already_refunded", "Charge %s has already been refunded.", c.ID)
	case amount < 1:
		return nil, invalid("amount", "parameter_invalid_integer", "Invalid positive integer")
	case amount > left:
		return nil, invalid("amount", "", "Refund amount (%s) is greater than unrefunded amount on charge (%s)", dollars(amount), dollars(left))
	}
	r := &refund{
		ID: t.state.newID("re"), Object: "refund", Amount: amount, Charge: c.ID, Created: t.unix(), Currency: c.Currency,
		DestinationDetails: map[string]any{"type": "card", "card": map[string]any{"type": "refund", "reference_status": "pending", "reference_type": "acquirer_reference_number"}},
		Metadata:           t.form.metadata(nil), PaymentIntent: c.PaymentIntent, Reason: orNull(t.form.text("reason")), Status: "succeeded",
	}
	t.state.Refunds[r.ID] = r
	t.update("charge.refunded", c, func() {
		c.AmountRefunded += amount
		c.Refunded = c.AmountRefunded == c.Amount
		c.Refunds = t.refundsOf(c)
	})
	t.emit("refund.created", r, nil)
	return r, nil
}

// refundsOf are the latest ten of a charge, as it shows them.
func (t *tx) refundsOf(c *charge) *list {
	const shown = 10
	all := newestFirst(t.state.Refunds, func(r *refund) bool { return r.Charge == c.ID })
	l := listOf(c.Refunds.URL, all[:min(len(all), shown)])
	l.HasMore = len(all) > shown
	return l
}

// failRefund is what follows when a customer's bank sends a refund back.
func (t *tx) failRefund(id string) error {
	r := t.state.Refunds[id]
	if r == nil || r.Status != "succeeded" {
		return unknownID(http.StatusNotFound, "refund", "id", id)
	}
	t.update("refund.updated", r, func() { r.Status = "failed" })
	c := t.state.Charges[r.Charge]
	t.update("charge.refund.updated", c, func() {
		c.AmountRefunded -= r.Amount
		c.Refunded = false
		c.Refunds = t.refundsOf(c)
	})
	t.emit("refund.failed", r, nil)
	return nil
}

func retrieveRefund(t *tx) (any, error) {
	if r := t.state.Refunds[t.id]; r != nil {
		return r, nil
	}
	return nil, unknownID(http.StatusNotFound, "refund", "id", t.id)
}

func listRefunds(t *tx) (any, error) {
	found := newestFirst(t.state.Refunds, func(r *refund) bool {
		return t.createdMatches(r.Created) && (!t.form.has("charge") || r.Charge == t.form.text("charge")) &&
			(!t.form.has("payment_intent") || r.PaymentIntent == t.form.text("payment_intent"))
	})
	return page(t, "/v1/refunds", found, func(r *refund) string { return r.ID })
}

// dollars writes cents.
func dollars(cents int64) string {
	if cents < 0 {
		return "-" + dollars(-cents)
	}
	return fmt.Sprintf("$%d.%02d", cents/100, cents%100)
}
