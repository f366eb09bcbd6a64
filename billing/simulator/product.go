package simulator

import "net/http"

type product struct {
	ID                  string            `json:"id"`
	Object              string            `json:"object"`
	Active              bool              `json:"active"`
	Created             int64             `json:"created"`
	DefaultPrice        *string           `json:"default_price"`
	Description         *string           `json:"description"`
	Images              []string          `json:"images"`
	Livemode            bool              `json:"livemode"`
	Features            []string          `json:"marketing_features"`
	Metadata            map[string]string `json:"metadata"`
	Name                string            `json:"name"`
	PackageDimensions   *string           `json:"package_dimensions"`
	Shippable           *bool             `json:"shippable"`
	StatementDescriptor *string           `json:"statement_descriptor"`
	TaxCode             *string           `json:"tax_code"`
	Type                string            `json:"type"`
	UnitLabel           *string           `json:"unit_label"`
	Updated             int64             `json:"updated"`
	URL                 *string           `json:"url"`
}

func productRoutes() []route {
	takes := params{
		"id": text, "name": text, "description": text, "active": boolean, "unit_label": text, "statement_descriptor": text,
		"tax_code": text, "url": text,
	}.and(metadata)
	return []route{
		{method: http.MethodPost, path: "/v1/products", params: takes, required: []string{"name"}, answer: createProduct},
		{method: http.MethodGet, path: "/v1/products/{id}", answer: retrieveProduct},
		{method: http.MethodGet, path: "/v1/products", params: paging.and(created).and(params{"active": boolean, "ids.*": text}), answer: listProducts},
	}
}

func createProduct(t *tx) (any, error) {
	if id := t.form.text("id"); t.state.Products[id] != nil {
		return nil, invalid("id", "resource_already_exists", "Product already exists.")
	}
	return t.newProduct(t.form), nil
}

func (t *tx) newProduct(f form) *product {
	p := &product{
		ID: f.text("id"), Object: "product", Active: f.text("active") != "false", Created: t.unix(), Updated: t.unix(),
		Description: orNull(f.text("description")), Images: []string{}, Features: []string{}, Metadata: f.metadata(nil),
		Name: f.text("name"), StatementDescriptor: orNull(f.text("statement_descriptor")), TaxCode: orNull(f.text("tax_code")),
		Type: "service", UnitLabel: orNull(f.text("unit_label")), URL: orNull(f.text("url")),
	}
	if p.ID == "" {
		p.ID = t.state.newID("prod")
	}
	t.state.Products[p.ID] = p
	t.emit("product.created", p, nil)
	return p
}

func retrieveProduct(t *tx) (any, error) {
	if p := t.state.Products[t.id]; p != nil {
		return p, nil
	}
	return nil, unknownID(http.StatusNotFound, "product", "id", t.id)
}

func listProducts(t *tx) (any, error) {
	ids, active := t.form.list("ids"), t.form.text("active")
	found := newestFirst(t.state.Products, func(p *product) bool {
		return t.createdMatches(p.Created) && (active == "" || p.Active == (active == "true")) && (len(ids) == 0 || contains(ids, p.ID))
	})
	return page(t, "/v1/products", found, func(p *product) string { return p.ID })
}
