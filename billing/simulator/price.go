package simulator

import (
	"math/big"
	"net/http"
	"slices"
	"strings"
)

type price struct {
	ID                string            `json:"id"`
	Object            string            `json:"object"`
	Active            bool              `json:"active"`
	BillingScheme     string            `json:"billing_scheme"`
	Created           int64             `json:"created"`
	Currency          string            `json:"currency"`
	CustomUnitAmount  *string           `json:"custom_unit_amount"`
	Livemode          bool              `json:"livemode"`
	LookupKey         *string           `json:"lookup_key"`
	Metadata          map[string]string `json:"metadata"`
	Nickname          *string           `json:"nickname"`
	Product           string            `json:"product"`
	Recurring         *recurring        `json:"recurring"`
	TaxBehavior       string            `json:"tax_behavior"`
	TiersMode         *string           `json:"tiers_mode"`
	TransformQuantity *string           `json:"transform_quantity"`
	Type              string            `json:"type"`
	UnitAmount        *int64            `json:"unit_amount"` // null for fractions of a cent
	UnitAmountDecimal string            `json:"unit_amount_decimal"`
}

type recurring struct {
	Interval        string  `json:"interval"`
	IntervalCount   int64   `json:"interval_count"`
	Meter           *string `json:"meter"`
	TrialPeriodDays *int64  `json:"trial_period_days"`
	UsageType       string  `json:"usage_type"`
}

// metered reports whether usage is paid for afterwards.
func (p *price) metered() bool { return p.Recurring != nil && p.Recurring.UsageType == "metered" }

// amount is the price of a quantity in whole cents, halves rounded away from zero.
func (p *price) amount(quantity *big.Rat) int64 {
	unit, ok := new(big.Rat).SetString(p.UnitAmountDecimal)
	if !ok {
		return 0
	}
	return round(unit.Mul(unit, quantity))
}

// round is the nearest whole number, away from zero from halves.
func round(r *big.Rat) int64 {
	two := new(big.Rat).Mul(r, big.NewRat(2, 1))
	half := big.NewRat(int64(r.Sign()), 1)
	two.Add(two, half)
	return new(big.Int).Quo(two.Num(), new(big.Int).Mul(two.Denom(), big.NewInt(2))).Int64()
}

func priceRoutes() []route {
	return []route{
		{
			method: http.MethodPost, path: "/v1/prices", required: []string{"currency"}, answer: createPrice,
			params: params{
				"currency": text, "product": text, "product_data.name": text, "product_data.id": text, "product_data.unit_label": text,
				"product_data.metadata.*": clearable, "product_data.active": boolean, "product_data.statement_descriptor": text, "product_data.tax_code": text,
				"unit_amount": count, "unit_amount_decimal": decimal, "active": boolean, "nickname": text, "lookup_key": text,
				"transfer_lookup_key": boolean, "billing_scheme": oneOf("per_unit"),
				"tax_behavior":       oneOf("exclusive", "inclusive", "unspecified"),
				"recurring.interval": oneOf("day", "week", "month", "year"), "recurring.interval_count": count,
				"recurring.usage_type": oneOf("licensed", "metered"), "recurring.meter": text,
			}.and(metadata),
		},
		{
			method: http.MethodGet, path: "/v1/prices", answer: listPrices,
			params: paging.and(created).and(params{
				"active": boolean, "lookup_keys.*": text, "product": text, "type": oneOf("one_time", "recurring"), "currency": text,
				"recurring.interval": oneOf("day", "week", "month", "year"), "recurring.usage_type": oneOf("licensed", "metered"), "recurring.meter": text,
			}),
		},
		{method: http.MethodGet, path: "/v1/prices/{id}", answer: func(t *tx) (any, error) { return t.price(http.StatusNotFound, "id", t.id) }},
		{
			method: http.MethodPost, path: "/v1/prices/{id}", answer: updatePrice,
			params: params{"active": boolean, "nickname": clearable, "lookup_key": clearable, "transfer_lookup_key": boolean}.and(metadata),
		},
	}
}

func (t *tx) price(status int, param, id string) (*price, error) {
	if p := t.state.Prices[id]; p != nil {
		return p, nil
	}
	return nil, unknownID(status, "price", param, id)
}

func createPrice(t *tx) (any, error) {
	f := t.form
	p := &price{
		Object: "price", Active: f.text("active") != "false", BillingScheme: "per_unit", Created: t.unix(),
		Currency: strings.ToLower(f.text("currency")), Metadata: f.metadata(nil), Nickname: orNull(f.text("nickname")),
		TaxBehavior: orElse(f.text("tax_behavior"), "unspecified"), Type: "one_time",
	}
	if f.has("unit_amount") == f.has("unit_amount_decimal") {
		return nil, invalid("unit_amount", "", "You must specify one of `unit_amount` or `unit_amount_decimal`.")
	}
	p.UnitAmountDecimal = f.text("unit_amount") + f.text("unit_amount_decimal")
	if unit, _ := new(big.Rat).SetString(p.UnitAmountDecimal); unit != nil && unit.IsInt() {
		cents := unit.Num().Int64()
		p.UnitAmount = &cents
	}
	if f.has("recurring") {
		if err := t.setRecurring(p); err != nil {
			return nil, err
		}
	}
	if err := t.takeLookupKey(p); err != nil {
		return nil, err
	}
	switch {
	case f.has("product") == f.has("product_data"):
		return nil, invalid("product", "", "You must specify one of `product` or `product_data`.")
	case f.has("product_data"):
		p.Product = t.newProduct(f.below("product_data")).ID
	case t.state.Products[f.text("product")] == nil:
		return nil, unknownID(http.StatusBadRequest, "product", "product", f.text("product"))
	default:
		p.Product = f.text("product")
	}
	p.ID = t.state.newID("price")
	t.state.Prices[p.ID] = p
	t.emit("price.created", p, nil)
	return p, nil
}

func (t *tx) setRecurring(p *price) error {
	f := t.form.below("recurring")
	if !f.has("interval") {
		return invalid("recurring[interval]", "parameter_missing", "Missing required param: recurring[interval].")
	}
	p.Type = "recurring"
	p.Recurring = &recurring{
		Interval: f.text("interval"), IntervalCount: max(1, f.number("interval_count")),
		UsageType: orElse(f.text("usage_type"), "licensed"), Meter: orNull(f.text("meter")),
	}
	if p.metered() != (p.Recurring.Meter != nil) {
		return invalid("recurring[meter]", "", "Prices with `recurring[usage_type]=metered` must be backed by meters: set `recurring[meter]`, and only with them.")
	}
	if p.Recurring.Meter != nil && t.state.Meters[*p.Recurring.Meter] == nil {
		return unknownID(http.StatusBadRequest, "meter", "recurring[meter]", *p.Recurring.Meter)
	}
	return nil
}

// takeLookupKey gives the price the key of the request, which another price loses only
// if the request says so.
func (t *tx) takeLookupKey(p *price) error {
	key := t.form.text("lookup_key")
	for _, other := range t.state.Prices {
		if key == "" || other == p || other.LookupKey == nil || *other.LookupKey != key {
			continue
		}
		if !t.form.flag("transfer_lookup_key") {
			return invalid("lookup_key", "", "A price (`%s`) already uses that lookup key.", other.ID)
		}
		t.update("price.updated", other, func() { other.LookupKey = nil })
	}
	if t.form.has("lookup_key") {
		p.LookupKey = orNull(key)
	}
	return nil
}

func updatePrice(t *tx) (any, error) {
	p, err := t.price(http.StatusNotFound, "id", t.id)
	if err != nil {
		return nil, err
	}
	var refused error
	t.update("price.updated", p, func() {
		if refused = t.takeLookupKey(p); refused != nil {
			return
		}
		if t.form.has("active") {
			p.Active = t.form.flag("active")
		}
		if t.form.has("nickname") {
			p.Nickname = orNull(t.form.text("nickname"))
		}
		p.Metadata = t.form.metadata(p.Metadata)
	})
	if refused != nil {
		return nil, refused
	}
	return p, nil
}

func listPrices(t *tx) (any, error) {
	keys := t.form.list("lookup_keys")
	if len(keys) > 10 {
		return nil, invalid("lookup_keys", "", "You may only specify up to 10 lookup keys.")
	}
	same := func(param, value string) bool { return !t.form.has(param) || t.form.text(param) == value }
	found := newestFirst(t.state.Prices, func(p *price) bool {
		r := p.Recurring
		if t.form.has("recurring") && r == nil {
			return false
		}
		for param, value := range map[string]func() string{
			"interval": func() string { return r.Interval }, "usage_type": func() string { return r.UsageType }, "meter": func() string { return deref(r.Meter) },
		} {
			if t.form.has("recurring", param) && t.form.text("recurring", param) != value() {
				return false
			}
		}
		return t.createdMatches(p.Created) && same("product", p.Product) && same("type", p.Type) && same("currency", p.Currency) &&
			(!t.form.has("active") || p.Active == t.form.flag("active")) && (len(keys) == 0 || contains(keys, deref(p.LookupKey)))
	})
	return page(t, "/v1/prices", found, func(p *price) string { return p.ID })
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func contains(values []string, value string) bool {
	return value != "" && slices.Contains(values, value)
}
