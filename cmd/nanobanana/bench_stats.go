package main

import (
	"math"
	"slices"
	"time"
)

// quantiles describe a set of durations, in milliseconds.
type quantiles struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// quantilesOf sorts durations and describes them. Each quantile is a duration
// that occurred: the smallest with at least that share at or below it.
func quantilesOf(durations []time.Duration) quantiles {
	slices.Sort(durations)
	return quantiles{
		N: len(durations), P50: millis(quantile(durations, 0.50)), P95: millis(quantile(durations, 0.95)),
		P99: millis(quantile(durations, 0.99)), Max: millis(quantile(durations, 1)),
	}
}

// quantile is the nearest-rank quantile of sorted durations; 0 of none.
func quantile(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	// A share such as 0.95 is a little more or less than written.
	rank := int(math.Ceil(share*float64(len(sorted)) - 1e-9))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// millis rounds to a microsecond.
func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// span is when something began and ended.
type span struct{ from, to time.Time }

// mostAtOnce is the greatest number of spans that overlap.
func mostAtOnce(spans []span) int {
	type edge struct {
		at    time.Time
		delta int
	}
	edges := make([]edge, 0, 2*len(spans))
	for _, s := range spans {
		edges = append(edges, edge{s.from, 1}, edge{s.to, -1})
	}
	slices.SortFunc(edges, func(a, b edge) int {
		if order := a.at.Compare(b.at); order != 0 {
			return order
		}
		return a.delta - b.delta // what ends as another begins does not overlap it
	})
	now, most := 0, 0
	for _, e := range edges {
		now += e.delta
		most = max(most, now)
	}
	return most
}

// perSecond is a rate rounded to a tenth.
func perSecond(n int, took time.Duration) float64 {
	if took <= 0 {
		return 0
	}
	return round(float64(n)/took.Seconds(), 1)
}

// round keeps as many digits after the point.
func round(x float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(x*scale) / scale
}
