package simulator

import (
	"math"
	"math/rand/v2"
	"time"
)

// The shape of the measured latencies: lognormal, whose 95th percentile is then
// 2.1 times the median, and one straggler in a hundred.
const (
	latencySigma  = 0.45
	stragglerRate = 0.01
	stragglerCost = 4
)

// drawLatency draws one latency from the distribution around a median.
func drawLatency(rng *rand.Rand, median time.Duration) time.Duration {
	d := float64(median) * math.Exp(rng.NormFloat64()*latencySigma)
	if rng.Float64() < stragglerRate {
		d *= stragglerCost
	}
	return time.Duration(d)
}
