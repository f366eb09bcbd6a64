package store_test

import (
	"errors"
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

// take claims keys in a transaction of their own.
func (b *bundle) take(t *testing.T, keys ...*store.IdempotencyKey) (held []*store.IdempotencyKey, err error) {
	t.Helper()
	err = b.Transact(t.Context(), func(tx *store.DB) error {
		held, err = tx.ClaimIdempotencyKeys(t.Context(), keys)
		return err
	})
	return held, err
}

func TestClaimIdempotencyKeys_OnePastItsTimeIsFreeOnceItsGenerationHasEnded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := b.queued(t, nil)
	old := b.idempotencyKey("a", g.ID)
	old.ExpiresAt = time.Now().Add(-time.Hour)
	if _, err := b.take(t, old); err != nil {
		t.Fatal(err)
	}
	if held, err := b.take(t, b.idempotencyKey("a", "gen_2")); err != nil || len(held) != 1 {
		t.Errorf("while its generation lives the key was free: %v, %v", held, err)
	}
	b.finish(t, succeeded(b.claim(t, g.ID)))
	if held, err := b.take(t, b.idempotencyKey("a", "gen_3")); err != nil || len(held) != 0 {
		t.Errorf("after its generation's end the key is held: %v, %v", held, err)
	}
}

func TestSubmitGenerations_SkipsWhatAKeyHasMade(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, again, other, bare := b.unqueued(nil), b.unqueued(nil), b.unqueued(nil), b.unqueued(nil)
	if held, err := b.SubmitGenerations(t.Context(), []*store.IdempotencyKey{b.idempotencyKey("a", first.ID)}, []*store.NewGeneration{first}); err != nil || len(held) != 0 {
		t.Fatal(held, err)
	}
	keys := []*store.IdempotencyKey{b.idempotencyKey("a", again.ID), b.idempotencyKey("b", other.ID)}
	held, err := b.SubmitGenerations(t.Context(), keys, []*store.NewGeneration{again, other, bare})
	if err != nil {
		t.Fatal(err)
	}
	if len(held) != 1 || held[0].Key != "a" || held[0].GenerationID != first.ID {
		t.Errorf("held are %+v, want key a with the first generation", held)
	}
	b.wantTickets(t, first, other, bare)
	b.wantCounts(t, b.project.OrgID, "3 running, 0 held")
}

func TestSubmitGenerations_AllOrNone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	good, bad := b.unqueued(nil), b.unqueued(func(g *store.NewGeneration) { g.Queue = "express" })
	keys := []*store.IdempotencyKey{b.idempotencyKey("a", good.ID)}
	if _, err := b.SubmitGenerations(t.Context(), keys, []*store.NewGeneration{good, bad}); !store.IsRejected(err) {
		t.Fatalf("got %v, want a rejection", err)
	}
	var left int
	var timeout string
	err := b.Pool().QueryRow(t.Context(), `
		SELECT (SELECT count(*) FROM idempotency_key) + (SELECT count(*) FROM generation) + (SELECT count(*) FROM admission)
			+ (SELECT count(*) FROM river.river_job), current_setting('lock_timeout')`).Scan(&left, &timeout)
	if err != nil || left != 0 || timeout != "8s" {
		t.Errorf("%d rows are left, and locks are waited for %s, %v; want none and 8s", left, timeout, err)
	}
}

// Waiting for a row of admission is not waiting for a key.
func TestSubmitGenerations_WaitsForAdmissionLongerThanForKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.queued(t, nil)
	g := b.unqueued(nil)
	submitted := make(chan error, 1)
	err := b.Transact(t.Context(), func(tx *store.DB) error {
		if err := tx.InsertGenerations(t.Context(), []*store.NewGeneration{b.unqueued(nil)}); err != nil {
			return err
		}
		go func() {
			_, err := b.SubmitGenerations(t.Context(), []*store.IdempotencyKey{b.idempotencyKey("a", g.ID)}, []*store.NewGeneration{g})
			submitted <- err
		}()
		if err := b.awaitLockWait(t); err != nil {
			return err
		}
		select {
		case err := <-submitted:
			t.Errorf("it gave up with %v", err)
		case <-time.After(400 * time.Millisecond): // more than a key is waited for
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-submitted; err != nil {
		t.Error(err)
	}
	b.wantCounts(t, b.project.OrgID, "3 running, 0 held")
}

func TestClaimIdempotencyKeys_DoesNotWaitForAStalledProcess(t *testing.T) {
	t.Parallel()
	b := setup(t)
	err := b.Transact(t.Context(), func(stalled *store.DB) error {
		if _, err := stalled.ClaimIdempotencyKeys(t.Context(), []*store.IdempotencyKey{b.idempotencyKey("a", "gen_1")}); err != nil {
			return err
		}
		began := time.Now()
		_, err := b.take(t, b.idempotencyKey("a", "gen_2"))
		if took := time.Since(began); !errors.Is(err, store.ErrKeyBusy) || took > 3*time.Second {
			t.Errorf("got %v after %s, want ErrKeyBusy after a quarter of a second", err, took)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestClaimIdempotencyKeys_ReturnsThoseTakenBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.idempotencyKey("a", "gen_1")
	taken, err := b.take(t, first)
	if err != nil || len(taken) != 0 {
		t.Fatalf("a fresh key was taken: %v, %v", taken, err)
	}
	test := b.idempotencyKey("a", "gen_4")
	test.Test = true
	taken, err = b.take(t, b.idempotencyKey("a", "gen_2"), b.idempotencyKey("b", "gen_3"), test)
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
	if _, err := b.take(t, keys...); err != nil {
		t.Fatal(err)
	}
	n, err := b.LapseIdempotencyKeys(t.Context(), 10)
	if err != nil || n != 2 {
		t.Errorf("lapsed %d, %v; want the 2 past their time without a live generation", n, err)
	}
}
