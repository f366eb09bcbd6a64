package api

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// shortOrgs remembers which organizations were refused for want of credits, so that
// their accounts are read before anything is taken of their limits: a refusal that more
// time does not help would else turn into one that promises it. It decides nothing by
// itself, and what it forgets costs one request of a limit.
type shortOrgs struct {
	mu     sync.Mutex
	most   int
	wanted map[string]shortage // by organization
}

// shortage is what there was too little for, until a period is over.
type shortage struct {
	credits int64
	ends    time.Time
}

func newShortOrgs(most int) *shortOrgs {
	return &shortOrgs{most: most, wanted: map[string]shortage{}}
}

// note remembers what came of a submission.
func (o *shortOrgs) note(orgID string, err error) {
	var e *jobs.CreditsError
	if !errors.As(err, &e) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, known := o.wanted[orgID]; !known && len(o.wanted) >= o.most {
		for other := range o.wanted { // any one: it is heard of again
			delete(o.wanted, other)
			break
		}
	}
	o.wanted[orgID] = shortage{e.Needed, e.ResetsAt}
}

// of is what an organization was short for in a period that lasts at a time, if it was.
func (o *shortOrgs) of(orgID string, now time.Time) (credits int64, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s, known := o.wanted[orgID]
	if known && !s.ends.After(now) {
		delete(o.wanted, orgID)
		return 0, false
	}
	return s.credits, known
}

func (o *shortOrgs) forget(orgID string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.wanted, orgID)
}

// refuseShort returns the refusal of a submission whose organization was short of
// credits and still is, or nil. The account decides, as it is now.
func (s *server) refuseShort(ctx context.Context, wanted *jobs.Submission) (refusal, err error) {
	now := s.opts.Now()
	before, known := s.short.of(wanted.OrgID, now)
	if !known || wanted.Test {
		return nil, nil
	}
	account, err := s.db.CreditAccount(ctx, wanted.OrgID, now)
	if errors.Is(err, store.ErrNotFound) {
		s.short.forget(wanted.OrgID)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if shortOf(account, before) == nil {
		s.short.forget(wanted.OrgID)
	}
	g, err := s.queue.Preview(ctx, *wanted)
	if err != nil || g.Credits == nil {
		return nil, err
	}
	if refusal := shortOf(account, int64(*g.Credits)); refusal != nil {
		return s.explainRefusal(ctx, wanted.OrgID, refusal), nil
	}
	return nil, nil
}
