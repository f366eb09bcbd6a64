package simulator

import "net/http"

type portalSession struct {
	ID            string  `json:"id"`
	Object        string  `json:"object"`
	Configuration string  `json:"configuration"`
	Created       int64   `json:"created"`
	Customer      string  `json:"customer"`
	Flow          *string `json:"flow"`
	Livemode      bool    `json:"livemode"`
	Locale        *string `json:"locale"`
	OnBehalfOf    *string `json:"on_behalf_of"`
	ReturnURL     *string `json:"return_url"`
	URL           string  `json:"url"`
}

func portalRoutes() []route {
	return []route{{
		method: http.MethodPost, path: "/v1/billing_portal/sessions", required: []string{"customer"}, answer: createPortal,
		params: params{"customer": text, "return_url": text, "configuration": text, "locale": text},
	}}
}

func createPortal(t *tx) (any, error) {
	c, err := t.customerOf("customer")
	if err != nil {
		return nil, err
	}
	p := &portalSession{
		ID: t.state.newID("bps"), Object: "billing_portal.session", Configuration: orElse(t.form.text("configuration"), "bpc_simulator"),
		Created: t.unix(), Customer: c.ID, Locale: orNull(t.form.text("locale")), ReturnURL: orNull(t.form.text("return_url")),
	}
	p.URL = t.link("/portal/" + p.ID)
	t.state.Portals[p.ID] = p
	return p, nil
}
