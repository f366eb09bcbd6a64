package simulator

import "net/http"

type paymentIntent struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	Amount             int64             `json:"amount"`
	AmountCapturable   int64             `json:"amount_capturable"`
	AmountReceived     int64             `json:"amount_received"`
	CanceledAt         *int64            `json:"canceled_at"`
	CancellationReason *string           `json:"cancellation_reason"`
	CaptureMethod      string            `json:"capture_method"`
	ClientSecret       string            `json:"client_secret"`
	ConfirmationMethod string            `json:"confirmation_method"`
	Created            int64             `json:"created"`
	Currency           string            `json:"currency"`
	Customer           *string           `json:"customer"`
	Description        *string           `json:"description"`
	LastPaymentError   *problem          `json:"last_payment_error"`
	LatestCharge       *string           `json:"latest_charge"`
	Livemode           bool              `json:"livemode"`
	Metadata           map[string]string `json:"metadata"`
	PaymentMethod      *string           `json:"payment_method"`
	PaymentMethodTypes []string          `json:"payment_method_types"`
	ReceiptEmail       *string           `json:"receipt_email"`
	SetupFutureUsage   *string           `json:"setup_future_usage"`
	Status             string            `json:"status"`
}

type charge struct {
	ID                string            `json:"id"`
	Object            string            `json:"object"`
	Amount            int64             `json:"amount"`
	AmountCaptured    int64             `json:"amount_captured"`
	AmountRefunded    int64             `json:"amount_refunded"`
	BillingDetails    map[string]any    `json:"billing_details"`
	Captured          bool              `json:"captured"`
	Created           int64             `json:"created"`
	Currency          string            `json:"currency"`
	Customer          *string           `json:"customer"`
	Description       *string           `json:"description"`
	Disputed          bool              `json:"disputed"`
	FailureCode       *string           `json:"failure_code"`
	FailureMessage    *string           `json:"failure_message"`
	Livemode          bool              `json:"livemode"`
	Metadata          map[string]string `json:"metadata"`
	Outcome           map[string]any    `json:"outcome"`
	Paid              bool              `json:"paid"`
	PaymentIntent     string            `json:"payment_intent"`
	PaymentMethod     *string           `json:"payment_method"`
	PaymentMethodInfo map[string]any    `json:"payment_method_details"`
	ReceiptEmail      *string           `json:"receipt_email"`
	ReceiptNumber     *string           `json:"receipt_number"`
	ReceiptURL        *string           `json:"receipt_url"`
	Refunded          bool              `json:"refunded"`
	Refunds           *list             `json:"refunds"`
	Status            string            `json:"status"`
}

func paymentRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "/v1/payment_intents/{id}", answer: retrievePaymentIntent},
		{method: http.MethodGet, path: "/v1/charges/{id}", answer: retrieveCharge},
		{
			method: http.MethodGet, path: "/v1/charges", answer: listCharges,
			params: paging.and(created).and(params{"customer": text, "payment_intent": text}),
		},
	}
}

func retrievePaymentIntent(t *tx) (any, error) {
	if p := t.state.PaymentIntents[t.id]; p != nil {
		return p, nil
	}
	return nil, unknownID(http.StatusNotFound, "payment_intent", "intent", t.id)
}

func retrieveCharge(t *tx) (any, error) {
	if c := t.state.Charges[t.id]; c != nil {
		return c, nil
	}
	return nil, unknownID(http.StatusNotFound, "charge", "id", t.id)
}

func listCharges(t *tx) (any, error) {
	found := newestFirst(t.state.Charges, func(c *charge) bool {
		return t.createdMatches(c.Created) && (!t.form.has("customer") || deref(c.Customer) == t.form.text("customer")) &&
			(!t.form.has("payment_intent") || c.PaymentIntent == t.form.text("payment_intent"))
	})
	return page(t, "/v1/charges", found, func(c *charge) string { return c.ID })
}

// newPaymentIntent is an amount that is to be paid.
func (t *tx) newPaymentIntent(customerID string, amount int64, currency, description string, metadata map[string]string) *paymentIntent {
	p := &paymentIntent{
		ID: t.state.newID("pi"), Object: "payment_intent", Amount: amount, CaptureMethod: "automatic", ConfirmationMethod: "automatic",
		Created: t.unix(), Currency: currency, Customer: orNull(customerID), Description: orNull(description),
		Metadata: form{}.metadata(metadata), PaymentMethodTypes: []string{"card"}, Status: "requires_payment_method",
	}
	p.ClientSecret = p.ID + "_secret_simulator"
	t.state.PaymentIntents[p.ID] = p
	t.emit("payment_intent.created", p, nil)
	return p
}

// attempt charges the customer's card. The error is a problem, card_declined.
func (t *tx) attempt(p *paymentIntent, decline bool) error {
	customerID := deref(p.Customer)
	if t.state.FailNext[customerID] > 0 {
		decline = true
		if t.state.FailNext[customerID]--; t.state.FailNext[customerID] == 0 {
			delete(t.state.FailNext, customerID)
		}
	}
	decline = decline || t.state.BadCards[customerID]
	card := "pm_card_visa"
	if decline {
		card = "pm_card_chargeDeclined"
	}
	c := &charge{
		ID: t.state.newID("ch"), Object: "charge", Amount: p.Amount, Captured: !decline, Created: t.unix(), Currency: p.Currency,
		BillingDetails: map[string]any{"address": address{}, "email": nil, "name": nil, "phone": nil, "tax_id": nil},
		Customer:       p.Customer, Description: p.Description, Metadata: p.Metadata, Paid: !decline, PaymentIntent: p.ID, PaymentMethod: &card,
		PaymentMethodInfo: map[string]any{"type": "card", "card": map[string]any{"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2099, "country": "US", "funding": "credit"}},
		Refunds:           listOf("/v1/charges/"+p.ID+"/refunds", []*refund{}), Status: "succeeded",
		Outcome: map[string]any{"network_status": "approved_by_network", "reason": nil, "risk_level": "normal", "seller_message": "Payment complete.", "type": "authorized"},
	}
	t.state.Charges[c.ID] = c
	p.LatestCharge = &c.ID
	if decline {
		refusal := declined()
		c.Status, c.FailureCode, c.FailureMessage = "failed", &refusal.Code, &refusal.Message
		c.Outcome = map[string]any{"network_status": "declined_by_network", "reason": refusal.Decline, "risk_level": "normal", "seller_message": "The bank did not return any further details with this decline.", "type": "issuer_declined"}
		p.LastPaymentError, p.Status = refusal, "requires_payment_method"
		t.emit("charge.failed", c, nil)
		t.emit("payment_intent.payment_failed", p, nil)
		return refusal
	}
	c.AmountCaptured = c.Amount
	p.Status, p.AmountReceived, p.LastPaymentError, p.PaymentMethod = "succeeded", p.Amount, nil, &card
	t.emit("charge.succeeded", c, nil)
	t.emit("payment_intent.succeeded", p, nil)
	return nil
}
