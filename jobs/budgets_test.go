package jobs_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// saving gives the organization a budget of a credit that is to be saved from at once.
func (b *bundle) saving(t *testing.T, quality string) {
	t.Helper()
	at := 1
	if _, err := b.db.OpenPeriod(t.Context(), b.project.OrgID, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.db.SetBudget(t.Context(), store.Budget{OrgID: b.project.OrgID, DowngradeAt: &at, DowngradeQuality: &quality}, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// shown is the quality that a generation is made in, that it was lowered from, and
// what is reserved for it.
func shown(g *store.Generation) string {
	credits := 0
	if g.Credits != nil {
		credits = *g.Credits
	}
	return fmt.Sprintf("%q from %q for %d", g.Params.Quality, g.Params.DowngradedFrom, credits)
}

func TestDowngrade(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		model, asked, to string
		change           func(*jobs.Submission)
		want             string
	}{
		"High":       {"gpt-image-2", "high", "low", nil, `"low" from "high" for 2`},
		"HD":         {"gpt-image-2", "hd", "medium", nil, `"medium" from "high" for 4`},
		"Default":    {"gpt-image-2", "", "low", nil, `"low" from "medium" for 2`},
		"NeverMore":  {"gpt-image-2", "low", "high", nil, `"low" from "" for 2`},
		"Same":       {"gpt-image-2", "standard", "medium", nil, `"standard" from "" for 4`},
		"NoneToName": {"banana", "high", "low", nil, `"high" from "" for 2`},
		"Test":       {"gpt-image-2", "high", "low", func(s *jobs.Submission) { s.Test = true }, `"high" from "" for 0`},
		"NotFlagged": {"gpt-image-2", "high", "low", func(s *jobs.Submission) { s.Downgrades = false }, `"high" from "" for 14`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.saving(t, c.to)
			s := b.submission("key")
			s.Downgrades, s.Request.Model, s.Request.Quality, s.Request.N = true, c.model, c.asked, 2
			if c.change != nil {
				c.change(&s)
			}
			var got []string
			for range 2 { // the second is a replay of the same request
				accepted, err := b.queue.SubmitGeneration(t.Context(), s)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, shown(accepted.Generation))
			}
			if diff := cmp.Diff([]string{c.want, c.want}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			b.wantRows(t, 1)
		})
	}
}

// An idempotency key is of what was asked: what was accepted before the budget was
// reached is answered as it was.
func TestDowngrade_LeavesReplays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.submission("key")
	s.Downgrades, s.Request.Model, s.Request.Quality = true, "gpt-image-2", "high"
	first, err := b.queue.SubmitGeneration(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	b.saving(t, "low")
	again, err := b.queue.SubmitGeneration(t.Context(), s)
	if err != nil || !again.Replayed || again.Generation.ID != first.Generation.ID || again.Generation.Params.Quality != "high" {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestDowngrade_OfBatches(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.saving(t, "low")
	all := make([]jobs.Submission, 3)
	for i, quality := range []string{"high", "low", "medium"} {
		all[i] = b.submission("")
		all[i].Downgrades, all[i].Request.Model, all[i].Request.Quality = true, "gpt-image-2", quality
	}
	_, made, err := b.queue.SubmitBatch(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range made {
		got = append(got, shown(g))
	}
	want := []string{`"low" from "high" for 1`, `"low" from "" for 1`, `"low" from "medium" for 1`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if faults, err := b.db.CreditFaults(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("%v, %q", err, faults)
	}
}
