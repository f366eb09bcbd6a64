package store_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

func TestClaim_FencesAndOpensAttempts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := b.queued(t, func(g *store.NewGeneration) { g.N = 2 })
	first := b.claim(t, g.ID)
	if first == nil || first.Fence != 1 || first.Status != store.StatusProcessing || first.Paid != nil || *first.Worker != "w1" {
		t.Fatalf("first claim is %+v", first)
	}
	attempts, err := b.Attempts(t.Context(), b.project.ID, []string{g.ID})
	if err != nil || len(attempts) != 2 {
		t.Fatalf("got attempts %v, %v; want one per image", attempts, err)
	}
	if a := attempts[1]; a.N != 2 || a.ImageIndex != 1 || a.Route != "simulator" || a.Model != "upstream-banana" || a.Outcome != nil {
		t.Errorf("second attempt is %+v", a)
	}
	second := b.claim(t, g.ID)
	if diff := cmp.Diff([]int{0, 1}, second.Paid); second.Fence != 2 || diff != "" {
		t.Errorf("second claim has fence %d, want 2; its ambiguous calls differ (-want +got):\n%s", second.Fence, diff)
	}
	if b.finish(t, succeeded(first)) {
		t.Error("the superseded run could finish")
	}
	if _, err := b.BeginAttempt(t.Context(), first, store.NewAttempt{ImageIndex: 0, Route: "simulator", Provider: "simulator", Model: "m"}, nil); !errors.Is(err, store.ErrFenced) {
		t.Errorf("the superseded run could begin an attempt: %v", err)
	}
	if n, err := b.BeginAttempt(t.Context(), second, store.NewAttempt{ImageIndex: 0, Route: "simulator", Provider: "simulator", Model: "m"}, nil); err != nil || n != 3 {
		t.Errorf("the next attempt is %d, %v; want 3", n, err)
	}
	third := b.claim(t, g.ID)
	if diff := cmp.Diff([]int{0, 0, 1}, slices.Sorted(slices.Values(third.Paid))); diff != "" {
		t.Errorf("the third claim's ambiguous calls differ (-want +got):\n%s", diff)
	}
}

func TestClaim_NothingToRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := b.queued(t, nil)
	if _, _, err := b.CancelGeneration(t.Context(), b.project.ID, g.ID); err != nil {
		t.Fatal(err)
	}
	if c := b.claim(t, g.ID); c != nil {
		t.Errorf("a canceled generation was claimed: %+v", c)
	}
	if c := b.claim(t, store.NewGenerationID()); c != nil {
		t.Errorf("an unknown generation was claimed: %+v", c)
	}
}

func TestClaim_TwoTicketsForOneGeneration(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g, h := b.queued(t, nil), b.queued(t, nil)
	claims, err := b.ClaimGenerations(t.Context(), claimer, []store.Ticket{{g.ID, 1}, {h.ID, 2}, {g.ID, 3}})
	if err != nil {
		t.Fatal(err)
	}
	if claims[0] == nil || claims[1] == nil || claims[2] != nil {
		t.Errorf("got claims %v; want the second ticket for one generation to have nothing to run", claims)
	}
}

func TestClaim_ExpiresWhatIsLate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	late := b.queued(t, func(g *store.NewGeneration) { g.DeadlineAt = time.Now().Add(-time.Second) })
	c := b.claim(t, late.ID)
	if c == nil || c.Status != store.StatusExpired || c.FinishedAt == nil || c.StartedAt != nil {
		t.Fatalf("claim is %+v, want an expired generation", c)
	}
	attempts, err := b.Attempts(t.Context(), b.project.ID, []string{late.ID})
	if err != nil || len(attempts) != 0 {
		t.Errorf("an expired generation has attempts %v, %v", attempts, err)
	}
}

// Once a further call has begun, what came of the run's earlier ones is on record:
// a crash leaves only the last one unknown.
func TestBeginAttempt_RecordsWhatCameBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := b.queued(t, nil)
	c := b.claim(t, g.ID)
	earlier := []*store.AttemptOutcome{{GenerationID: g.ID, N: 1, Outcome: "overloaded", Code: "UNAVAILABLE", FinishedAt: time.Now()}}
	if n, err := b.BeginAttempt(t.Context(), c, store.NewAttempt{Route: "gemini-2", Provider: "gemini", Model: "m"}, earlier); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if again := b.claim(t, g.ID); len(again.Paid) != 1 {
		t.Errorf("after a crash %d calls may have been paid, want one", len(again.Paid))
	}
	attempts, err := b.Attempts(t.Context(), b.project.ID, []string{g.ID})
	if err != nil || len(attempts) != 2 || *attempts[0].Outcome != "overloaded" || *attempts[1].Outcome != store.AttemptAmbiguous {
		t.Errorf("attempts are %+v, %v", attempts, err)
	}
}
