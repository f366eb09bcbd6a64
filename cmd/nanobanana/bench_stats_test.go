package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestQuantilesOf(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[len(hundred)-1-i] = time.Duration(i+1) * time.Millisecond // largest first
	}
	tests := []struct {
		name      string
		durations []time.Duration
		want      quantiles
	}{
		{"none", nil, quantiles{}},
		{"one", []time.Duration{1500 * time.Microsecond}, quantiles{N: 1, P50: 1.5, P95: 1.5, P99: 1.5, Max: 1.5}},
		{"two", []time.Duration{2 * time.Millisecond, time.Millisecond}, quantiles{N: 2, P50: 1, P95: 2, P99: 2, Max: 2}},
		{"hundred, unsorted", hundred, quantiles{N: 100, P50: 50, P95: 95, P99: 99, Max: 100}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, quantilesOf(tt.durations)); diff != "" {
				t.Errorf("quantiles (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMostAtOnce(t *testing.T) {
	t.Parallel()
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	tests := []struct {
		name  string
		spans []span
		want  int
	}{
		{"none", nil, 0},
		{"one after the other", []span{{at(1), at(2)}, {at(2), at(3)}}, 1},
		{"nested", []span{{at(1), at(9)}, {at(2), at(3)}, {at(4), at(6)}, {at(5), at(7)}}, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := mostAtOnce(tt.spans); got != tt.want {
				t.Errorf("mostAtOnce = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestSummaries(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_000_000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	jobs := []*benchJob{
		{sent: at(0), accepted: at(3), called: at(5), ended: at(209)},
		{sent: at(10), accepted: at(16), called: at(15), ended: at(223)}, // called before the answer was read
		{sent: at(20), accepted: at(21)},                                 // the journal has forgotten it
	}
	provider := 200 * time.Millisecond
	t.Run("submit", func(t *testing.T) {
		t.Parallel()
		want := submitPhase{Clients: 2, Jobs: 3, SubmitsPerSecond: 30, Submit: quantiles{N: 3, P50: 3, P95: 6, P99: 6, Max: 6}}
		if diff := cmp.Diff(want, summarizeSubmit(jobs, 2, 100*time.Millisecond)); diff != "" {
			t.Errorf("submit (-want +got):\n%s", diff)
		}
	})
	t.Run("drain", func(t *testing.T) {
		t.Parallel()
		runs := []span{{at(23), at(208)}, {at(123), at(222)}}
		want := drainPhase{Jobs: 3, JobsPerSecond: 15, PeakInFlight: 2, Finish: quantiles{N: 2, P50: 4, P95: 8, P99: 8, Max: 8}}
		if diff := cmp.Diff(want, summarizeDrain(jobs, runs, provider)); diff != "" {
			t.Errorf("drain (-want +got):\n%s", diff)
		}
	})
	t.Run("steady", func(t *testing.T) {
		t.Parallel()
		want := steadyPhase{
			Jobs: 3, RatePerSecond: steadyRate,
			Submit:      quantiles{N: 3, P50: 3, P95: 6, P99: 6, Max: 6},
			Pickup:      quantiles{N: 2, P50: 5, P95: 5, P99: 5, Max: 5},
			PickupAfter: quantiles{N: 2, P50: 0, P95: 2, P99: 2, Max: 2},
			Finish:      quantiles{N: 2, P50: 4, P95: 8, P99: 8, Max: 8},
			EndToEnd:    quantiles{N: 2, P50: 209, P95: 213, P99: 213, Max: 213},
		}
		if diff := cmp.Diff(want, summarizeSteady(jobs, provider)); diff != "" {
			t.Errorf("steady (-want +got):\n%s", diff)
		}
	})
}
