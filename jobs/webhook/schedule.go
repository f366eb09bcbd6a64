package webhook

import (
	"math/rand/v2"
	"time"
)

// spread is how far a wait may be from the schedule's, either way: endpoints
// that failed together are not tried again together.
const spread = 0.1

// Schedule returns how long after each failed attempt the next one comes,
// before jitter: Attempts - 1 waits, 75 h 35 min 5 s in all. It is the example
// of the specification.
func Schedule() []time.Duration {
	return []time.Duration{
		5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
	}
}

// Retry returns how long after the nth failed attempt the next one comes, or
// false if there is none. The wait is the Schedule's +-10 %. n counts from 1;
// less is taken as 1.
// jitter returns numbers in [0, 1); nil is a random one.
func Retry(n int, jitter func() float64) (wait time.Duration, ok bool) {
	if n >= Attempts {
		return 0, false
	}
	if jitter == nil {
		jitter = rand.Float64
	}
	base := float64(Schedule()[max(n, 1)-1])
	return time.Duration(base * (1 - spread + 2*spread*jitter())), true
}
