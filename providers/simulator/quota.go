package simulator

import (
	"sync"
	"time"
)

// maxQuotaKeys bounds how many API keys are remembered; beyond it the keys
// without a request in the last minute are forgotten, and then all.
const maxQuotaKeys = 10_000

// A quota counts requests per API key over the minute that ends now. The zero
// rpm admits everything.
type quota struct {
	rpm  int
	mu   sync.Mutex
	used map[string][]time.Time // oldest first, at most rpm of them
}

// admit counts a request at now. If the key has none left, it reports how long
// until the oldest one leaves the window.
func (q *quota) admit(key string, now time.Time) (wait time.Duration, ok bool) {
	if q.rpm <= 0 {
		return 0, true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	used := recent(q.used[key], now)
	if len(used) >= q.rpm {
		q.used[key] = used
		return time.Minute - now.Sub(used[0]), false
	}
	if q.used == nil {
		q.used = make(map[string][]time.Time)
	}
	if len(q.used) >= maxQuotaKeys {
		q.purge(now)
	}
	q.used[key] = append(used, now)
	return 0, true
}

// purge forgets idle keys, or every key if none is idle.
func (q *quota) purge(now time.Time) {
	for key, used := range q.used {
		if len(recent(used, now)) == 0 {
			delete(q.used, key)
		}
	}
	if len(q.used) >= maxQuotaKeys {
		clear(q.used)
	}
}

func (q *quota) reset() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used = nil
}

// recent drops the times that are a minute old or more.
func recent(times []time.Time, now time.Time) []time.Time {
	for len(times) > 0 && now.Sub(times[0]) >= time.Minute {
		times = times[1:]
	}
	return times
}
