package auth

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"
)

// usesInterval is how often the last use of keys is recorded.
const usesInterval = time.Minute

// usesTimeout bounds what is recorded when the process ends.
const usesTimeout = 2 * time.Second

// uses are the times when keys were used last, which are recorded together.
type uses struct {
	mu     sync.Mutex
	latest map[string]time.Time // by key
}

// note remembers a use of a key, the first of each minute.
func (u *uses) note(e *entry, now time.Time) {
	minute := now.Unix() / 60
	if before := e.used.Load(); before >= minute || !e.used.CompareAndSwap(before, minute) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if now.After(u.latest[e.who.KeyID]) {
		u.latest[e.who.KeyID] = now
	}
}

func (u *uses) take() map[string]time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	taken := u.latest
	u.latest = map[string]time.Time{}
	return taken
}

// putBack keeps what could not be recorded for the next time.
func (u *uses) putBack(taken map[string]time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.Copy(taken, u.latest)
	u.latest = taken
}

// Run records when keys were used last, once a minute and when ctx ends: one write
// for all of them. The logger is told that it could not; then it is tried again.
func (k *Keys) Run(ctx context.Context, logger *slog.Logger) {
	tick := time.NewTicker(usesInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			k.recordUses(ctx, logger)
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), usesTimeout)
			defer cancel()
			k.recordUses(ctx, logger)
			return
		}
	}
}

func (k *Keys) recordUses(ctx context.Context, logger *slog.Logger) {
	taken := k.uses.take()
	if len(taken) == 0 {
		return
	}
	if err := k.opts.DB.RecordKeyUse(ctx, taken); err != nil {
		k.uses.putBack(taken)
		logger.Warn("the last use of API keys is not recorded yet", "error", err)
	}
}
