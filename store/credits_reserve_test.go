package store_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// whys are why generations were refused, "" for those that were recorded, which it
// compares with what is there.
func (b *bundle) whys(t *testing.T, rows ...*store.NewGeneration) []string {
	t.Helper()
	list := make([]string, len(rows))
	for i, row := range rows {
		if row.Refusal != nil {
			list[i] = row.Refusal.Why
		}
		if _, err := b.Generation(t.Context(), b.project.ID, row.ID); (err == nil) != (row.Refusal == nil) {
			t.Errorf("refused: %+v, but reading it: %v", row.Refusal, err)
		}
	}
	return list
}

func (b *bundle) wantNoFaults(t *testing.T) {
	t.Helper()
	if faults, err := b.CreditFaults(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("%v, faults:\n%s", err, strings.Join(faults, "\n"))
	}
}

// keyed is a generation that costs so many credits, of a key with a monthly limit.
func (b *bundle) keyed(org, key string, limit, credits int) *store.NewGeneration {
	g := b.priced(org, credits)
	g.APIKeyID, g.KeyMonthly = key, &limit
	return g
}

// What a key's limit lets in and credits do not leaves its place to who is behind it
// in the same commit, however often that repeats.
func TestSubmitGenerations_KeyLimitAndCredits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "free")
	if _, err := b.OpenPeriod(t.Context(), org, time.Now()); err != nil {
		t.Fatal(err)
	}
	rows := []*store.NewGeneration{
		b.keyed(org, "key_a", 1, 60), b.keyed(org, "key_b", 1, 70), b.keyed(org, "key_a", 1, 51), b.keyed(org, "key_a", 1, 1),
		b.keyed(org, "key_b", 1, 2), b.keyed(org, "key_a", 1, 1),
	}
	var keys []*store.IdempotencyKey
	for _, row := range rows {
		keys = append(keys, b.idempotencyKey(row.ID, row.ID))
	}
	if held, err := b.SubmitGenerations(t.Context(), keys, rows); err != nil || len(held) > 0 {
		t.Fatal(held, err)
	}
	if diff := cmp.Diff([]string{"credits", "credits", "credits", "", "", "key"}, b.whys(t, rows...)); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	if a, k := b.used(t, "key_a", rows[0].CreatedAt), b.used(t, "key_b", rows[0].CreatedAt); a != 1 || k != 1 {
		t.Errorf("the keys have used %d and %d, want 1 and 1", a, k)
	}
	taken := b.lines(t, `SELECT generation_id FROM idempotency_key ORDER BY generation_id`)
	if diff := cmp.Diff([]string{rows[3].ID, rows[4].ID}, taken); diff != "" {
		t.Errorf("idempotency keys (-want +got):\n%s", diff)
	}
	b.wantNoFaults(t)
}

// A batch is recorded whole or not at all, whatever refuses a part of it, and takes
// nothing then.
func TestSubmitGenerations_BatchesAreWhole(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "free")
	batch := func(id string, rows ...*store.NewGeneration) []*store.NewGeneration {
		for _, row := range rows {
			row.BatchID = id
		}
		return rows
	}
	for name, c := range map[string]struct {
		rows []*store.NewGeneration
		why  string
	}{
		"key":     {batch("batch_1", b.keyed(org, "key_a", 1, 1), b.keyed(org, "key_a", 1, 1)), store.RefusedKey},
		"credits": {batch("batch_2", b.keyed(org, "key_a", 9, 50), b.keyed(org, "key_a", 9, 1)), store.RefusedCredits},
	} {
		if err := b.InsertGenerations(t.Context(), c.rows); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{c.why, c.why}, b.whys(t, c.rows...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	whole := batch("batch_3", b.keyed(org, "key_a", 2, 20), b.keyed(org, "key_a", 2, 30))
	if err := b.InsertGenerations(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"", ""}, b.whys(t, whole...)); diff != "" {
		t.Error(diff)
	}
	if used, want := b.credits(t, org), "50 granted, 50 reserved, 0 used"; used != want {
		t.Errorf("%s, want %s", used, want)
	}
	if entries := b.lines(t, `SELECT subject FROM credit_entry WHERE kind = 'reserve'`); len(entries) != 1 {
		t.Errorf("reserved as %q, want one entry", entries)
	}
	b.wantNoFaults(t)
}

// A metered plan lets in whatever there is, and a limit that the organization has set
// itself holds on any plan.
func TestSubmitGenerations_SpendLimit(t *testing.T) {
	t.Parallel()
	for _, plan := range []string{"free", "pay_as_you_go"} {
		t.Run(plan, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			org := b.org(t, plan)
			b.exec(t, `INSERT INTO budget (org_id, credits, alerts, hard_stop) VALUES ($1, 10, '{}', true)`, org)
			rows := []*store.NewGeneration{b.priced(org, 4), b.priced(org, 6), b.priced(org, 7)}
			if err := b.InsertGenerations(t.Context(), rows); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"", "", store.RefusedBudget}, b.whys(t, rows...)); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
			b.wantNoFaults(t)
		})
	}
}

// Where one of a shared commit has no account, it alone is not recorded, nor is its key
// taken or its key's limit used: it can be submitted again by itself.
func TestSubmitGenerations_NoAccount(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "free")
	if _, err := b.OpenPeriod(t.Context(), org, time.Now()); err != nil {
		t.Fatal(err)
	}
	rows := []*store.NewGeneration{b.priced(org, 1), b.unqueued(nil), b.keyed("org_late", "key_a", 2, 1), b.priced("org_late", 1), b.priced("org_late", 1)}
	rows[3].BatchID, rows[4].BatchID = "batch_1", "batch_1"
	keys := []*store.IdempotencyKey{b.idempotencyKey("k", rows[0].ID), b.idempotencyKey("l", rows[2].ID)}
	if held, err := b.SubmitGenerations(t.Context(), keys, rows); err != nil || len(held) > 0 {
		t.Fatal(held, err)
	}
	if diff := cmp.Diff([]string{"", "", store.RefusedPeriod, store.RefusedPeriod, store.RefusedPeriod}, b.whys(t, rows...)); diff != "" {
		t.Error(diff)
	}
	left := b.lines(t, `
		SELECT 'generation ' || id FROM generation UNION ALL SELECT key FROM idempotency_key UNION ALL SELECT usage_id FROM api_key_usage WHERE used > 0
		UNION ALL SELECT subject FROM credit_entry WHERE kind = 'reserve' ORDER BY 1`)
	if diff := cmp.Diff(slices.Sorted(slices.Values([]string{"generation " + rows[0].ID, "generation " + rows[1].ID, "k", rows[0].ID})), left); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	if err := b.InsertGenerations(t.Context(), []*store.NewGeneration{b.priced(org, 1), rows[2]}); err != nil || rows[2].Refusal == nil || !errors.Is(rows[2].Refusal.Err, store.ErrNotFound) {
		t.Errorf("of an unknown organization: %v, %+v", err, rows[2].Refusal)
	}
	b.exec(t, `INSERT INTO org (id, name, plan) VALUES ('org_late', 'o', 'free')`)
	if err := b.InsertGenerations(t.Context(), rows[2:]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"", "", ""}, b.whys(t, rows[2:]...)); diff != "" {
		t.Error(diff)
	}
	b.wantNoFaults(t)
}

// The two months of a submission at their turn each give what they have.
func TestSubmitGenerations_PeriodTurn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "free")
	turn := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	at := func(credits int, when time.Time) *store.NewGeneration {
		g := b.priced(org, credits)
		g.CreatedAt = when
		return g
	}
	before := turn.Add(-time.Microsecond)
	rows := []*store.NewGeneration{at(50, turn), at(50, before), at(51, turn), at(51, before)}
	if err := b.InsertGenerations(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"", "", "credits", "credits"}, b.whys(t, rows...)); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	if !rows[2].Refusal.ResetsAt.Equal(turn.AddDate(0, 1, 0)) || !rows[3].Refusal.ResetsAt.Equal(turn) {
		t.Errorf("they are renewed at %s and %s", rows[2].Refusal.ResetsAt, rows[3].Refusal.ResetsAt)
	}
	b.wantNoFaults(t)
}

// A process that dies at whichever table it was just writing leaves nothing of a
// submission, and of an end nothing but the reservation.
func TestCredits_DeathAtAnyTable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `CREATE OR REPLACE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$`)
	t.Cleanup(func() { _, _ = b.Pool().Exec(context.Background(), `DROP FUNCTION IF EXISTS die CASCADE`) })
	org := b.org(t, "free")
	dieAt := func(table, verbs string, act func() error) {
		t.Helper()
		b.exec(t, `CREATE TRIGGER die AFTER `+verbs+` ON `+table+` FOR EACH ROW EXECUTE FUNCTION die()`)
		if err := act(); err == nil {
			t.Errorf("%s: it did not die", table)
		}
		b.exec(t, `DROP TRIGGER die ON `+table)
		b.wantNoFaults(t)
	}
	submit := func() (*store.NewGeneration, error) {
		g := b.keyed(org, "key_a", 5, 10)
		_, err := b.SubmitGenerations(t.Context(), []*store.IdempotencyKey{b.idempotencyKey(g.ID, g.ID)}, []*store.NewGeneration{g})
		return g, err
	}
	if _, err := b.OpenPeriod(t.Context(), org, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"idempotency_key", "api_key_usage", "credit_account", "credit_entry", "admission", "river.river_job", "generation", "event"} {
		dieAt(table, "INSERT OR UPDATE", func() error { _, err := submit(); return err })
		if got, want := b.credits(t, org), "50 granted, 0 reserved, 0 used"; got != want {
			t.Errorf("%s: %s, want %s", table, got, want)
		}
	}
	g, err := submit()
	if err != nil {
		t.Fatal(err)
	}
	claims, err := b.ClaimGenerations(t.Context(), store.Claimer{Worker: "w"}, []store.Ticket{{GenerationID: g.ID, RiverJobID: *g.RiverJobID}})
	if err != nil || claims[0] == nil {
		t.Fatal(claims, err)
	}
	end := func() error {
		_, err := b.FinishGenerations(t.Context(), store.Sender{}, []*store.Outcome{succeeded(claims[0])})
		return err
	}
	for _, table := range []string{"generation", "image", "attempt", "credit_account", "credit_entry", "usage_hour", "usage_day", "admission", "event"} {
		dieAt(table, "INSERT OR UPDATE", end)
		if got, want := b.credits(t, org), "50 granted, 10 reserved, 0 used"; got != want {
			t.Errorf("%s: %s, want %s", table, got, want)
		}
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if got, want := b.credits(t, org), "50 granted, 0 reserved, 10 used"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if used := b.used(t, "key_a", g.CreatedAt); used != 1 {
		t.Errorf("the key has used %d, want 1", used)
	}
	b.wantNoFaults(t)
}
