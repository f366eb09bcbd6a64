package api_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// reasons are the codes of why an estimate would not be accepted.
func (a *answer) reasons() (codes []string) {
	list, _ := a.json["reasons"].([]any)
	for _, r := range list {
		codes = append(codes, r.(map[string]any)["code"].(string))
	}
	return codes
}

func TestEstimate(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.onPlan("hobby")
	_, ends := store.PeriodOf(store.PeriodMonth, nil, time.Now())
	a := b.do(b.live, "POST", "/v1/estimate", `{"prompt":"x","model":"nano-banana-pro","n":3,"aspect_ratio":"16:9"}`)
	want := map[string]any{
		"object": "estimate", "model": "nano-banana-pro", "model_used": "banana-pro", "size": "1376x768", "images": 3.0, "downgraded": nil,
		"per_image": 4.0, "credits": 12.0, "unit_price": "0.0180", "cost": usd("0.2160"), "test": false,
		"would_be_accepted": true, "reasons": []any{}, "available": 500.0, "resets_at": ends.Format(time.RFC3339), "eta_seconds": 20.0,
	}
	if diff := cmp.Diff(want, a.json); diff != "" || a.status != http.StatusOK {
		t.Errorf("status %d (-want +got):\n%s", a.status, diff)
	}
	free := b.do(b.test, "POST", "/v1/estimate", `{"prompt":"x","n":3}`)
	if free.json["credits"] != 0.0 || free.json["test"] != true || free.json["available"] != nil || free.json["would_be_accepted"] != true {
		t.Errorf("with a test key: %s", free.body)
	}
	wrong := b.do(b.live, "POST", "/v1/estimate", `{"prompt":"","n":30,"model":"nobody"}`)
	same := b.do(b.live, "POST", "/v1/generations", `{"prompt":"","n":30,"model":"nobody"}`)
	if diff := cmp.Diff(same.faults(), wrong.faults()); diff != "" || wrong.status != http.StatusUnprocessableEntity {
		t.Errorf("status %d; faults (-submitted +estimated):\n%s", wrong.status, diff)
	}
}

// What is estimated is what is reserved, for whatever is asked.
func TestEstimate_IsWhatIsReserved(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.onPlan("pay_as_you_go")
	for _, body := range []string{
		`{"prompt":"x"}`, `{"prompt":"x","n":10,"size":"3840x2160"}`, `{"prompt":"x","model":"banana-pro","size":"4096x4096","n":2}`,
		`{"prompt":"x","model":"gpt-image-2","quality":"hd","size":"256x256"}`, `{"prompt":"x","model":"gpt-image","quality":"low","n":4}`,
		`{"prompt":"x","model":"gpt-image-2","quality":"high","size":"2048x2048","n":3}`, `{"prompt":"x","model":"dall-e-2","aspect_ratio":"21:9"}`,
	} {
		estimated := b.do(b.live, "POST", "/v1/estimate", body)
		made := b.do(b.live, "POST", "/v1/generations", body)
		receipt := b.do(b.live, "GET", "/v1/generations/"+made.json["id"].(string)+"/receipt", "")
		credits := receipt.json["credits"].(map[string]any)
		got := []any{estimated.json["credits"], estimated.json["per_image"], estimated.json["unit_price"], estimated.json["model_used"]}
		if diff := cmp.Diff([]any{credits["reserved"], credits["per_image"], receipt.json["unit_price"], made.json["model_used"]}, got); diff != "" {
			t.Errorf("%s (-reserved +estimated):\n%s", body, diff)
		}
	}
}

// leftBehind is how many rows there are of what a submission makes.
func (b *bundle) leftBehind() map[string]int {
	b.Helper()
	counts := map[string]int{}
	for _, table := range []string{"generation", "idempotency_key", "credit_account", "credit_entry", "api_key_usage", "rate_limit", "event", "river.river_job"} {
		var n int
		b.must(b.db.Pool().QueryRow(b.Context(), `SELECT count(*) FROM `+table).Scan(&n))
		counts[table] = n
	}
	return counts
}

func TestCreateGeneration_DryRun(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.onPlan("free")
	body := `{"prompt":"x","n":2,"wait":1,"dry_run":true}`
	before := b.leftBehind()
	first := b.do(b.live, "POST", "/v1/estimate", `{"prompt":"x","n":2}`)
	for i := range 25 { // more than the plan lets in an hour
		a := b.do(b.live, "POST", "/v1/generations", body, "Idempotency-Key: one")
		if diff := cmp.Diff(first.json, a.json); diff != "" || a.status != http.StatusOK || a.header.Get("Location") != "" {
			t.Fatalf("%d: status %d (-estimate +dry run):\n%s", i, a.status, diff)
		}
	}
	if diff := cmp.Diff(before, b.leftBehind()); diff != "" {
		t.Errorf("rows (-before +after):\n%s", diff)
	}
	// The key is free for another request.
	if a := b.do(b.live, "POST", "/v1/generations", `{"prompt":"another"}`, "Idempotency-Key: one"); a.status != http.StatusAccepted || a.header.Get("Idempotent-Replayed") != "" {
		t.Errorf("status %d, %s", a.status, a.body)
	}
	if a := b.do(b.live, "POST", "/v1/generations", `{"prompt":"","dry_run":true}`); a.code() != "validation_failed" {
		t.Errorf("what is not valid: %s", a.body)
	}
}

// An estimate foresees what a submission is refused for.
func TestEstimate_Reasons(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare   func(b *bundle) (key string)
		body      string
		want      []string
		available any
		refusal   string // of the submission itself
	}{
		"Credits": {
			prepare: func(b *bundle) string { b.onPlan("free_daily"); return b.live },
			body:    `{"prompt":"x","model":"banana-pro"}`, want: []string{"quota_exceeded"}, available: 3.0, refusal: "quota_exceeded",
		},
		"Budget": {
			prepare: func(b *bundle) string {
				b.onPlan("hobby")
				b.openPeriod()
				b.change(`UPDATE credit_account SET spend_limit = 2 WHERE org_id = $1`, b.project.OrgID)
				return b.live
			},
			body: `{"prompt":"x","n":3}`, want: []string{"spend_limit_reached"}, available: 2.0, refusal: "spend_limit_reached",
		},
		"KeysMonth": {
			prepare: func(b *bundle) string {
				b.onPlan("hobby")
				key, _ := b.createKey(b.master(b.project), `{"name":"k","monthly_limit":1}`)["key"].(string)
				b.submit(key, banana)
				return key
			},
			body: banana, want: []string{"quota_exceeded"}, available: 499.0, refusal: "quota_exceeded",
		},
		"Rate": {
			prepare: func(b *bundle) string { b.onPlan("free"); b.statuses(b.live, 10); return b.live },
			body:    banana, want: []string{"rate_limited"}, available: 40.0, refusal: "rate_limited",
		},
		"RateAndCredits": {
			prepare: func(b *bundle) string { b.onPlan("free"); b.statuses(b.live, 10); return b.live },
			body:    `{"prompt":"x","model":"banana-pro","size":"4096x4096","n":10}`, want: []string{"rate_limited", "quota_exceeded"}, available: 40.0, refusal: "rate_limited",
		},
		"Unpaid": {
			prepare: func(b *bundle) string { b.unpaid("past_due"); return b.live },
			body:    banana, want: []string{"payment_required"}, available: 0.0, refusal: "payment_required",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil)
			key := c.prepare(b)
			a := b.do(key, "POST", "/v1/estimate", c.body)
			if diff := cmp.Diff([]any{false, c.want, c.available}, []any{a.json["would_be_accepted"], a.reasons(), a.json["available"]}); diff != "" {
				t.Errorf("estimate (-want +got):\n%s", diff)
			}
			if made := b.do(key, "POST", "/v1/generations", c.body); made.code() != c.refusal {
				t.Errorf("the submission is answered with %d %s, want %s", made.status, made.code(), c.refusal)
			} else if message := a.json["reasons"].([]any)[0].(map[string]any)["message"]; c.refusal != "rate_limited" && message != made.json["detail"] {
				t.Errorf("foreseen: %v\nmet: %v", message, made.json["detail"])
			}
		})
	}
}

// openPeriod opens the organization's present period.
func (b *bundle) openPeriod() {
	b.Helper()
	_, err := b.db.OpenPeriod(b.Context(), b.project.OrgID, time.Now())
	b.must(err)
}

// unpaid gives the organization a subscription in a state, and a period in which it
// grants nothing.
func (b *bundle) unpaid(status string) {
	b.Helper()
	b.onPlan("hobby")
	b.change(`INSERT INTO subscription (org_id, customer, plan, status) VALUES ($1, 'cus_1', 'hobby', $2)`, b.project.OrgID, status)
	b.change(fmt.Sprintf(`INSERT INTO credit_account (org_id, period, ends_at, plan, credit_micros)
		VALUES ($1, date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', '%s', 'hobby', 18000)`, "2100-01-01T00:00:00Z"), b.project.OrgID)
}
