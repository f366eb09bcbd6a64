package store_test

import (
	"fmt"
	"testing"

	"github.com/nanobanana/nanobanana/store"
)

// A percentile is never further from the duration that it stands for than is promised.
func TestLatencyPercentile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "pay_as_you_go")
	for _, ms := range []int{260, 1000, 5000, 77_000, 500_000} {
		b.exec(t, `DELETE FROM usage_hour`)
		b.exec(t, `DELETE FROM usage_day`)
		g := b.priced(org, 1)
		if err := b.InsertGenerations(t.Context(), []*store.NewGeneration{g}); err != nil {
			t.Fatal(err)
		}
		c := b.claim(t, g.ID)
		b.exec(t, `UPDATE generation SET created_at = now() - $2::int * interval '1 millisecond' WHERE id = $1`, g.ID, ms)
		b.delivers(t, c, g, 1, 1)
		rows, err := b.Usage(t.Context(), today(org))
		if err != nil {
			t.Fatal(err)
		}
		if got := float64(store.LatencyPercentile(rows[0].Latency, 50)); got < float64(ms)/1.20 || got > float64(ms)*1.20 {
			t.Errorf("%d ms are read as %.0f", ms, got)
		}
	}
	latency := make([]int64, 24)
	read := func() string {
		return fmt.Sprint(store.LatencyPercentile(latency, 50), store.LatencyPercentile(latency, 90), store.LatencyPercentile(latency, 99))
	}
	for want, change := range map[string]map[int]int64{
		"0 0 0":             {},
		"210 210 210":       {0: 1},
		"210 297 608874":    {0: 50, 1: 48, 23: 2},
		"297 608874 608874": {0: 1, 1: 5, 23: 4},
	} {
		clear(latency)
		for class, n := range change {
			latency[class] = n
		}
		if got := read(); got != want {
			t.Errorf("%v: %s, want %s", change, got, want)
		}
	}
}
