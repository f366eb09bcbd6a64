package api_test

import (
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	stripesim "github.com/nanobanana/nanobanana/billing/simulator"
	"github.com/nanobanana/nanobanana/jobs"
)

// stripeJournal is what the service has asked Stripe in TestBilling_Journal. Stripe's own
// test server judges it in e2e.
const stripeJournal = "testdata/stripe_journal.json"

// named is what differs from run to run in requests: ids, ours and Stripe's, and times.
var named = regexp.MustCompile(`(cus|cs_test|sub|si|in|pi|ch|price|prod|mtr|org|rfd|usr)_[0-9A-Za-z]{8,}|1[0-9]{9}([0-9]{6})?|127\.0\.0\.1(:|%3A)[0-9]+`)

// The requests that the API and the worker send to Stripe, with addresses of pages, long
// keys and the reasons that people write, are those that are judged.
func TestBilling_Journal(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	p := s.person("operator@example.com", "")
	s.exec(`UPDATE account SET operator = true WHERE id = $1`, p.id)
	long := "Idempotency-Key: " + strings.Repeat("k", 255)
	pages := `,"success_url":"https://example.com/thanks?a=b&c=%20d#e","cancel_url":"https://example.com/"}`
	s.must(s.sim.Pay(s.does(s.master, "POST", "/v1/billing/checkout", `{"plan":"hobby"`+pages, 201, long).text("id")))
	s.settled()
	s.does(s.master, "POST", "/v1/billing/subscription", `{"plan":"pro"}`, 200, long)
	s.does(s.master, "POST", "/v1/billing/portal", `{}`, 201, long)
	s.must(s.sim.Pay(s.does(s.master, "POST", "/v1/billing/credits", `{"credits":100`+pages, 201).text("id")))
	s.settled()
	invoice := s.does(s.master, "GET", "/v1/billing/invoices", "", 200).text("first_id")
	s.does(p.token, "POST", "/v1/admin/refunds", `{"invoice_id":"`+invoice+`","amount":50,"reason":"\"ä & b\" = 50 %"}`, 201, long)
	s.does(s.master, "POST", "/v1/billing/subscription", `{"cancel_at_period_end":true}`, 200)
	s.nextPeriod(2 * time.Hour)
	s.settled()
	s.must(s.sim.Pay(s.checkout("/v1/billing/checkout", `{"plan":"pay_as_you_go"}`)))
	s.settled()
	s.use()
	s.exec(`UPDATE credit_account SET used = greatest(used, granted) + 1 WHERE org_id = $1 AND period = $2`, s.org, s.credits().Period)

	s.report()
	s.exec(`UPDATE org SET deleted_at = now() WHERE id = $1`, s.org)
	s.run(jobs.SyncBillingArgs{})
	s.settled()

	got := map[string]stripesim.Request{}
	for _, r := range s.sim.Journal() {
		if r.Status != 200 {
			t.Errorf("%s %s %s is answered %d", r.Method, r.Path, r.Body, r.Status)
		}
		for _, text := range []*string{&r.Path, &r.Query, &r.Body} {
			*text = named.ReplaceAllStringFunc(*text, func(is string) string {
				if kind, _, ok := strings.Cut(is, "_"); ok {
					return kind + "_x"
				}
				if strings.HasPrefix(is, "127.") {
					return "127.0.0.1"
				}
				return "1700000000"
			})
		}
		if len(r.IdempotencyKey) > 255 {
			t.Errorf("%s %s has a key of %d", r.Method, r.Path, len(r.IdempotencyKey))
		}
		r.Time, r.IdempotencyKey = time.Time{}, ""
		got[r.Method+" "+r.Path+"?"+r.Query+" "+r.Body] = r
	}
	if flag.Lookup("update").Value.String() == "true" {
		text, err := json.MarshalIndent(got, "", "\t")
		s.must(err)
		s.must(os.MkdirAll("testdata", 0o755))
		s.must(os.WriteFile(stripeJournal, append(text, '\n'), 0o644))
	}
	text, err := os.ReadFile(stripeJournal)
	s.must(err)
	want := map[string]stripesim.Request{}
	s.must(json.Unmarshal(text, &want))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("other requests than are judged, run with -update (-want +got):\n%s", diff)
	}
}
