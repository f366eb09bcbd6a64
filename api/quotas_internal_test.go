package api

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

func TestSpentQuotas_HoldForTheirLimitAndMonth(t *testing.T) {
	t.Parallel()
	q := newSpentQuotas(10)
	now := time.Date(2026, 11, 30, 23, 59, 0, 0, time.UTC)
	_, ends := store.MonthOf(now)
	caller := func(usage string, limit int) *auth.Caller {
		return &auth.Caller{KeyID: "key_any", UsageID: usage, Limits: auth.Limits{KeyMonthly: &limit}}
	}
	q.note(caller("key_other", 5), errors.New("something else"))
	q.note(caller("key_1", 5), fmt.Errorf("submit: %w", &jobs.QuotaError{Limit: 5, ResetsAt: ends}))
	for name, c := range map[string]struct {
		caller *auth.Caller
		at     time.Time
		want   bool
	}{
		"Spent":     {caller("key_1", 5), now, true},
		"Raised":    {caller("key_1", 6), now, false},
		"NextMonth": {caller("key_1", 5), now.Add(time.Minute), false},
		"Another":   {caller("key_other", 5), now, false},
		"NoLimit":   {&auth.Caller{UsageID: "key_1"}, now, false},
	} {
		if err := q.refusal(c.caller, c.at); (err != nil) != c.want {
			t.Errorf("%s: refused by %v, want %t", name, err, c.want)
		}
	}
	for i := range 100 {
		q.note(caller(fmt.Sprint("key_", i), 5), &jobs.QuotaError{Limit: 5, ResetsAt: ends})
	}
	if len(q.ends) != 10 {
		t.Errorf("%d are remembered, want 10", len(q.ends))
	}
}
