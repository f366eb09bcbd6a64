package simulator

import (
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"
)

type checkoutSession struct {
	ID                   string            `json:"id"`
	Object               string            `json:"object"`
	AllowPromotionCodes  *bool             `json:"allow_promotion_codes"`
	AmountSubtotal       int64             `json:"amount_subtotal"`
	AmountTotal          int64             `json:"amount_total"`
	AutomaticTax         map[string]any    `json:"automatic_tax"`
	BillingAddress       *string           `json:"billing_address_collection"`
	CancelURL            *string           `json:"cancel_url"`
	ClientReferenceID    *string           `json:"client_reference_id"`
	Created              int64             `json:"created"`
	Currency             string            `json:"currency"`
	CustomFields         []string          `json:"custom_fields"`
	CustomText           map[string]any    `json:"custom_text"`
	Customer             *string           `json:"customer"`
	CustomerCreation     *string           `json:"customer_creation"`
	CustomerDetails      map[string]any    `json:"customer_details"`
	CustomerEmail        *string           `json:"customer_email"`
	ExpiresAt            int64             `json:"expires_at"`
	Invoice              *string           `json:"invoice"`
	InvoiceCreation      map[string]any    `json:"invoice_creation"`
	LineItems            *sessionItems     `json:"line_items"`
	Livemode             bool              `json:"livemode"`
	Locale               *string           `json:"locale"`
	Metadata             map[string]string `json:"metadata"`
	Mode                 string            `json:"mode"`
	PaymentIntent        *string           `json:"payment_intent"`
	PaymentMethodTypes   []string          `json:"payment_method_types"`
	PaymentStatus        string            `json:"payment_status"`
	ShippingOptions      []string          `json:"shipping_options"`
	Status               string            `json:"status"`
	Subscription         *string           `json:"subscription"`
	SuccessURL           *string           `json:"success_url"`
	TotalDetails         map[string]int64  `json:"total_details"`
	URL                  *string           `json:"url"` // null once it is not open
	SubscriptionMetadata map[string]string `json:"_subscription_metadata"`
	SubscriptionText     string            `json:"_subscription_description"`
	BillingMode          string            `json:"_billing_mode"`
	PaymentMetadata      map[string]string `json:"_payment_metadata"`
	PaymentText          string            `json:"_payment_description"`
	InvoiceMetadata      map[string]string `json:"_invoice_metadata"`
}

type sessionItems struct {
	Object  string         `json:"object"`
	Data    []*sessionItem `json:"data"`
	HasMore bool           `json:"has_more"`
	URL     string         `json:"url"`
}

type sessionItem struct {
	ID             string `json:"id"`
	Object         string `json:"object"`
	AmountDiscount int64  `json:"amount_discount"`
	AmountSubtotal int64  `json:"amount_subtotal"`
	AmountTax      int64  `json:"amount_tax"`
	AmountTotal    int64  `json:"amount_total"`
	Currency       string `json:"currency"`
	Description    string `json:"description"`
	Price          *price `json:"price"`
	Quantity       *int64 `json:"quantity"`
}

// How long a session stays open, and within what it may be set.
// Source: https://docs.stripe.com/api/checkout/sessions/create.
const (
	sessionOpen  = 24 * time.Hour
	sessionShort = 30 * time.Minute
)

func checkoutRoutes() []route {
	return []route{
		{
			method: http.MethodPost, path: "/v1/checkout/sessions", answer: createSession,
			params: params{
				"mode": oneOf("payment", "setup", "subscription"), "success_url": text, "cancel_url": text, "customer": text, "customer_email": text,
				"client_reference_id": text, "line_items.*.price": text, "line_items.*.quantity": count, "expires_at": integer, "locale": text,
				"allow_promotion_codes": boolean, "automatic_tax.enabled": boolean, "billing_address_collection": oneOf("auto", "required"),
				"currency": text, "customer_creation": oneOf("always", "if_required"), "customer_update.address": oneOf("auto", "never"),
				"customer_update.name": oneOf("auto", "never"), "tax_id_collection.enabled": boolean, "payment_method_types.*": text,
				"payment_method_collection": oneOf("always", "if_required"), "submit_type": oneOf("auto", "book", "donate", "pay", "subscribe"),
				"subscription_data.metadata.*": clearable, "subscription_data.description": text,
				"subscription_data.billing_mode.type": oneOf("classic", "flexible"), "payment_intent_data.metadata.*": clearable,
				"payment_intent_data.description": text, "payment_intent_data.setup_future_usage": oneOf("off_session", "on_session"),
				"invoice_creation.enabled": boolean, "invoice_creation.invoice_data.metadata.*": clearable, "invoice_creation.invoice_data.description": text,
			}.and(metadata),
		},
		{method: http.MethodGet, path: "/v1/checkout/sessions/{id}", answer: func(t *tx) (any, error) { return t.session() }},
		{method: http.MethodPost, path: "/v1/checkout/sessions/{id}/expire", answer: expireCheckout},
		{
			method: http.MethodGet, path: "/v1/checkout/sessions", answer: listSessions,
			params: paging.and(created).and(params{
				"customer": text, "payment_intent": text, "subscription": text, "status": oneOf("complete", "expired", "open"),
			}),
		},
		{method: http.MethodGet, path: "/v1/checkout/sessions/{id}/line_items", params: paging, answer: listSessionItems},
	}
}

func (t *tx) session() (*checkoutSession, error) {
	if c := t.state.Sessions[t.id]; c != nil {
		return c, nil
	}
	return nil, unknownID(http.StatusNotFound, "checkout.session", "session", t.id)
}

func listSessions(t *tx) (any, error) {
	same := func(param, value string) bool { return !t.form.has(param) || t.form.text(param) == value }
	found := newestFirst(t.state.Sessions, func(c *checkoutSession) bool {
		return t.createdMatches(c.Created) && same("customer", deref(c.Customer)) && same("payment_intent", deref(c.PaymentIntent)) &&
			same("subscription", deref(c.Subscription)) && same("status", c.Status)
	})
	return page(t, "/v1/checkout/sessions", found, func(c *checkoutSession) string { return c.ID })
}

func listSessionItems(t *tx) (any, error) {
	c, err := t.session()
	if err != nil {
		return nil, err
	}
	return page(t, c.LineItems.URL, c.LineItems.Data, func(i *sessionItem) string { return i.ID })
}

func createSession(t *tx) (any, error) {
	f := t.form
	if err := t.checkSession(); err != nil {
		return nil, err
	}
	c := &checkoutSession{
		ID: t.state.newID("cs_test"), Object: "checkout.session", AutomaticTax: map[string]any{"enabled": f.flag("automatic_tax", "enabled"), "liability": nil, "provider": nil, "status": nil},
		BillingAddress: orNull(f.text("billing_address_collection")), CancelURL: orNull(f.text("cancel_url")),
		ClientReferenceID: orNull(f.text("client_reference_id")), Created: t.unix(), Currency: "usd", CustomFields: []string{},
		CustomText: map[string]any{"after_submit": nil, "shipping_address": nil, "submit": nil, "terms_of_service_acceptance": nil},
		Customer:   orNull(f.text("customer")), CustomerCreation: orNull(f.text("customer_creation")), CustomerEmail: orNull(f.text("customer_email")),
		ExpiresAt: t.now.Add(sessionOpen).Unix(), Locale: orNull(f.text("locale")), Metadata: f.metadata(nil), Mode: f.text("mode"),
		PaymentMethodTypes: []string{"card"}, PaymentStatus: "unpaid", ShippingOptions: []string{}, Status: "open", SuccessURL: orNull(f.text("success_url")),
		TotalDetails:         map[string]int64{"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
		SubscriptionMetadata: f.below("subscription_data").metadata(nil), SubscriptionText: f.text("subscription_data", "description"),
		BillingMode:     f.text("subscription_data", "billing_mode", "type"),
		PaymentMetadata: f.below("payment_intent_data").metadata(nil), PaymentText: f.text("payment_intent_data", "description"),
		InvoiceMetadata: f.below("invoice_creation", "invoice_data").metadata(nil),
	}
	if c.Mode == "payment" {
		c.InvoiceCreation = map[string]any{"enabled": f.flag("invoice_creation", "enabled"), "invoice_data": map[string]any{
			"account_tax_ids": nil, "custom_fields": nil, "description": orNull(f.text("invoice_creation", "invoice_data", "description")),
			"footer": nil, "issuer": nil, "metadata": c.InvoiceMetadata, "rendering_options": nil,
		}}
	}
	if f.has("expires_at") {
		c.ExpiresAt = f.number("expires_at")
	}
	items, err := t.sessionItems(c)
	if err != nil {
		return nil, err
	}
	c.LineItems = items
	for _, item := range items.Data {
		c.AmountSubtotal += item.AmountSubtotal
		c.AmountTotal += item.AmountTotal
	}
	if c.AmountTotal == 0 {
		c.PaymentStatus = "no_payment_required"
	}
	link := t.link("/checkout/" + c.ID)
	c.URL = &link
	t.state.Sessions[c.ID] = c
	return c, nil
}

// checkSession refuses what a session can not be made of.
func (t *tx) checkSession() error {
	f := t.form
	at := time.Unix(f.number("expires_at"), 0)
	switch {
	case !f.has("mode"):
		return invalid("mode", "parameter_missing", "Missing required param: mode.")
	case f.text("mode") == "setup":
		return invalid("mode", "", "The simulator has no checkout in setup mode.")
	case !f.has("success_url"):
		return invalid("success_url", "parameter_missing", "Missing required param: success_url.")
	case !f.has("line_items"):
		return invalid("line_items", "parameter_missing", "Missing required param: line_items.")
	case f.has("customer") && f.has("customer_email"):
		return invalid("", "", "You may only specify one of these parameters: customer, customer_email.")
	case f.text("mode") == "payment" && f.has("subscription_data"):
		return invalid("subscription_data", "", "You can not pass `subscription_data` in `payment` mode.")
	case f.text("mode") == "subscription" && f.has("payment_intent_data"):
		return invalid("payment_intent_data", "", "You can not pass `payment_intent_data` in `subscription` mode.")
	case f.text("mode") == "subscription" && f.has("invoice_creation"):
		return invalid("invoice_creation", "", "You can only enable invoice creation when `mode` is set to `payment`. Invoices are created automatically when `mode` is set to `subscription`.")
	case f.has("expires_at") && (at.Before(t.now.Add(sessionShort-time.Minute)) || at.After(t.now.Add(sessionOpen+time.Minute))):
		return invalid("expires_at", "", "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.")
	}
	if f.has("customer") {
		if _, err := t.customerOf("customer"); err != nil {
			return err
		}
	}
	return nil
}

// sessionItems is what a session sells.
func (t *tx) sessionItems(c *checkoutSession) (*sessionItems, error) {
	list := &sessionItems{Object: "list", URL: "/v1/checkout/sessions/" + c.ID + "/line_items", Data: []*sessionItem{}}
	recurring := false
	for i, f := range t.form.each("line_items") {
		param := fmt.Sprintf("line_items[%d]", i)
		p, err := t.price(http.StatusBadRequest, param+"[price]", f.text("price"))
		if err != nil {
			return nil, err
		}
		quantity := f.number("quantity")
		metered := p.metered()
		switch {
		case !p.Active:
			return nil, invalid(param+"[price]", "", "The price specified is inactive. This field only accepts active prices.")
		case metered && f.has("quantity"):
			return nil, invalid(param+"[quantity]", "", "Quantity should not be specified where usage_type is `metered`. Remove quantity from `%s`", param)
		case !metered && quantity < 1:
			return nil, invalid(param+"[quantity]", "", "Quantity is required. Add `quantity` to `%s`", param)
		case p.Recurring != nil && c.Mode == "payment":
			return nil, invalid("", "", "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use only one-time prices.")
		}
		recurring = recurring || p.Recurring != nil
		item := &sessionItem{ID: t.state.newID("li"), Object: "item", Currency: p.Currency, Description: t.productName(p), Price: p}
		if !metered {
			item.Quantity = &quantity
			item.AmountTotal = p.amount(big.NewRat(quantity, 1))
			item.AmountSubtotal = item.AmountTotal
		}
		list.Data = append(list.Data, item)
	}
	if c.Mode == "subscription" && !recurring {
		return nil, invalid("", "", "You must provide at least one recurring price in `subscription` mode when using prices.")
	}
	return list, nil
}

func expireCheckout(t *tx) (any, error) {
	c, err := t.session()
	if err != nil {
		return nil, err
	}
	if c.Status != "open" {
		return nil, invalid("", "", "Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout Session has a status of `%s`.", c.Status)
	}
	t.expireSession(c)
	return c, nil
}

func (t *tx) expireSession(c *checkoutSession) {
	c.Status, c.URL = "expired", nil
	t.emit("checkout.session.expired", c, nil)
}

// paySession is what the customer of a session does: pay, or try a card that is
// refused, which leaves it open.
func (t *tx) paySession(id string, decline bool) error {
	c := t.state.Sessions[id]
	if c == nil {
		return unknownID(http.StatusNotFound, "checkout.session", "session", id)
	}
	if c.Status != "open" {
		return invalid("", "", "This Checkout Session is %s.", c.Status)
	}
	customerID := deref(c.Customer)
	if decline || t.state.FailNext[customerID] > 0 || t.state.BadCards[customerID] {
		if c.AmountTotal == 0 {
			return declined()
		}
		return t.attempt(t.newPaymentIntent(customerID, c.AmountTotal, c.Currency, c.PaymentText, c.PaymentMetadata), true)
	}
	if c.Customer == nil {
		made := t.newCustomer(form{{[]string{"email"}, deref(c.CustomerEmail)}})
		c.Customer = &made.ID
	}
	customer := t.state.Customers[*c.Customer]
	var err error
	if c.Mode == "subscription" {
		err = t.startSubscription(c, customer)
	} else {
		err = t.payOnce(c, customer)
	}
	if err != nil {
		return err
	}
	if c.PaymentStatus == "unpaid" {
		c.PaymentStatus = "paid"
	}
	c.Status, c.URL = "complete", nil
	c.CustomerDetails = map[string]any{"address": customer.Address, "email": customer.Email, "name": customer.Name, "phone": customer.Phone, "tax_exempt": "none", "tax_ids": []string{}}
	t.emit("checkout.session.completed", c, nil)
	return nil
}

// startSubscription begins what a session sells.
func (t *tx) startSubscription(c *checkoutSession, customer *customer) error {
	sub := t.newSubscription(customer, c.SubscriptionMetadata)
	sub.Description = orNull(c.SubscriptionText)
	if c.BillingMode == "classic" {
		sub.BillingMode = map[string]any{"type": "classic", "flexible": nil}
	}
	var once []*invoiceLine
	now := period{Start: t.unix(), End: t.unix()}
	for _, item := range c.LineItems.Data {
		if item.Price.Recurring == nil {
			once = append(once, t.newLine(item.Price, nil, "", *item.Quantity, item.AmountTotal, now, false).describe("%s", item.Description))
			continue
		}
		quantity := int64(0)
		if item.Quantity != nil {
			quantity = *item.Quantity
		}
		sub.Items.Data = append(sub.Items.Data, t.newItem(sub, item.Price, quantity))
	}
	inv, err := t.begin(sub, once)
	if err != nil {
		return err
	}
	c.Subscription, c.Invoice = &sub.ID, &inv.ID
	return nil
}

// payOnce charges for what a session sells, with an invoice if it asks for one.
func (t *tx) payOnce(c *checkoutSession, customer *customer) error {
	if enabled, _ := c.InvoiceCreation["enabled"].(bool); enabled {
		var lines []*invoiceLine
		now := period{Start: t.unix(), End: t.unix()}
		for _, item := range c.LineItems.Data {
			lines = append(lines, t.newLine(item.Price, nil, "", *item.Quantity, item.AmountTotal, now, false).describe("%s", item.Description))
		}
		inv := t.draft(customer, nil, "manual", now, lines)
		inv.Metadata, inv.PaymentMetadata = c.InvoiceMetadata, c.PaymentMetadata
		t.issue(inv)
		t.finalize(inv)
		if err := t.collect(inv); err != nil {
			return err
		}
		c.Invoice = &inv.ID
		if len(inv.Payments.Data) > 0 {
			c.PaymentIntent = orNull(inv.Payments.Data[0].Payment["payment_intent"])
		}
		return nil
	}
	if c.AmountTotal == 0 {
		return nil
	}
	p := t.newPaymentIntent(customer.ID, c.AmountTotal, c.Currency, c.PaymentText, c.PaymentMetadata)
	c.PaymentIntent = &p.ID
	return t.attempt(p, false)
}

// successURL is where a customer who paid is sent.
func (c *checkoutSession) successURL() string {
	return strings.ReplaceAll(deref(c.SuccessURL), "{CHECKOUT_SESSION_ID}", c.ID)
}
