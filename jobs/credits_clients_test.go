package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"pgregory.net/rapid"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// monthly is how many generations a limited key may ask for.
const monthly = 4

// submission draws a request: of a key with a limit or without, live or for testing.
func (m *machine) submission(t *rapid.T) jobs.Submission {
	s := jobs.Submission{OrgID: m.org, ProjectID: m.project, APIKeyID: "key_free_" + m.org}
	switch rapid.IntRange(0, 5).Draw(t, "key") {
	case 0:
		s.Test = true
	case 1, 2:
		limit := monthly
		s.APIKeyID, s.KeyMonthly = "key_limited_"+m.org, &limit
	}
	s.Request = jobs.GenerationRequest{
		Prompt: "a banana", N: rapid.IntRange(1, 4).Draw(t, "n"),
		Size: rapid.SampledFrom([]string{"", "1024x1024", "2048x2048"}).Draw(t, "size"),
	}
	return s
}

// refused reports whether an error is one that a submission may well have.
func refused(err error) bool {
	var credits *jobs.CreditsError
	var quota *jobs.QuotaError
	return errors.As(err, &credits) || errors.As(err, &quota) ||
		errors.Is(err, jobs.ErrIdempotencyInFlight) || errors.Is(err, jobs.ErrIdempotencyKeyReused)
}

// submitter submits several at once, some with idempotency keys that others use too.
func (m *machine) submitter(ctx context.Context, t *rapid.T, process int) func() error {
	submissions := make([]jobs.Submission, rapid.IntRange(1, 8).Draw(t, "submissions"))
	for i := range submissions {
		submissions[i] = m.submission(t)
		if rapid.Bool().Draw(t, "idempotent") {
			// A key of idempotency is of a live or of a test key.
			submissions[i].IdempotencyKey = fmt.Sprint(submissions[i].Test, rapid.IntRange(1, 5).Draw(t, "idempotency key"))
		}
	}
	return func() error {
		done := make(chan error)
		for _, s := range submissions {
			go func() {
				accepted, err := m.queues[process].SubmitGeneration(ctx, s)
				switch {
				case err == nil:
					err = m.accept(&s, s.IdempotencyKey, accepted.Generation, accepted.Replayed)
				case refused(err):
					err = nil
				}
				done <- err
			}()
		}
		var all error
		for range submissions {
			all = errors.Join(all, <-done)
		}
		return all
	}
}

func (m *machine) batch(ctx context.Context, t *rapid.T, process int) func() error {
	first := m.submission(t)
	submissions := make([]jobs.Submission, rapid.IntRange(1, 6).Draw(t, "batch"))
	for i := range submissions {
		submissions[i] = first
		submissions[i].Request.N = rapid.IntRange(1, 4).Draw(t, "n")
	}
	return func() error {
		_, accepted, err := m.queues[process].SubmitBatch(ctx, submissions)
		if refused(err) {
			return nil
		}
		for _, g := range accepted {
			err = errors.Join(err, m.accept(&first, "", g, false))
		}
		return err
	}
}

// some draws generations of those that were accepted and may be live.
func (m *machine) some(t *rapid.T) (list []*store.Generation) {
	ids := make([]string, 0, len(m.live))
	for id := range m.live {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if rapid.Bool().Draw(t, "this") {
			list = append(list, m.live[id])
		}
	}
	return list
}

func (m *machine) canceler(ctx context.Context, t *rapid.T, process int) func() error {
	some := m.some(t)
	return func() error {
		for _, g := range some {
			if _, err := m.queues[process].CancelGeneration(ctx, m.project, g.ID); err != nil {
				return err
			}
		}
		return nil
	}
}

// runner claims generations that nobody else does, and ends them together: with all of
// their images, with some, or with none.
func (m *machine) runner(ctx context.Context, t *rapid.T, process int) func() error {
	some := slices.DeleteFunc(m.some(t), func(g *store.Generation) bool { return m.running[g.ID] })
	for _, g := range some {
		m.running[g.ID] = true
	}
	missing := make([]int, len(some))
	for i, g := range some {
		missing[i] = rapid.IntRange(0, g.N).Draw(t, "missing")
	}
	return func() error {
		tickets := make([]store.Ticket, len(some))
		for i, g := range some {
			tickets[i] = store.Ticket{GenerationID: g.ID, RiverJobID: *g.RiverJobID}
		}
		claims, err := m.dbs[process].ClaimGenerations(ctx, store.Claimer{Worker: "w" + strconv.Itoa(process)}, tickets)
		if err != nil {
			return err
		}
		var outcomes []*store.Outcome
		for i, c := range claims {
			if c != nil && c.Status == store.StatusProcessing {
				outcomes = append(outcomes, outcome(c, missing[i]))
			}
		}
		_, err = m.dbs[process].FinishGenerations(ctx, store.Sender{}, outcomes)
		return err
	}
}

// outcome is that of a run that so many images are missing of.
func outcome(c *store.Claim, missing int) *store.Outcome {
	fault := store.GenerationError{Code: "content_blocked", Message: "refused"}
	o := &store.Outcome{GenerationID: c.ID, Fence: c.Fence, Status: store.StatusSucceeded}
	if missing == c.N {
		o.Status, o.Error = store.StatusFailed, &fault
		return o
	}
	for i := range c.N {
		if i < missing {
			o.ImageErrors = append(o.ImageErrors, store.ImageError{Index: i, Error: fault})
			continue
		}
		o.Images = append(o.Images, &store.NewImage{
			ID: store.ImageID(c.ID, i), GenerationID: c.ID, Index: i, BlobKey: fmt.Sprint(c.ID, "/", i),
			MediaType: "image/png", Bytes: 1, Width: 1, Height: 1, SHA256: []byte{1},
		})
	}
	return o
}

// expirer lets the time of some run out, on two processes at once.
func (m *machine) expirer(ctx context.Context, t *rapid.T, process int) func() error {
	some := m.some(t)
	ids := make([]string, len(some))
	for i, g := range some {
		ids[i] = g.ID
	}
	return func() error {
		for _, id := range ids {
			_, err := m.dbs[process].Pool().Exec(ctx, `UPDATE generation SET deadline_at = now() WHERE id = $1 AND finished_at IS NULL`, id)
			if err != nil {
				return err
			}
		}
		other := make(chan error, 1)
		go func() { _, err := m.dbs[1-process].ExpireOverdue(ctx, 100); other <- err }()
		_, err := m.dbs[process].ExpireOverdue(ctx, 100)
		return errors.Join(err, <-other)
	}
}

func (m *machine) planChange(ctx context.Context, t *rapid.T, process int) func() error {
	change := store.PlanChange{OrgID: m.org, Plan: anyPlan(t)}
	anchored := rapid.Bool().Draw(t, "anchored")
	return func() error {
		at := m.clock(process)
		if anchored {
			change.Anchor = &at
		}
		_, err := m.dbs[process].ChangePlan(ctx, change, at)
		return err
	}
}

func (m *machine) setter(ctx context.Context, t *rapid.T, process int) func() error {
	n := rapid.IntRange(0, 40).Draw(t, "available")
	return func() error {
		_, err := m.dbs[process].SetCredits(ctx, m.org, n, "test", "", m.clock(process))
		if errors.Is(err, store.ErrBoughtCredits) {
			return nil
		}
		return err
	}
}

// creditChange grants, sells or takes back, and carries what was bought.
func (m *machine) creditChange(ctx context.Context, t *rapid.T, process int) func() error {
	c := store.CreditChange{
		OrgID: m.org, Kind: store.CreditGrant, Amount: rapid.IntRange(-20, 20).Draw(t, "amount"),
		Subject: fmt.Sprint(m.org, rapid.IntRange(1, 4).Draw(t, "subject")),
	}
	if c.Bought = rapid.Bool().Draw(t, "bought"); c.Bought {
		c.Kind = store.CreditPurchase
		if c.Amount < 0 {
			c.Kind = store.CreditRefund
		}
	}
	return func() error {
		_, changed, err := m.dbs[process].ChangeCredits(ctx, c, m.clock(process))
		if errors.Is(err, store.ErrTooFewCredits) || errors.Is(err, store.ErrBoughtCredits) {
			return nil
		}
		if changed {
			m.mu.Lock()
			m.granted += int64(c.Amount)
			if c.Bought {
				m.bought += int64(c.Amount)
			}
			m.mu.Unlock()
		}
		_, errCarry := m.dbs[process].CarryCredits(ctx, 10)
		return errors.Join(err, errCarry)
	}
}

// refunder takes bought credits back, on two processes at once, or gives them back.
func (m *machine) refunder(ctx context.Context, t *rapid.T, process int) func() error {
	r := store.RefundedPurchase{
		OrgID: m.org, ID: fmt.Sprint("re_", m.org, rapid.IntRange(1, 3).Draw(t, "refund")), Credits: rapid.IntRange(1, 30).Draw(t, "refunded"),
	}
	fails := rapid.Bool().Draw(t, "it fails")
	return func() error {
		if fails {
			return m.dbs[process].RestoreRefund(ctx, m.org, r.ID, m.clock(process))
		}
		other := make(chan error, 1)
		go func() { _, err := m.dbs[1-process].RefundCredits(ctx, r, m.clock(1-process)); other <- err }()
		_, err := m.dbs[process].RefundCredits(ctx, r, m.clock(process))
		return errors.Join(err, <-other)
	}
}

// carrier carries what was bought and is owed, again and again.
func (m *machine) carrier(ctx context.Context, t *rapid.T, process int) func() error {
	times := rapid.IntRange(1, 4).Draw(t, "times")
	return func() error {
		for range times {
			if _, err := m.dbs[process].CarryCredits(ctx, 10); err != nil {
				return err
			}
		}
		return nil
	}
}
