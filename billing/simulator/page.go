package simulator

import (
	_ "embed"
	"errors"
	"html/template"
	"net/http"
	"strings"
)

//go:embed pages.html
var pagesHTML string

// pages are what customers see, by the first segment of the path. Each is a plain form.
func pages() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{"dollars": dollars}).Parse(pagesHTML))
}

// A view is what a page shows.
type view struct {
	Session      *checkoutSession
	Portal       *portalSession
	Subscription *subscription
	Prices       []namedPrice
	Invoices     []*invoice
	Invoice      *invoice
	Error        string
}

type namedPrice struct {
	*price
	Name string
}

// servePage answers /checkout/ID, /portal/ID and /invoices/ID, and the buttons on them.
func (s *Simulator) servePage(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(parts) < 2 || len(parts) > 3 || r.Method != http.MethodGet && (len(parts) != 3 || r.Method != http.MethodPost) {
		http.NotFound(w, r)
		return
	}
	kind, id, button := parts[0], parts[1], ""
	if r.Method == http.MethodPost {
		button = parts[2]
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	var shown view
	var to string
	err := s.change(func(t *tx) error {
		t.base = s.base(r)
		var err error
		switch kind {
		case "checkout":
			to, err = t.pressCheckout(id, button)
			shown.Session = t.state.Sessions[id]
		case "portal":
			err = t.pressPortal(id, button, r.PostFormValue("price"))
			t.showPortal(id, &shown)
		case "invoices":
			if button == "pay" {
				err = t.payInvoiceByID(id)
			}
			shown.Invoice = t.state.Invoices[id]
		}
		return err
	})
	var p *problem
	status := http.StatusOK
	if errors.As(err, &p) {
		shown.Error, status = p.Message, p.status
	}
	if shown.Session == nil && shown.Portal == nil && shown.Invoice == nil {
		http.NotFound(w, r)
		return
	}
	if err == nil && button != "" {
		if to == "" {
			to = "/" + kind + "/" + id
		}
		http.Redirect(w, r, to, http.StatusSeeOther) //nolint:gosec // the success_url of who made the session, or a page of ours
		return
	}
	s.show(w, kind, status, &shown)
}

// show writes a page. State is read again under the lock, since it may have changed.
func (s *Simulator) show(w http.ResponseWriter, kind string, status int, shown *view) {
	var out strings.Builder
	s.mu.Lock()
	err := pages().ExecuteTemplate(&out, kind, shown)
	s.mu.Unlock()
	if err != nil {
		s.log.Error("show a page", "page", kind, "error", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(out.String())) // the client is gone
}

// pressCheckout is a button of a checkout page; to is where it leads.
func (t *tx) pressCheckout(id, button string) (to string, err error) {
	switch button {
	case "pay", "decline":
		if err := t.paySession(id, button == "decline"); err != nil {
			return "", err
		}
		return t.state.Sessions[id].successURL(), nil
	case "":
		return "", nil
	}
	return "", invalid("", "", "There is no such button.")
}

// pressPortal is a button of a portal page.
func (t *tx) pressPortal(id, button, priceID string) error {
	p := t.state.Portals[id]
	if p == nil || button == "" {
		return nil
	}
	sub := t.current(p.Customer)
	if sub == nil {
		return invalid("", "", "There is no subscription.")
	}
	t.id, t.form = sub.ID, form{}
	switch button {
	case "cancel", "resume":
		value := "false"
		if button == "cancel" {
			value = "true"
		}
		t.form = form{{[]string{"cancel_at_period_end"}, value}}
	case "plan":
		t.form = form{{[]string{"items", "0", "id"}, sub.Items.Data[0].ID}, {[]string{"items", "0", "price"}, priceID}}
	default:
		return invalid("", "", "There is no such button.")
	}
	_, err := updateSubscription(t)
	return err
}

// current is the subscription of a customer that has not ended, or nil.
func (t *tx) current(customerID string) *subscription {
	found := newestFirst(t.state.Subscriptions, func(sub *subscription) bool { return sub.Customer == customerID && sub.Status != "canceled" })
	if len(found) == 0 {
		return nil
	}
	return found[0]
}

// showPortal is what a portal page shows.
func (t *tx) showPortal(id string, shown *view) {
	if shown.Portal = t.state.Portals[id]; shown.Portal == nil {
		return
	}
	shown.Subscription = t.current(shown.Portal.Customer)
	for _, p := range newestFirst(t.state.Prices, func(p *price) bool { return p.Active && p.Recurring != nil }) {
		shown.Prices = append(shown.Prices, namedPrice{p, t.productName(p)})
	}
	shown.Invoices = newestFirst(t.state.Invoices, func(inv *invoice) bool { return inv.Customer == shown.Portal.Customer })
}
