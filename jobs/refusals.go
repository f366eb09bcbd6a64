package jobs

import (
	"errors"
	"fmt"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// errNoPeriod reports that a submission's period has to be opened before it.
var errNoPeriod = errors.New("the period of its organization has no account")

// A QuotaError reports a submission beyond the monthly limit of its API key.
type QuotaError struct {
	Limit    int
	ResetsAt time.Time // when the next month begins (UTC)
}

// Error says the limit.
func (e *QuotaError) Error() string {
	return fmt.Sprintf("the API key has asked for the %d generations that it may ask for until %s", e.Limit, e.ResetsAt.Format(time.RFC3339))
}

// A CreditsError reports a submission that costs more than its organization has, or
// wants to spend.
type CreditsError struct {
	Plan      string
	Needed    int64  // credits
	Available int64  // credits, as the submission was refused; of a metered plan: none are counted
	Budget    *int64 // the limit that the organization has set itself, where that is what refuses
	ResetsAt  time.Time
}

// Error says what is missing.
func (e *CreditsError) Error() string {
	if e.Budget != nil {
		return fmt.Sprintf("it needs %d credits, and the organization wants to use no more than %d until %s", e.Needed, *e.Budget, e.ResetsAt.Format(time.RFC3339))
	}
	return fmt.Sprintf("it needs %d credits, and the organization has %d until %s", e.Needed, e.Available, e.ResetsAt.Format(time.RFC3339))
}

// refusalOf tells a submission why it is refused with the first of its idempotency
// key, or is itself that first.
func refusalOf(s *submission, first *store.NewGeneration) error {
	r := first.Refusal
	switch {
	case errors.Is(r.Err, store.ErrKeyBusy):
		return ErrIdempotencyInFlight
	case r.Err != nil:
		return r.Err
	case r.Why == store.RefusedPeriod:
		return errNoPeriod
	case r.Why == store.RefusedKey:
		return overQuota(s, first)
	case s.row.Credits != first.Credits:
		return ErrIdempotencyInFlight // another request with the same key
	}
	e := &CreditsError{Plan: r.Plan, Needed: r.Needed, Available: max(0, r.Available), ResetsAt: *r.ResetsAt}
	if r.Why == store.RefusedBudget {
		e.Budget = r.SpendLimit
	}
	return e
}

// overQuota tells a submission of a key that has reached its limit. Another API key's
// need not have, nor one whose limit has been raised meanwhile.
func overQuota(s *submission, first *store.NewGeneration) error {
	if s.row.APIKeyID != first.APIKeyID || s.row.KeyMonthly == nil || *s.row.KeyMonthly > *first.KeyMonthly {
		return ErrIdempotencyInFlight
	}
	_, ends := store.MonthOf(s.row.CreatedAt)
	return &QuotaError{Limit: *s.row.KeyMonthly, ResetsAt: ends}
}
