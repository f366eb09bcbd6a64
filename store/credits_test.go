package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// priced is a generation that costs so many credits.
func (b *bundle) priced(orgID string, credits int) *store.NewGeneration {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return &store.NewGeneration{
		ID: store.NewGenerationID(), OrgID: orgID, ProjectID: b.project.ID, APIKeyID: "key_1", Kind: store.KindGenerate,
		Model: "banana", ModelUsed: "banana", Prompt: "a banana", N: 1, CreatedAt: now, DeadlineAt: now.Add(time.Hour), Credits: credits,
		Params: store.Params{Resolution: "1K"},
	}
}

// credits is an organization's present account, for people.
func (b *bundle) credits(t *testing.T, orgID string) string {
	t.Helper()
	a, err := b.CreditAccount(t.Context(), orgID, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d granted, %d reserved, %d used", a.Granted, a.Reserved, a.Used)
}

func TestCredits_ReserveSettleRelease(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "free")
	rows := []*store.NewGeneration{b.priced(org, 30), b.priced(org, 15), b.priced(org, 6), b.priced(org, 1)}
	if err := b.InsertGenerations(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	var refused []int
	for _, r := range rows {
		if r.Refusal != nil {
			refused = append(refused, r.Credits)
		}
	}
	if diff := cmp.Diff([]int{30}, refused); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	if got, want := b.credits(t, org), "50 granted, 22 reserved, 0 used"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if _, _, err := b.CancelGeneration(t.Context(), b.project.ID, rows[1].ID); err != nil {
		t.Fatal(err)
	}
	claims, err := b.ClaimGenerations(t.Context(), store.Claimer{Worker: "w"}, []store.Ticket{{GenerationID: rows[2].ID, RiverJobID: *rows[2].RiverJobID}})
	if err != nil || claims[0] == nil {
		t.Fatal(claims, err)
	}
	if _, err := b.FinishGenerations(t.Context(), store.Sender{}, []*store.Outcome{succeeded(claims[0])}); err != nil {
		t.Fatal(err)
	}
	if got, want := b.credits(t, org), "50 granted, 1 reserved, 6 used"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if faults, err := b.CreditFaults(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("%v, %q", err, faults)
	}
}

// What was written stays: it can be neither changed nor taken away.
func TestCredits_EntriesStay(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	for _, sql := range []string{`UPDATE credit_entry SET granted = 60`, `DELETE FROM credit_entry`, `TRUNCATE credit_entry`} {
		if _, err := l.Pool().Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "never changed or deleted") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	l.want(t, "free 50/0/0 (0)")
}
