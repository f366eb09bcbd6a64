package api_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
			detail: "This needs 2 of your organization's credits, and 1 are left of its plan free_daily until %s. GET /v1/plans lists larger plans, which POST /v1/billing/checkout gets, and POST /v1/billing/credits gets more credits.",
		},
		"Budget": {
			prepare: budget, body: `{"prompt":"x","model":"banana-pro"}`, code: "spend_limit_reached", available: 3, needed: 4, resets: month,
			detail: "Your organization's budget is 4 credits until %s, and this needs 4: more than is left of it. PUT /v1/billing/limits raises it.",
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
