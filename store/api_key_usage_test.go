package store_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// limited makes a generation of a key with a monthly limit.
func (b *bundle) limited(key string, limit int, at time.Time) *store.NewGeneration {
	return b.unqueued(func(g *store.NewGeneration) {
		g.APIKeyID, g.KeyMonthly, g.CreatedAt, g.DeadlineAt = key, &limit, at, at.Add(time.Hour)
	})
}

func (b *bundle) used(t *testing.T, key string, at time.Time) int {
	t.Helper()
	used, err := b.APIKeyUsage(t.Context(), key, at)
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// Of a shared commit, each key's first generations are taken as far as its limit
// reaches, and others are not concerned.
func TestSubmitGenerations_MonthlyLimits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := time.Date(2026, 11, 30, 23, 59, 59, 0, time.UTC)
	submit := func(want []bool, rows ...*store.NewGeneration) {
		t.Helper()
		if err := b.InsertGenerations(t.Context(), rows); err != nil {
			t.Fatal(err)
		}
		var refused []bool
		for _, row := range rows {
			refused = append(refused, row.Refusal != nil)
			if _, err := b.Generation(t.Context(), b.project.ID, row.ID); (err != nil) != (row.Refusal != nil) {
				t.Errorf("refused %t, but reading it: %v", row.Refusal != nil, err)
			}
		}
		if diff := cmp.Diff(want, refused); diff != "" {
			t.Errorf("refused (-want +got):\n%s", diff)
		}
	}
	submit([]bool{false, false, false, true, false, true},
		b.limited("key_a", 2, at), b.limited("key_b", 1, at), b.limited("key_a", 2, at), b.limited("key_a", 2, at), b.unqueued(nil), b.limited("key_b", 1, at))
	submit([]bool{true}, b.limited("key_a", 2, at))
	submit([]bool{false, true}, b.limited("key_a", 3, at), b.limited("key_a", 3, at)) // raised
	submit([]bool{true}, b.limited("key_a", 1, at))                                   // lowered
	submit([]bool{false, true}, b.limited("key_a", 1, at.Add(time.Second)), b.limited("key_a", 1, at.Add(24*time.Hour)))
	november, december := b.used(t, "key_a", at), b.used(t, "key_a", at.Add(time.Second))
	if november != 3 || december != 1 || b.used(t, "key_1", at) != 0 {
		t.Errorf("%d in November and %d in December, %d of a key without a limit", november, december, b.used(t, "key_1", at))
	}
}

// A replay takes nothing, and what is refused leaves its idempotency key to others.
func TestSubmitGenerations_MonthlyLimitsAndIdempotency(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := time.Now().UTC()
	submit := func(key string, g *store.NewGeneration) (held int) {
		t.Helper()
		others, err := b.SubmitGenerations(t.Context(), []*store.IdempotencyKey{b.idempotencyKey(key, g.ID)}, []*store.NewGeneration{g})
		if err != nil {
			t.Fatal(err)
		}
		return len(others)
	}
	first, replay, over, free := b.limited("key_a", 1, at), b.limited("key_a", 1, at), b.limited("key_a", 1, at), b.unqueued(nil)
	for _, c := range []struct {
		key     string
		g       *store.NewGeneration
		held    int
		refused bool
	}{{"k1", first, 0, false}, {"k1", replay, 1, false}, {"k2", over, 0, true}, {"k2", free, 0, false}} {
		if held := submit(c.key, c.g); held != c.held || (c.g.Refusal != nil) != c.refused {
			t.Errorf("%s: %d held, refused %t, want %d, %t", c.key, held, c.g.Refusal != nil, c.held, c.refused)
		}
	}
	if used := b.used(t, "key_a", at); used != 1 {
		t.Errorf("%d used, want 1", used)
	}
}

// Many transactions at once take exactly what there is.
func TestSubmitGenerations_MonthlyLimitsAreExact(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := time.Now().UTC()
	var mu sync.Mutex
	accepted := map[string]int{}
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			rows := []*store.NewGeneration{b.limited("key_b", 7, at), b.limited("key_a", 5, at), b.limited("key_b", 7, at)}
			if err := b.InsertGenerations(t.Context(), rows); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, row := range rows {
				if row.Refusal == nil {
					accepted[row.APIKeyID]++
				}
			}
		})
	}
	clients.Wait()
	if diff := cmp.Diff(map[string]int{"key_a": 5, "key_b": 7}, accepted); diff != "" {
		t.Errorf("accepted (-want +got):\n%s", diff)
	}
}

// Keys that are counted together share a commit, each as far as its own limit reaches.
func TestSubmitGenerations_MonthlyLimitsOfKeysCountedTogether(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := time.Now().UTC()
	of := func(key string, limit int) *store.NewGeneration {
		g := b.limited(key, limit, at)
		g.KeyUsage = "key_first"
		return g
	}
	for n, want := range [][]bool{{false, true, false, false}, {true, true, false, true}, {true}} {
		rows := []*store.NewGeneration{of("key_first", 3), of("key_first", 3), of("key_second", 4), of("key_third", 4)}
		rows = rows[:len(want)]
		if err := b.InsertGenerations(t.Context(), rows); err != nil {
			t.Fatal(err)
		}
		var refused []bool
		for _, row := range rows {
			refused = append(refused, row.Refusal != nil)
		}
		if diff := cmp.Diff(want, refused); diff != "" {
			t.Errorf("commit %d: refused (-want +got):\n%s", n, diff)
		}
	}
	if used := b.used(t, "key_first", at); used != 4 || b.used(t, "key_second", at) != 0 {
		t.Errorf("%d used together, %d by the second; want 4 and 0", used, b.used(t, "key_second", at))
	}
}

func TestLapseAPIKeyUsage_ForgetsTheOldAndTheDeleted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	kept, gone := b.key(t, "kept", nil), b.key(t, "gone", nil)
	org, err := b.CreateOrg(t.Context(), "deleted", "free", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`UPDATE org SET deleted_at = now() WHERE id = '` + org.ID + `'`,
		`UPDATE api_key SET org_id = '` + org.ID + `' WHERE id = '` + gone.ID + `'`,
		`INSERT INTO api_key_usage (usage_id, month, used, granted)
		SELECT id, date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => age), age, 0
		FROM api_key, generate_series(0, 15) AS age`,
	} {
		if _, err := b.Pool().Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	total := 0
	for n := 1; n > 0; total += n {
		if n, err = b.LapseAPIKeyUsage(t.Context(), 5); err != nil || n > 5 {
			t.Fatalf("lapsed %d, %v; want at most 5", n, err)
		}
	}
	var left int
	if err := b.Pool().QueryRow(t.Context(), `SELECT count(*) FROM api_key_usage WHERE usage_id = $1`, kept.ID).Scan(&left); err != nil {
		t.Fatal(err)
	}
	if total != 18 || left != 14 {
		t.Errorf("%d lapsed and %d left, want the 16 of the deleted and the 2 oldest, and 14", total, left)
	}
}

func TestMonthOf(t *testing.T) {
	t.Parallel()
	far := time.FixedZone("far", 14*60*60)
	for _, c := range []struct{ at, begins, ends string }{
		{"2026-12-31T23:59:59Z", "2026-12-01", "2027-01-01"},
		{"2024-02-29T12:00:00Z", "2024-02-01", "2024-03-01"},
		{"2026-03-01T00:00:00Z", "2026-03-01", "2026-04-01"},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		begins, ends := store.MonthOf(at.In(far))
		if diff := cmp.Diff([]string{c.begins, c.ends}, []string{begins.Format(time.DateOnly), ends.Format(time.DateOnly)}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.at, diff)
		}
	}
}
