package api

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/api/limit"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// spentQuotas remembers which monthly limits are used up, so that keys past theirs
// take nothing of the limits of their project and organization. What is used of a
// month is never given back: a limit that was reached stays so until it is raised,
// which makes it another one, or the month is over.
type spentQuotas struct {
	mu   sync.Mutex
	most int
	ends map[quota]time.Time // of its month
}

// quota is a monthly limit on what is counted together.
type quota struct {
	usage string
	limit int
}

func newSpentQuotas(most int) *spentQuotas {
	return &spentQuotas{most: most, ends: map[quota]time.Time{}}
}

// note remembers what came of a submission.
func (q *spentQuotas) note(caller *auth.Caller, err error) {
	var over *jobs.QuotaError
	if !errors.As(err, &over) {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	spent := quota{caller.UsageID, over.Limit}
	for other, ends := range q.ends { // any one: it is heard of again
		if _, known := q.ends[spent]; !known && (len(q.ends) >= q.most || ends.Before(over.ResetsAt)) {
			delete(q.ends, other)
		}
		break
	}
	q.ends[spent] = over.ResetsAt
}

// refusal returns that of a caller whose monthly limit is known to be used up at a
// time, or nil.
func (q *spentQuotas) refusal(caller *auth.Caller, now time.Time) error {
	if caller.Limits.KeyMonthly == nil {
		return nil
	}
	spent := quota{caller.UsageID, *caller.Limits.KeyMonthly}
	_, ends := store.MonthOf(now)
	q.mu.Lock()
	defer q.mu.Unlock()
	if at, known := q.ends[spent]; !known || !at.Equal(ends) {
		return nil
	}
	return &jobs.QuotaError{Limit: spent.limit, ResetsAt: ends}
}

// maxReplays is how often in a minute a key past a limit may ask whether it repeats
// an earlier request. It is counted by each process.
const maxReplays = 60

// unlessReplay returns the refusal of a request, or nil if it repeats an earlier one
// by its idempotency key, which may be empty, and so makes no work. Who asks that too
// often is refused without an answer.
func (s *server) unlessReplay(ctx context.Context, caller *auth.Caller, key string, refusal error) error {
	if key == "" {
		return refusal
	}
	who := cmp.Or(caller.KeyID, caller.AccountID, caller.Subject)
	taken, err := s.replays.Take(ctx, []limit.Bucket{{Key: who, Limit: maxReplays, Period: time.Minute}})
	if err != nil {
		return err
	}
	if !taken.Allowed {
		return refusal
	}
	held, err := s.db.IdempotencyKeyHeld(ctx, caller.ProjectID, caller.Test, jobs.RouteGenerations, key)
	if held || err != nil {
		return err
	}
	return refusal
}
