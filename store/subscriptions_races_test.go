package store_test

import (
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// A subscription that is paid locks an organization's accounts in the order in which
// deliveries do, the earliest first: neither waits for the other in a circle.
func TestApplySubscription_BesideADelivery(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	l.change(t, store.CreditPurchase, 100)
	l.reserve(t, 120) // of what was bought, too, which stays in the earlier account
	apply := l.applies(t)
	start := l.at
	apply("pay_as_you_go", "active", start)
	l.at = l.at.Add(time.Hour)
	apply("pay_as_you_go", "past_due", start)
	l.at = l.at.Add(time.Hour)

	tx, err := l.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	lock := func(which string) {
		t.Helper()
		if _, err := tx.Exec(t.Context(), `
			UPDATE credit_account SET used = used
			WHERE org_id = $1 AND period = (SELECT `+which+`(period) FROM credit_account WHERE org_id = $1)`, l.org); err != nil {
			t.Fatal(err)
		}
	}
	lock("min")
	paid := make(chan error, 1)
	go func() {
		_, err := l.ApplySubscription(t.Context(), store.FetchedSubscription{
			ID: "sub_1", Customer: "cus_1", Plan: "pay_as_you_go", Status: "active", PeriodStart: start, PeriodEnd: start.AddDate(0, 1, 0),
			FetchedAt: start.Add(time.Hour),
		}, l.at)
		paid <- err
	}()
	waits := `SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`
	for end := time.Now().Add(10 * time.Second); l.lines(t, waits)[0] == "0"; {
		if time.Now().After(end) {
			t.Fatal("it does not wait")
		}
	}
	lock("max")
	if err := tx.Commit(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-paid; err != nil {
		t.Error(err)
	}
	if account, err := l.OpenPeriod(t.Context(), l.org, l.at); err != nil || account.Held {
		t.Errorf("paid: %+v, %v", account, err)
	}
	l.wantNoFaults(t)
}
