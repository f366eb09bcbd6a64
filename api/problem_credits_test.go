package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/store"
)

// A 402 says what is left, when there is more, and how to get it sooner; it is not to
// be asked again.
func TestCredits_Refusals(t *testing.T) {
	t.Parallel()
	_, month := store.PeriodOf(store.PeriodMonth, nil, time.Now())
	_, day := store.PeriodOf(store.PeriodDay, nil, time.Now())
	budget := func(b *bundle) string {
		b.onPlan("hobby")
		b.submit(b.live, banana)
		b.change(`UPDATE credit_account SET spend_limit = 4 WHERE org_id = $1`, b.project.OrgID)
		return b.live
	}
	for name, c := range map[string]struct {
		prepare           func(b *bundle) string
		body              string
		code              string
		available, needed float64
		resets            time.Time
		detail            string
	}{
		"Plan": {
			prepare: func(b *bundle) string {
				b.onPlan("free_daily")
				b.submit(b.live, `{"prompt":"x","n":2}`)
				return b.live
			},
			body: `{"prompt":"x","n":2}`, code: "quota_exceeded", available: 1, needed: 2, resets: day,
			detail: "This needs 2 of your organization's credits, and 1 are left of its plan free_daily until %s. Payments are not set up here: whoever runs the service gives more credits, or a larger plan.",
		},
		"Budget": {
			prepare: budget, body: `{"prompt":"x","model":"banana-pro"}`, code: "spend_limit_reached", available: 3, needed: 4, resets: month,
			detail: "Your organization's budget is 4 credits until %s, and this needs 4: more than is left of it. PUT /v1/billing/limits raises it. An owner, a member with the role billing or a master key may do so.",
		},
		"Key": {
			prepare: func(b *bundle) string {
				key, _ := b.createKey(b.master(b.project), `{"name":"k","monthly_limit":1}`)["key"].(string)
				b.submit(key, banana)
				return key
			},
			body: banana, code: "quota_exceeded", available: 0, needed: 1, resets: month,
			detail: "This API key may ask for 1 generations a calendar month, and has. The count begins anew on %s; PATCH /v1/keys/{id} raises monthly_limit.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil)
			key := c.prepare(b)
			a := b.do(key, "POST", "/v1/generations", c.body)
			resets := c.resets.Format(time.RFC3339)
			want := []any{http.StatusPaymentRequired, c.code, c.available, c.needed, resets, fmt.Sprintf(c.detail, resets), false, "false", ""}
			got := []any{a.status, a.code(), a.json["available"], a.json["needed"], a.json["resets_at"], a.json["detail"], a.json["retryable"], a.header.Get("X-Should-Retry"), a.header.Get("Retry-After")}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
		})
	}
}

// Whose subscription is not paid is told so, where that is why there is nothing.
func TestCredits_Unpaid(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]string{
		"past_due": "payment_required", "unpaid": "payment_required", "paused": "payment_required", "active": "quota_exceeded", "canceled": "quota_exceeded",
	} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil)
			b.unpaid(status)
			a := b.do(b.live, "POST", "/v1/generations", banana)
			if a.code() != want || a.status != http.StatusPaymentRequired || a.json["available"] != 0.0 {
				t.Errorf("status %d, %s; want %s", a.status, a.body, want)
			}
			// Who has bought credits goes on with these.
			_, _, err := b.db.ChangeCredits(t.Context(), store.CreditChange{OrgID: b.project.OrgID, Kind: store.CreditPurchase, Amount: 1, Bought: true}, time.Now())
			b.must(err)
			if a := b.do(b.live, "POST", "/v1/generations", banana); a.status != http.StatusAccepted {
				t.Errorf("with a bought credit: %s", a.body)
			}
		})
	}
}

// How there is more is what works for the organization as it is, and for whom.
func TestCredits_HowThereIsMore(t *testing.T) {
	t.Parallel()
	const who = " An owner, a member with the role billing or a master key may do so."
	const buy = "%s, and POST /v1/billing/credits gets more credits." + who
	client := newStripe(t)
	for name, c := range map[string]struct {
		plan, status string // of a subscription, if there is one
		off          bool
		want         string
	}{
		"Free":         {plan: "free", want: fmt.Sprintf(buy, "GET /v1/plans lists larger plans, which POST /v1/billing/checkout gets")},
		"Canceled":     {plan: "free", status: "canceled", want: fmt.Sprintf(buy, "GET /v1/plans lists larger plans, which POST /v1/billing/checkout gets")},
		"Subscribed":   {plan: "hobby", status: "active", want: fmt.Sprintf(buy, "GET /v1/plans lists larger plans, which POST /v1/billing/subscription changes to")},
		"Unpaid":       {plan: "hobby", status: "past_due", want: "until its invoice is paid. POST /v1/billing/portal opens where that is done." + who},
		"NoPayments":   {plan: "hobby", status: "active", off: true, want: "Payments are not set up here: whoever runs the service gives more credits, or a larger plan."},
		"SetUnlimited": {plan: "unlimited", want: "Whoever runs the service has set them, and gives more."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, func(o *api.Options) {
				if !c.off {
					o.Billing = client
				}
			})
			b.onPlan(c.plan)
			now := time.Now()
			_, err := b.db.OpenPeriod(t.Context(), b.project.OrgID, now)
			b.must(err)
			_, err = b.db.SetCredits(t.Context(), b.project.OrgID, 0, "to see it", "root@host", now)
			b.must(err)
			if c.status != "" {
				b.change(`INSERT INTO subscription (org_id, customer, plan, status) VALUES ($1, 'cus_1', $2, $3)`, b.project.OrgID, c.plan, c.status)
			}
			a := b.do(b.live, "POST", "/v1/generations", banana)
			if a.status != http.StatusPaymentRequired || !strings.HasSuffix(a.text("detail"), c.want) {
				t.Errorf("%d %s\nwant ... %s", a.status, a.body, c.want)
			}
		})
	}
}
