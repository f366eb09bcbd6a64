package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

func (b *bundle) idempotencyKey(key, generation string) *store.IdempotencyKey {
	return &store.IdempotencyKey{
		ProjectID: b.project.ID, Route: "generations", Key: key, OrgID: b.project.OrgID,
		Fingerprint: []byte{0, 1, 255}, GenerationID: generation, ExpiresAt: time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond),
	}
}

func TestClaimIdempotencyKeys_ReturnsThoseTakenBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.idempotencyKey("a", "gen_1")
	taken, err := b.ClaimIdempotencyKeys(t.Context(), []*store.IdempotencyKey{first})
	if err != nil || len(taken) != 0 {
		t.Fatalf("a fresh key was taken: %v, %v", taken, err)
	}
	test := b.idempotencyKey("a", "gen_4")
	test.Test = true
	taken, err = b.ClaimIdempotencyKeys(t.Context(), []*store.IdempotencyKey{
		b.idempotencyKey("a", "gen_2"), b.idempotencyKey("b", "gen_3"), test,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range taken {
		k.ExpiresAt = k.ExpiresAt.UTC()
	}
	if diff := cmp.Diff([]*store.IdempotencyKey{first}, taken); diff != "" {
		t.Errorf("taken keys differ (-want +got):\n%s", diff)
	}
}

func TestLapseIdempotencyKeys_KeepsThoseOfLiveGenerations(t *testing.T) {
	t.Parallel()
	b := setup(t)
	live, ended := b.queued(t, nil), b.queued(t, nil)
	b.finish(t, succeeded(b.claim(t, ended.ID)))
	past := time.Now().Add(-time.Hour)
	var keys []*store.IdempotencyKey
	for key, generation := range map[string]string{"live": live.ID, "ended": ended.ID, "gone": store.NewGenerationID()} {
		k := b.idempotencyKey(key, generation)
		k.ExpiresAt = past
		keys = append(keys, k)
	}
	keys = append(keys, b.idempotencyKey("fresh", ended.ID))
	if _, err := b.ClaimIdempotencyKeys(t.Context(), keys); err != nil {
		t.Fatal(err)
	}
	n, err := b.LapseIdempotencyKeys(t.Context(), 10)
	if err != nil || n != 2 {
		t.Errorf("lapsed %d, %v; want the 2 past their time without a live generation", n, err)
	}
}
