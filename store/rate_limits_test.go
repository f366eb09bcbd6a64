package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

func TestTakeRateLimits_OneAfterTheOtherInOneStatement(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	line := func(bucket string, cost time.Duration) store.RateTake {
		return store.RateTake{Bucket: bucket, Period: time.Hour, Cost: cost}
	}
	got, err := db.TakeRateLimits(t.Context(), [][]store.RateTake{
		{line("a", 20*time.Minute)},
		{line("b", 50*time.Minute), line("a", 20*time.Minute)},
		{line("b", 20*time.Minute), line("a", 20*time.Minute)}, // b is too full
		{line("a", 20*time.Minute)},                            // counts with the first
		{line("c", 2*time.Hour)},                               // never
		{line("a", time.Minute)},
	})
	if err != nil {
		t.Fatal(err)
	}
	const m = time.Minute
	if diff := cmp.Diff([][]time.Duration{{0}, {0, 40 * m}, {50 * m, 60 * m}, {20 * m}, {0}, {60 * m}}, got); diff != "" {
		t.Errorf("how full they were (-want +got):\n%s", diff)
	}
}

func TestTakeRateLimits_EqualTakesPassAsFarAsThereIsRoom(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	take := []store.RateTake{{Bucket: "wide", Period: time.Hour, Cost: 10 * time.Minute}, {Bucket: "narrow", Period: time.Hour, Cost: 25 * time.Minute}}
	other := []store.RateTake{{Bucket: "wide", Period: time.Hour, Cost: 10 * time.Minute}}
	got, err := db.TakeRateLimits(t.Context(), [][]store.RateTake{take, take, other, take, other})
	if err != nil {
		t.Fatal(err)
	}
	const m = time.Minute
	want := [][]time.Duration{{0, 0}, {10 * m, 25 * m}, {20 * m}, {30 * m, 50 * m}, {30 * m}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("how full they were (-want +got):\n%s", diff)
	}
}

func TestLapseRateLimits_ForgetsTheEmpty(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	for bucket, cost := range map[string]time.Duration{"full": time.Hour, "empty": time.Microsecond, "refused": 2 * time.Hour} {
		if _, err := db.TakeRateLimits(t.Context(), [][]store.RateTake{{{Bucket: bucket, Period: time.Hour, Cost: cost}}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{1, 1, 0} {
		if n, err := db.LapseRateLimits(t.Context(), 1); err != nil || n != want {
			t.Errorf("lapsed %d, %v; want %d", n, err, want)
		}
	}
	got, err := db.TakeRateLimits(t.Context(), [][]store.RateTake{{{Bucket: "full", Period: time.Hour, Cost: time.Hour}}})
	if err != nil || got[0][0] < 59*time.Minute {
		t.Errorf("the full one is filled for %v, %v; want it kept", got, err)
	}
}
