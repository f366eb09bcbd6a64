package api_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// A key past its monthly limit takes nothing of what others share with it, and what
// repeats an earlier request goes on.
func TestLimits_SpentMonthsTakeNothing(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.onPlan("free")
	key, _ := b.createKey(b.master(b.project), `{"name":"k","monthly_limit":1}`)["key"].(string)
	first := b.do(key, "POST", "/v1/generations", banana, "Idempotency-Key: one")
	var want []int
	for range 20 {
		want = append(want, http.StatusPaymentRequired)
	}
	if diff := cmp.Diff(want, b.statuses(key, 20)); diff != "" {
		t.Errorf("past the month's limit (-want +got):\n%s", diff)
	}
	if a := b.do(key, "POST", "/v1/generations", banana, "Idempotency-Key: one"); a.status != http.StatusAccepted || a.json["id"] != first.json["id"] {
		t.Errorf("status %d, %s; want the first generation again", a.status, a.body)
	}
	if a := b.do(key, "POST", "/v1/generations", banana, "Idempotency-Key: two"); a.code() != "quota_exceeded" {
		t.Errorf("status %d, %s; want quota_exceeded", a.status, a.body)
	}
	// One was made, and one found out.
	if diff := cmp.Diff([]int{202, 202, 202, 202, 202, 202, 202, 202, 429}, b.statuses(b.live, 9)); diff != "" {
		t.Errorf("another key then (-want +got):\n%s", diff)
	}
}

// An organization without credits is told so, however often it asks, and not that
// waiting helps. Once it has some its limits are as full as they were.
func TestLimits_WithoutCreditsTakesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.onPlan("free")
	first := b.do(b.live, "POST", "/v1/generations", banana, "Idempotency-Key: one")
	b.change(`UPDATE credit_account SET granted = reserved WHERE org_id = $1`, b.project.OrgID)
	var want []int
	for range 20 {
		want = append(want, http.StatusPaymentRequired)
	}
	if diff := cmp.Diff(want, b.statuses(b.live, 20)); diff != "" {
		t.Errorf("without credits (-want +got):\n%s", diff)
	}
	a := b.do(b.live, "POST", "/v1/generations", banana)
	if a.code() != "quota_exceeded" || a.json["available"] != 0. || a.json["needed"] != 1. || a.json["resets_at"] == nil {
		t.Errorf("what is refused is told: %s", a.body)
	}
	if a := b.do(b.live, "POST", "/v1/generations", banana, "Idempotency-Key: one"); a.status != http.StatusAccepted || a.json["id"] != first.json["id"] {
		t.Errorf("status %d, %s; want the first generation again", a.status, a.body)
	}
	if a := b.do(b.test, "POST", "/v1/generations", banana); a.status != http.StatusAccepted {
		t.Errorf("a test key gets %d", a.status)
	}
	// Some are there at once, and no more of them are let in than before.
	b.change(`UPDATE credit_account SET granted = reserved + 2 WHERE org_id = $1`, b.project.OrgID)
	if diff := cmp.Diff([]int{202, 202, 402, 402}, b.statuses(b.live, 4)); diff != "" {
		t.Errorf("with two (-want +got):\n%s", diff)
	}
	b.change(`UPDATE credit_account SET granted = 1000 WHERE org_id = $1`, b.project.OrgID)
	// Three were made, and twice one found out.
	if diff := cmp.Diff([]int{202, 202, 202, 202, 202, 429}, b.statuses(b.live, 6)); diff != "" {
		t.Errorf("then (-want +got):\n%s", diff)
	}
}

// queries returns how often work asked the database.
func (b *bundle) queries(work func()) int64 {
	b.Helper()
	before := b.db.Pool().Stat().AcquireCount()
	work()
	return b.db.Pool().Stat().AcquireCount() - before
}

func TestLimits_ReplaysPastThemAreLookedUpOnlySoOften(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.onPlan("free")
	b.do(b.live, "POST", "/v1/generations", banana, "Idempotency-Key: one")
	b.statuses(b.live, 10)
	statuses := map[int]int{}
	asked := b.queries(func() {
		for i := range 300 {
			statuses[b.do(b.live, "POST", "/v1/generations", banana, fmt.Sprint("Idempotency-Key: fresh-", i)).status]++
		}
	})
	if asked < 60 || asked > 120 || statuses[http.StatusTooManyRequests] != 300 {
		t.Errorf("%d queries, answered %v; want about 60 look-ups and 300 of 429", asked, statuses)
	}
	if a := b.do(b.test, "POST", "/v1/generations", banana, "Idempotency-Key: one"); a.status != http.StatusAccepted {
		t.Errorf("another key gets %d", a.status)
	}
}

// Keys that nobody knows are looked up until their number shows what they are. Those
// that are known pass, also when it is time to ask for them again.
func TestLimits_GuessesReachNoDatabase(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) {
		o.Keys = auth.NewKeys(auth.Options{DB: o.DB, DatabaseSecret: "database secret", DeafTTL: time.Nanosecond, UnknownTTL: time.Hour})
	})
	b.do(b.live, "GET", "/v1/models", "")
	var unknown []string
	stranger := auth.NewKeys(auth.Options{DB: b.db, DatabaseSecret: "of another database"})
	for range 300 {
		key, row, err := stranger.Create(b.Context(), nil, auth.NewKey{OrgID: b.project.OrgID, ProjectID: b.project.ID, Name: "x", Kind: store.KeyLive})
		b.must(err)
		b.must(b.db.ForgetKeys(b.Context(), row.ID))
		unknown = append(unknown, key)
	}
	codes := map[string]int{}
	asked := b.queries(func() {
		for _, key := range unknown {
			codes[b.do(key, "GET", "/v1/models", "").code()]++
		}
	})
	if asked < 120 || asked > 180 || codes["invalid_api_key"] < 120 || codes["rate_limited"] < 100 || len(codes) != 2 {
		t.Errorf("%d queries, answered %v; want about 120 of both, and the others refused", asked, codes)
	}
	if a := b.do(b.live, "GET", "/v1/models", ""); a.status != http.StatusOK {
		t.Errorf("a good key of the same address gets %d", a.status)
	}
}

// Whoever was short and has a plan now is let in, though the process's clock is behind the
// change; estimates say so, and the receipt of what was before has its plan.
func TestLimits_OfAClockBehindAChangeOfPlan(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.Now = func() time.Time { return time.Now().Add(-time.Second) } })
	b.onPlan("free")
	before := b.submit(b.live, banana)
	b.change(`UPDATE credit_account SET granted = reserved WHERE org_id = $1`, b.project.OrgID)
	if a := b.do(b.live, "POST", "/v1/generations", banana); a.code() != "quota_exceeded" {
		t.Fatalf("without credits: %d %s", a.status, a.body)
	}
	now := time.Now()
	_, err := b.db.ChangePlan(t.Context(), store.PlanChange{OrgID: b.project.OrgID, Plan: "hobby", Anchor: &now}, now)
	b.must(err)
	if a := b.do(b.live, "POST", "/v1/estimate", banana); a.json["available"] != 500. || a.json["would_be_accepted"] != true {
		t.Errorf("the estimate: %s", a.body)
	}
	if a := b.do(b.live, "POST", "/v1/generations", banana); a.status != http.StatusAccepted {
		t.Errorf("on hobby: %d %s", a.status, a.body)
	}
	receipt := b.do(b.live, "GET", "/v1/generations/"+before+"/receipt", "")
	period, _ := receipt.json["period"].(map[string]any)
	if want := now.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano); receipt.json["plan"] != "free" || period["ends_at"] != want {
		t.Errorf("the receipt of before says plan %v and period %v, want free until %s", receipt.json["plan"], period, want)
	}
}
