package simulator

import "net/http"

type customer struct {
	ID              string            `json:"id"`
	Object          string            `json:"object"`
	Address         *address          `json:"address"`
	Balance         int64             `json:"balance"` // below 0 is owed to the customer
	Created         int64             `json:"created"`
	Currency        *string           `json:"currency"`
	DefaultSource   *string           `json:"default_source"`
	Delinquent      bool              `json:"delinquent"`
	Description     *string           `json:"description"`
	Email           *string           `json:"email"`
	InvoicePrefix   string            `json:"invoice_prefix"`
	InvoiceSettings map[string]any    `json:"invoice_settings"`
	Livemode        bool              `json:"livemode"`
	Metadata        map[string]string `json:"metadata"`
	Name            *string           `json:"name"`
	NextInvoice     int64             `json:"next_invoice_sequence"`
	Phone           *string           `json:"phone"`
	Locales         []string          `json:"preferred_locales"`
	Shipping        *string           `json:"shipping"`
	TaxExempt       string            `json:"tax_exempt"`
	TestClock       *string           `json:"test_clock"`
}

type address struct {
	City       *string `json:"city"`
	Country    *string `json:"country"`
	Line1      *string `json:"line1"`
	Line2      *string `json:"line2"`
	PostalCode *string `json:"postal_code"`
	State      *string `json:"state"`
}

func customerRoutes() []route {
	takes := params{
		"email": clearable, "name": clearable, "description": clearable, "phone": clearable,
		"address.city": clearable, "address.country": clearable, "address.line1": clearable, "address.line2": clearable,
		"address.postal_code": clearable, "address.state": clearable, "preferred_locales.*": text,
		"tax_exempt": orEmpty(oneOf("none", "exempt", "reverse")), "balance": integer,
	}.and(metadata)
	return []route{
		{method: http.MethodPost, path: "/v1/customers", params: takes, answer: createCustomer},
		{method: http.MethodGet, path: "/v1/customers/{id}", answer: func(t *tx) (any, error) { return t.customer() }},
		{method: http.MethodPost, path: "/v1/customers/{id}", params: takes, answer: updateCustomer},
		{method: http.MethodGet, path: "/v1/customers", params: paging.and(created).and(params{"email": text}), answer: listCustomers},
	}
}

// customer is the one the path names.
func (t *tx) customer() (*customer, error) {
	if c := t.state.Customers[t.id]; c != nil {
		return c, nil
	}
	return nil, unknownID(http.StatusNotFound, "customer", "id", t.id)
}

// customerOf is the one a parameter names.
func (t *tx) customerOf(param string) (*customer, error) {
	if c := t.state.Customers[t.form.text(param)]; c != nil {
		return c, nil
	}
	return nil, unknownID(http.StatusBadRequest, "customer", param, t.form.text(param))
}

func createCustomer(t *tx) (any, error) { return t.newCustomer(t.form), nil }

func (t *tx) newCustomer(f form) *customer {
	c := &customer{
		ID: t.state.newID("cus"), Object: "customer", Created: t.unix(), Metadata: map[string]string{}, NextInvoice: 1,
		Locales: []string{}, TaxExempt: "none",
		InvoiceSettings: map[string]any{"custom_fields": nil, "default_payment_method": nil, "footer": nil, "rendering_options": nil},
	}
	c.InvoicePrefix = "NB" + c.ID[len(c.ID)-6:]
	c.set(f)
	t.state.Customers[c.ID] = c
	t.emit("customer.created", c, nil)
	return c
}

func updateCustomer(t *tx) (any, error) {
	c, err := t.customer()
	if err != nil {
		return nil, err
	}
	t.update("customer.updated", c, func() { c.set(t.form) })
	return c, nil
}

func (c *customer) set(f form) {
	for name, to := range map[string]**string{"email": &c.Email, "name": &c.Name, "description": &c.Description, "phone": &c.Phone} {
		if f.has(name) {
			*to = orNull(f.text(name))
		}
	}
	if f.has("address") {
		a := f.below("address")
		c.Address = &address{
			City: orNull(a.text("city")), Country: orNull(a.text("country")), Line1: orNull(a.text("line1")),
			Line2: orNull(a.text("line2")), PostalCode: orNull(a.text("postal_code")), State: orNull(a.text("state")),
		}
	}
	if f.has("preferred_locales") {
		c.Locales = f.list("preferred_locales")
	}
	if f.has("tax_exempt") {
		c.TaxExempt = orElse(f.text("tax_exempt"), "none")
	}
	if f.has("balance") {
		c.Balance = f.number("balance")
	}
	c.Metadata = f.metadata(c.Metadata)
}

// metadata is what there was with the pairs of the form; an empty value takes a pair
// out, an empty parameter all of them.
func (f form) metadata(was map[string]string) map[string]string {
	if f.has("metadata") && f.text("metadata") == "" && len(f.pairs("metadata")) == 0 {
		return map[string]string{}
	}
	merged := map[string]string{}
	for _, pairs := range []map[string]string{was, f.pairs("metadata")} {
		for name, value := range pairs {
			merged[name] = value
			if value == "" {
				delete(merged, name)
			}
		}
	}
	return merged
}

func listCustomers(t *tx) (any, error) {
	email := t.form.text("email")
	found := newestFirst(t.state.Customers, func(c *customer) bool {
		return t.createdMatches(c.Created) && (email == "" || c.Email != nil && *c.Email == email)
	})
	return page(t, "/v1/customers", found, func(c *customer) string { return c.ID })
}
