package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// Nothing of an entry ever changes, but that what people wrote can be taken out.
func TestCreditEntry_IsNeverChanged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "free")
	c := store.CreditChange{OrgID: org, Kind: store.CreditGrant, Amount: 5, Reason: "for Ada", Actor: "acct_1"}
	if _, _, err := b.ChangeCredits(t.Context(), c, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, set := range []string{
		`granted = granted + 1`, `used = 1`, `micros = 1`, `subject = 'gen_1'`, `kind = 'purchase'`, `period = now()`,
		`reason = 'for Bob'`, `actor = NULL`, `reason = NULL, actor = NULL, granted = 0`,
	} {
		if _, err := b.Pool().Exec(t.Context(), `UPDATE credit_entry SET `+set); err == nil || !strings.Contains(err.Error(), "never changed") {
			t.Errorf("SET %s: %v", set, err)
		}
	}
	before := b.lines(t, `SELECT (to_jsonb(e) - '{reason,actor}'::text[])::text FROM credit_entry AS e ORDER BY id`)
	b.exec(t, `UPDATE org SET deleted_at = now() WHERE id = $1`, org)
	for {
		n, err := b.EraseOrgEvents(t.Context(), org, 10)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	after := b.lines(t, `SELECT (to_jsonb(e) - '{reason,actor}'::text[])::text FROM credit_entry AS e ORDER BY id`)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the books have changed (-before +after):\n%s", diff)
	}
	if written := b.lines(t, `SELECT reason || actor FROM credit_entry WHERE kind = 'grant' AND coalesce(reason, actor) IS NOT NULL`); len(written) > 0 {
		t.Errorf("left: %q", written)
	}
	b.wantNoFaults(t)
}

// Of a person who is erased, the log of requests does not say from where they came.
func TestEraseAccount_LoggedRequests(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, bob := b.claimant(t, "ada@example.com"), b.claimant(t, "bob@example.com")
	for _, a := range []*store.Account{ada, bob} {
		b.exec(t, `
			INSERT INTO request_log (id, org_id, account_id, method, path, status, ms, ip, user_agent, test, created_at)
			VALUES ('req_' || $1, 'org_1', $1, 'POST', '/', 400, 1, '192.0.2.1', 'curl', false, now())`, a.ID)
	}
	err := b.Transact(t.Context(), func(tx *store.DB) error { _, err := tx.EraseAccount(t.Context(), ada.ID); return err })
	if err != nil {
		t.Fatal(err)
	}
	got := b.lines(t, `SELECT format('%s, %s', ip, user_agent) FROM request_log ORDER BY account_id = $1`, ada.ID)
	if diff := cmp.Diff([]string{"192.0.2.1, curl"}, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}
