package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85/webhook"

	"github.com/nanobanana/nanobanana/api"
)

// Without Stripe there is nothing to buy, and what there is can be seen.
func TestBilling_Off(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	for path, body := range map[string]string{
		"/v1/billing/checkout": `{"plan":"pro"}`, "/v1/billing/credits": `{"credits":100}`, "/v1/billing/portal": `{}`,
		"/v1/billing/subscription": `{"plan":"pro"}`, "/v1/billing/stripe/webhook": `{}`,
	} {
		a := p.do(p.master, "POST", path, body)
		if a.status != 503 || a.code() != "billing_unavailable" || !strings.Contains(a.text("detail"), "STRIPE_API_KEY") {
			t.Errorf("POST %s is answered %d %s", path, a.status, a.body)
		}
	}
	if a := p.does(p.master, "GET", "/v1/billing/subscription", "", 200); a.text("status") != "none" || a.text("plan") != "unlimited" {
		t.Errorf("%s", a.body)
	}
	if a := p.does(p.master, "GET", "/v1/billing/invoices", "", 200); len(a.ids("id")) != 0 {
		t.Errorf("%s", a.body)
	}
}

func TestBilling_BadInput(t *testing.T) {
	t.Parallel()
	p := setupPeople(t, func(o *api.Options) { o.Billing = newStripe(t) })
	for name, c := range map[string]struct{ path, body, want string }{
		"a plan there is not":  {"checkout", `{"plan":"gold"}`, "plan unsupported_value"},
		"a free plan":          {"checkout", `{"plan":"free"}`, "plan unsupported_value"},
		"one that is not sold": {"checkout", `{"plan":"unlimited"}`, "plan unsupported_value"},
		"no plan":              {"checkout", `{}`, "plan required"},
		"http":                 {"checkout", `{"plan":"pro","success_url":"http://example.com"}`, "success_url invalid"},
		"this machine":         {"checkout", `{"plan":"pro","cancel_url":"http://127.0.0.1/"}`, "cancel_url invalid"},
		"a script":             {"portal", `{"return_url":"javascript:alert(1)"}`, "return_url invalid"},
		"a password":           {"portal", `{"return_url":"https://a:b@example.com/"}`, "return_url invalid"},
		"a blank":              {"portal", `{"return_url":"https://example.com/ x"}`, "return_url invalid"},
		"a long one":           {"portal", `{"return_url":"https://example.com/` + strings.Repeat("x", 2048) + `"}`, "return_url invalid"},
		"too few credits":      {"credits", `{"credits":24}`, "credits out_of_range"},
		"too many":             {"credits", `{"credits":1000001}`, "credits out_of_range"},
		"nothing to change":    {"subscription", `{}`, "plan required"},
	} {
		a := p.do(p.master, "POST", "/v1/billing/"+c.path, c.body)
		if faults := strings.Join(a.faults(), ", "); a.status != 422 || faults != c.want {
			t.Errorf("%s: %d %s, want %s", name, a.status, a.body, c.want)
		}
	}
	both := p.do(p.master, "POST", "/v1/billing/credits", `{"credits":100,"success_url":"ftp://a","cancel_url":"ftp://b"}`)
	if len(both.faults()) != 2 {
		t.Errorf("two faults at once: %s", both.body)
	}
	p.refuses("no such cursor", p.master, "GET", "/v1/billing/invoices?after=in_unknown", "", 400, "invalid_cursor")
	p.refuses("no such invoice", p.master, "GET", "/v1/billing/invoices/in_unknown", "", 404, "not_found")
}

// Asked for twice with one Idempotency-Key there is one page.
func TestBilling_Idempotency(t *testing.T) {
	t.Parallel()
	p := setupPeople(t, func(o *api.Options) { o.Billing = newStripe(t) })
	const body = `{"plan":"pro","success_url":"https://example.com/thanks#top"}`
	first := p.does(p.master, "POST", "/v1/billing/checkout", body, 201, "Idempotency-Key: k")
	again := p.does(p.master, "POST", "/v1/billing/checkout", body, 201, "Idempotency-Key: k")
	other := p.does(p.master, "POST", "/v1/billing/checkout", body, 201)
	if first.text("id") != again.text("id") || first.text("id") == other.text("id") {
		t.Errorf("%s, %s, %s", first.text("id"), again.text("id"), other.text("id"))
	}
	if a := p.do(p.master, "POST", "/v1/billing/credits", `{"credits":100}`, "Idempotency-Key: k"); a.status != 422 || a.code() != "idempotency_key_reused" {
		t.Errorf("the key for something else: %d %s", a.status, a.body)
	}
}

// On the machine of whoever develops the service pages lead back to it.
func TestBilling_Loopback(t *testing.T) {
	t.Parallel()
	p := setupPeople(t, func(o *api.Options) { o.Billing, o.DevMail = newStripe(t), true })
	p.does(p.master, "POST", "/v1/billing/portal", "", 201) // nothing has to be said
	p.does(p.master, "POST", "/v1/billing/portal", `{"return_url":"http://127.0.0.1:3000/back"}`, 201)
	p.refuses("another's", p.master, "POST", "/v1/billing/portal", `{"return_url":"http://example.com/"}`, 422, "validation_failed")
}

// An event is kept once, and only if Stripe has signed it.
func TestBilling_Webhook(t *testing.T) {
	t.Parallel()
	p := setupPeople(t, func(o *api.Options) { o.Billing = newStripe(t) })
	const path = "/v1/billing/stripe/webhook"
	send := func(body, secret string) *answer {
		signed := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(body), Secret: secret, Timestamp: time.Now()})
		return p.do("", "POST", path, body, "Stripe-Signature: "+signed.Header)
	}
	const event = `{"id":"evt_1","object":"event","created":1700000000,"type":"invoice.paid","data":{"object":{"id":"in_1","object":"invoice","customer":"cus_1"}}}`
	for range 3 {
		if a := send(event, stripeSecret); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if a := send(strings.NewReplacer("evt_1", "evt_2", "invoice.paid", "price.updated").Replace(event), stripeSecret); a.status != 200 {
		t.Errorf("of another type: %d %s", a.status, a.body)
	}
	if a := send(event, "whsec_another"); a.status != 400 || a.code() != "invalid_signature" {
		t.Errorf("another's signature: %d %s", a.status, a.body)
	}
	p.refuses("no signature", "", "POST", path, event, 400, "invalid_signature")
	for name, body := range map[string]string{
		"no event": `[]`, "no JSON": "\xff", "NUL": strings.Replace(event, "evt_1", `evt_\u0000`, 1), "long": strings.Replace(event, "evt_1", strings.Repeat("e", 300), 1),
	} {
		if a := send(body, stripeSecret); a.status != 400 || a.code() != "invalid_request" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if a := send(strings.Repeat(" ", 2<<20), stripeSecret); a.status != 413 {
		t.Errorf("a body of 2 MiB: %d %s", a.status, a.body)
	}
	kept := p.strings(`SELECT id || ' ' || type || ' ' || object_id || ' ' || customer FROM stripe_event`)
	tickets := p.strings(`SELECT args ->> 'event' FROM river.river_job WHERE kind = 'handle_stripe_event'`)
	if len(kept) != 1 || kept[0] != "evt_1 invoice.paid in_1 cus_1" || len(tickets) != 1 {
		t.Errorf("kept %v with tickets %v", kept, tickets)
	}
}
