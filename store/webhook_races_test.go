package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store"
)

// Of two failed attempts of one delivery the rightful ticket's counts, whichever is
// written first: otherwise nobody would ever attempt it again.
func TestRecordSent_TheRightfulOfTwoFailures(t *testing.T) {
	t.Parallel()
	for _, order := range [][]int{{0, 1}, {1, 0}} {
		b := setup(t)
		endpoint := b.endpoint(t, []string{"generation.queued"}, "")
		old := b.errands(t, endpoint, 1)[0]
		if _, err := b.Redeliver(t.Context(), b.scope(), endpoint, old.EventID); err != nil {
			t.Fatal(err)
		}
		rightful := old
		if err := b.Pool().QueryRow(t.Context(), `SELECT ticket FROM webhook_delivery`).Scan(&rightful.Ticket); err != nil {
			t.Fatal(err)
		}
		both := []*store.Sent{sent(old, store.DeliveryPending), sent(rightful, store.DeliveryPending)}
		if err := b.RecordSent(t.Context(), 0, []*store.Sent{both[order[0]], both[order[1]]}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"pending tries=1 attempts=1 logged=1 ticket=waits"}, b.deliveries(t)); diff != "" {
			t.Errorf("%v: %s", order, diff)
		}
	}
}

// held runs change in a transaction that has begun and not ended while act runs, and
// ends it when act waits for it.
func (b *bundle) held(t *testing.T, change string, commit bool, act func() error) {
	t.Helper()
	tx, err := b.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- act() }()
	waits := `SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`
	for end := time.Now().Add(10 * time.Second); b.lines(t, waits)[0] == "0"; {
		if time.Now().After(end) {
			t.Fatal("it does not wait")
		}
	}
	if commit {
		err = tx.Commit(t.Context())
	} else {
		err = tx.Rollback(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestRecordSent_ASuccessWhileItWasTakenBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.errands(t, b.endpoint(t, []string{"generation.queued"}, ""), 1)[0]
	b.held(t, `UPDATE webhook_delivery SET ticket = NULL, due_at = now()`, true, func() error {
		return b.RecordSent(t.Context(), 0, []*store.Sent{sent(e, store.DeliveryDelivered)})
	})
	if diff := cmp.Diff([]string{"delivered tries=1 attempts=1 logged=1 ticket=none"}, b.deliveries(t)); diff != "" {
		t.Error(diff)
	}
}

// Whoever holds a delivery may leave it as it was.
func TestPutBackErrands_WhileItIsHeld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.errands(t, b.endpoint(t, []string{"generation.queued"}, ""), 1)
	b.held(t, `UPDATE webhook_delivery SET tries = 7`, false, func() error { return b.PutBackErrands(t.Context(), e) })
	if diff := cmp.Diff([]string{"pending tries=0 attempts=0 logged=0 ticket=waits"}, b.deliveries(t)); diff != "" {
		t.Error(diff)
	}
}

// What an address answered before it was changed does not end a delivery.
func TestRecordSent_GoneWhereItWasBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.errands(t, b.endpoint(t, []string{"generation.queued"}, ""), 1)[0]
	b.change(t, `UPDATE webhook_endpoint SET url = 'https://new.example.com', revision = revision + 1`)
	s := sent(e, store.DeliveryFailed)
	s.Gone = true
	if err := b.RecordSent(t.Context(), 0, []*store.Sent{s}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"pending tries=1 attempts=1 logged=1 ticket=waits"}, b.deliveries(t)); diff != "" {
		t.Error(diff)
	}
	if n := b.release(t, 0); n != 1 {
		t.Errorf("%d released", n)
	}
}

func TestHoldErrand_OfAnEndpointThatIsEnabledAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.errands(t, b.endpoint(t, []string{"generation.queued"}, ""), 1)[0]
	for _, enabled := range []bool{true, false} {
		if !enabled {
			b.change(t, `UPDATE webhook_endpoint SET disabled_at = now(), disabled_reason = 'asked'`)
		}
		held, err := b.HoldErrand(t.Context(), e, store.DeliveryHeld)
		if err != nil || held == enabled {
			t.Errorf("enabled %t: held %t, %v", enabled, held, err)
		}
	}
}

// The webhook_urls of one project are no other's lane.
func TestReleaseErrands_ProjectsDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	b := setup(t)
	url := "https://example.com/hook"
	told := func(g *store.NewGeneration) {
		g.WebhookURL, g.WebhookEvents = &url, []string{"generation.queued"}
	}
	for range 50 {
		b.queued(t, told)
	}
	org, err := b.CreateOrg(t.Context(), "other", "free", nil)
	if err != nil {
		t.Fatal(err)
	}
	other := *b
	if other.project, err = b.CreateProject(t.Context(), org.ID, "other"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		other.queued(t, told)
	}
	b.wait(t)
	if n := b.release(t, 0); n != 26 {
		t.Errorf("%d released", n)
	}
	got := b.lines(t, `
		SELECT count(*)::text FROM webhook_delivery WHERE ticket IS NOT NULL AND project_id = @other`, pgx.NamedArgs{"other": other.project.ID})
	if diff := cmp.Diff([]string{"10"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestRescueErrands(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.errands(t, b.endpoint(t, []string{"generation.queued"}, ""), 4)
	b.change(t, `UPDATE river.river_job SET state = 'completed', finalized_at = now() WHERE id = $1`, e[0].Ticket)
	b.change(t, `DELETE FROM river.river_job WHERE id = $1`, e[1].Ticket)
	b.change(t, `UPDATE webhook_delivery SET state = 'delivered', ticket = NULL WHERE event_id = $1`, e[3].EventID)
	if n, err := b.RescueErrands(t.Context(), time.Hour); n != 2 || err != nil {
		t.Error(n, err)
	}
	want := []string{
		"pending tries=0 attempts=0 logged=0 ticket=waits", "pending tries=0 attempts=0 logged=0 ticket=waits",
		"pending tries=0 attempts=0 logged=0 ticket=available", "delivered tries=0 attempts=0 logged=0 ticket=none",
	}
	if diff := cmp.Diff(want, b.deliveries(t)); diff != "" {
		t.Error(diff)
	}
}
