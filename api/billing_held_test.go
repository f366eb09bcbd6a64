package api_test

import (
	"testing"

	stripesim "github.com/nanobanana/nanobanana/billing/simulator"
)

// Where use is metered and not paid, every answer says that nothing is let in, and being
// told so takes nothing of the limits.
func TestBilling_HeldIsSaid(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	s.subscribe("pay_as_you_go")
	s.exec(`UPDATE credit_account SET held = true`)
	s.exec(`UPDATE subscription SET status = 'past_due'`)
	e := s.does(s.live, "POST", "/v1/estimate", `{"prompt":"x"}`, 200)
	if e.json["would_be_accepted"] != false || e.json["available"] != 0.0 {
		t.Errorf("estimate: %s", e.body)
	}
	if u := s.does(s.master, "GET", "/v1/usage/summary", "", 200); u.json["available"] != 0.0 {
		t.Errorf("summary: %s", u.body)
	}
	s.exec(`UPDATE org SET rate_limit = 3 WHERE id = $1`, s.org)
	s.exec(`UPDATE credit_account SET granted = 1, used = 1 WHERE metered`) // given by an operator, and used
	s.eventually("the limit holds", func() bool {
		return s.do(s.live, "GET", "/v1/models", "").status == 200 && s.db.ForgetKeys(t.Context(), s.org) == nil
	})
	for n := range 8 {
		if a := s.do(s.live, "POST", "/v1/generations", `{"prompt":"x"}`); a.status != 402 || a.code() != "payment_required" {
			t.Errorf("submission %d: %d %s", n, a.status, a.body)
		}
	}
	s.exec(`UPDATE credit_account SET granted = 0, used = 0 WHERE metered`)
}
