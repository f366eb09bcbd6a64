package simulator_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v85"

	"github.com/nanobanana/nanobanana/billing/simulator"
)

// An answer is what came over the wire.
type answer struct {
	status int
	header http.Header
	body   map[string]any
}

// fault is the error of an answer, by the names of its parts.
func (a answer) fault(names ...string) []any {
	e, _ := a.body["error"].(map[string]any)
	parts := []any{a.status}
	for _, name := range names {
		parts = append(parts, e[name])
	}
	return parts
}

// send sends one request as it is written here.
func (b *bench) send(t *testing.T, method, path, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer "+simulator.DefaultAPIKey)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header}
	if err := json.Unmarshal(content, &a.body); err != nil {
		t.Fatalf("%s %s was answered %d with %q", method, path, resp.StatusCode, content)
	}
	return a
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	s := b.stock(t)
	const post, get = http.MethodPost, http.MethodGet
	for name, c := range map[string]struct {
		method, path, body string
		want               []any // status, type, code, param
	}{
		"UnknownRoute":        {get, "/v1/nothing", "", []any{404, "invalid_request_error", nil, nil}},
		"UnknownVersion":      {post, "/v2/billing/meter_events", "", []any{404, "invalid_request_error", nil, nil}},
		"WrongMethod":         {post, "/v1/events", "", []any{404, "invalid_request_error", nil, nil}},
		"UnknownID":           {get, "/v1/customers/cus_x", "", []any{404, "invalid_request_error", "resource_missing", "id"}},
		"UnknownReference":    {get, "/v1/invoices?customer=cus_x", "", []any{400, "invalid_request_error", "resource_missing", "customer"}},
		"UnknownParameter":    {post, "/v1/customers", "emial=a", []any{400, "invalid_request_error", "parameter_unknown", "emial"}},
		"UnknownNested":       {post, "/v1/customers", "address[planet]=a", []any{400, "invalid_request_error", "parameter_unknown", "address[planet]"}},
		"UnknownInQuery":      {get, "/v1/prices?lookup_key=a", "", []any{400, "invalid_request_error", "parameter_unknown", "lookup_key"}},
		"NotAHash":            {post, "/v1/customers", "address=a", []any{400, "invalid_request_error", nil, "address"}},
		"Missing":             {post, "/v1/products", "", []any{400, "invalid_request_error", "parameter_missing", "name"}},
		"MissingNested":       {post, "/v1/billing/meters", "display_name=a&event_name=b", []any{400, "invalid_request_error", "parameter_missing", "default_aggregation[formula]"}},
		"Empty":               {post, "/v1/products", "name=", []any{400, "invalid_request_error", "parameter_invalid_empty", "name"}},
		"Integer":             {post, "/v1/prices", "currency=usd&unit_amount=1.5", []any{400, "invalid_request_error", "parameter_invalid_integer", "unit_amount"}},
		"Negative":            {post, "/v1/prices", "currency=usd&unit_amount=-1", []any{400, "invalid_request_error", "parameter_invalid_integer", "unit_amount"}},
		"Boolean":             {post, "/v1/products", "name=a&active=yes", []any{400, "invalid_request_error", nil, "active"}},
		"Enum":                {post, "/v1/checkout/sessions", "mode=gift", []any{400, "invalid_request_error", nil, "mode"}},
		"Brackets":            {post, "/v1/customers", "metadata[a=b", []any{400, "invalid_request_error", nil, nil}},
		"Expand":              {get, "/v1/customers/" + s.customer.ID + "?expand[]=nothing", "", []any{400, "invalid_request_error", nil, "expand"}},
		"ExpandTooDeep":       {get, "/v1/customers/" + s.customer.ID + "?expand[]=a.b.c.d.e", "", []any{400, "invalid_request_error", nil, "expand"}},
		"Limit":               {get, "/v1/prices?limit=101", "", []any{400, "invalid_request_error", nil, "limit"}},
		"StartingAfter":       {get, "/v1/prices?starting_after=price_x", "", []any{400, "invalid_request_error", "resource_missing", "starting_after"}},
		"LookupKeyTaken":      {post, "/v1/prices", "currency=usd&unit_amount=1&lookup_key=nanobanana_pro&product=" + s.pro.Product.ID, []any{400, "invalid_request_error", nil, "lookup_key"}},
		"MeterTaken":          {post, "/v1/billing/meters", "display_name=a&event_name=nanobanana_credits&default_aggregation[formula]=sum", []any{400, "invalid_request_error", nil, "event_name"}},
		"MeteredQuantity":     {post, "/v1/checkout/sessions", "mode=subscription&success_url=http://a&line_items[0][quantity]=1&line_items[0][price]=" + s.metered.ID, []any{400, "invalid_request_error", nil, "line_items[0][quantity]"}},
		"NoQuantity":          {post, "/v1/checkout/sessions", "mode=payment&success_url=http://a&line_items[0][price]=" + s.credits.ID, []any{400, "invalid_request_error", nil, "line_items[0][quantity]"}},
		"RecurringInPayment":  {post, "/v1/checkout/sessions", "mode=payment&success_url=http://a&line_items[0][quantity]=1&line_items[0][price]=" + s.pro.ID, []any{400, "invalid_request_error", nil, nil}},
		"OnceInSubscription":  {post, "/v1/checkout/sessions", "mode=subscription&success_url=http://a&line_items[0][quantity]=1&line_items[0][price]=" + s.credits.ID, []any{400, "invalid_request_error", nil, nil}},
		"PortalOfNobody":      {post, "/v1/billing_portal/sessions", "customer=cus_x", []any{400, "invalid_request_error", "resource_missing", "customer"}},
		"RefundOfNothing":     {post, "/v1/refunds", "", []any{400, "invalid_request_error", nil, nil}},
		"PreviewWithoutItems": {post, "/v1/invoices/create_preview", "customer=" + s.customer.ID, []any{404, "invalid_request_error", "invoice_upcoming_none", nil}},
		"WebhookURL":          {post, "/v1/webhook_endpoints", "url=nowhere&enabled_events[]=*", []any{400, "invalid_request_error", "url_invalid", "url"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := b.send(t, c.method, c.path, c.body)
			if diff := cmp.Diff(c.want, got.fault("type", "code", "param")); diff != "" {
				t.Errorf("error differs (-want +got):\n%s\n%v", diff, got.body)
			}
			if e, _ := got.body["error"].(map[string]any); e["message"] == "" || e["message"] == nil {
				t.Error("the error has no message")
			}
			if got.header.Get("Request-Id") == "" {
				t.Error("the answer has no Request-Id")
			}
		})
	}
}

func TestAuthorization(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	for header, want := range map[string]int{
		"":                                     401,
		"Bearer sk_test_of_somebody_else":      401,
		"Bearer " + simulator.DefaultAPIKey:    200,
		"Basic c2tfdGVzdF9zaW11bGF0b3I6":       200,
		"Basic c2tfdGVzdF9zb21lYm9keV9lbHNlOg": 401,
	} {
		got := b.send(t, http.MethodGet, "/v1/customers", "", "Authorization", header)
		if got.status != want {
			t.Errorf("%q was answered %d, want %d", header, got.status, want)
		}
		if message, _ := json.Marshal(got.body); strings.Contains(string(message), "somebody") {
			t.Errorf("the answer repeats the key: %s", message)
		}
	}
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	first := b.send(t, http.MethodPost, "/v1/customers", "name=a&email=b@c.de", "Idempotency-Key", "one")
	again := b.send(t, http.MethodPost, "/v1/customers", "email=b%40c.de&name=a", "Idempotency-Key", "one")
	if diff := cmp.Diff(first.body, again.body); diff != "" {
		t.Errorf("the same key differs (-want +got):\n%s", diff)
	}
	got := []string{first.header.Get("Idempotent-Replayed"), again.header.Get("Idempotent-Replayed"), again.header.Get("Original-Request")}
	if diff := cmp.Diff([]string{"", "true", first.header.Get("Request-Id")}, got); diff != "" {
		t.Errorf("headers differ (-want +got):\n%s", diff)
	}
	other := b.send(t, http.MethodPost, "/v1/customers", "name=b", "Idempotency-Key", "one")
	if diff := cmp.Diff([]any{400, "idempotency_error"}, other.fault("type")); diff != "" {
		t.Errorf("other parameters differ (-want +got):\n%s", diff)
	}
	// What was refused before anything was done is not remembered.
	for _, want := range []int{400, 400} {
		if got := b.send(t, http.MethodPost, "/v1/products", "", "Idempotency-Key", "two"); got.status != want {
			t.Errorf("a request without a name was answered %d, want %d", got.status, want)
		}
	}
	if got := b.send(t, http.MethodPost, "/v1/products", "name=a", "Idempotency-Key", "two"); got.status != 200 {
		t.Errorf("the mended request was answered %d", got.status)
	}
	b.Advance(25 * 60 * 60 * 1e9)
	if got := b.send(t, http.MethodPost, "/v1/customers", "name=b", "Idempotency-Key", "one"); got.status != 200 {
		t.Errorf("after a day the key was answered %d", got.status)
	}
}

func TestLostAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	params := &stripe.CustomerCreateParams{Name: stripe.String("a")}
	params.SetIdempotencyKey("one")
	b.LoseAnswers(1)
	if c, err := b.client.V1Customers.Create(t.Context(), params); err == nil {
		t.Fatalf("the lost answer was %v", c)
	}
	made := must[*stripe.Customer](t)(b.client.V1Customers.Create(t.Context(), params))
	if all := b.send(t, http.MethodGet, "/v1/customers", ""); len(all.body["data"].([]any)) != 1 {
		t.Errorf("%s was made more than once: %v", made.ID, all.body)
	}
	b.SetDown(true)
	if got := b.send(t, http.MethodGet, "/v1/customers", ""); got.status != 503 {
		t.Errorf("while down a request was answered %d", got.status)
	}
	b.SetDown(false)
	if got := b.send(t, http.MethodGet, "/v1/customers", ""); got.status != 200 {
		t.Errorf("afterwards a request was answered %d", got.status)
	}
}

func TestPagination(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	var want []string
	for range 5 {
		c := must[*stripe.Customer](t)(b.client.V1Customers.Create(t.Context(), nil))
		want = append([]string{c.ID}, want...)
	}
	ids := func(query url.Values) (ids []string, more bool) {
		got := b.send(t, http.MethodGet, "/v1/customers?"+query.Encode(), "")
		for _, c := range got.body["data"].([]any) {
			ids = append(ids, c.(map[string]any)["id"].(string))
		}
		return ids, got.body["has_more"].(bool)
	}
	for _, c := range []struct {
		query url.Values
		want  []string
		more  bool
	}{
		{url.Values{}, want, false},
		{url.Values{"limit": {"2"}}, want[:2], true},
		{url.Values{"limit": {"2"}, "starting_after": {want[1]}}, want[2:4], true},
		{url.Values{"limit": {"2"}, "starting_after": {want[3]}}, want[4:], false},
		{url.Values{"limit": {"2"}, "ending_before": {want[4]}}, want[2:4], true},
		{url.Values{"limit": {"4"}, "ending_before": {want[2]}}, want[:2], false},
	} {
		got, more := ids(c.query)
		if diff := cmp.Diff(c.want, got); diff != "" || more != c.more {
			t.Errorf("%v has more %t, want %t, and differs (-want +got):\n%s", c.query, more, c.more, diff)
		}
	}
	params := &stripe.CustomerListParams{}
	params.Limit = stripe.Int64(2)
	var all []string
	for c, err := range b.client.V1Customers.List(t.Context(), params).All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c.ID)
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("Stripe's client differs (-want +got):\n%s", diff)
	}
}

func TestJournal(t *testing.T) {
	t.Parallel()
	b := setup(t, simulator.Options{})
	b.send(t, http.MethodPost, "/v1/customers", "name=a", "Idempotency-Key", "k", "Stripe-Version", simulator.APIVersion)
	b.send(t, http.MethodGet, "/v1/customers?limit=1", "")
	b.send(t, http.MethodGet, "/v1/nothing", "")
	want := []simulator.Request{
		{Time: began, Method: "POST", Path: "/v1/customers", Body: "name=a", IdempotencyKey: "k", Version: simulator.APIVersion, Status: 200},
		{Time: began, Method: "GET", Path: "/v1/customers", Query: "limit=1", Status: 200},
		{Time: began, Method: "GET", Path: "/v1/nothing", Status: 404},
	}
	if diff := cmp.Diff(want, b.Journal()); diff != "" {
		t.Errorf("journal differs (-want +got):\n%s", diff)
	}
	control := b.send(t, http.MethodGet, "/__stripe/journal", "", "Authorization", "Bearer nobody")
	if control.status != 401 {
		t.Errorf("a stranger was told the journal: %d", control.status)
	}
}
