package store_test

import (
	"fmt"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// dueImages inserts images whose thumbnails are due, the first the longest.
func dueImages(t *testing.T, db *store.DB, n int) []string {
	t.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("img_%02d", i)
		_, err := db.Pool().Exec(t.Context(), `
			INSERT INTO image (id, generation_id, org_id, project_id, idx, blob_key, media_type, bytes, width, height, sha256, created_at, derive_at)
			VALUES ($1, 'g', 'o', 'p', 0, 'k', 'image/png', 1, 1, 1, 'x', now(), now() - make_interval(secs => $2))`, ids[i], n-i)
		if err != nil {
			t.Fatal(err)
		}
	}
	return ids
}

func claimDerivations(t *testing.T, db *store.DB, limit int, lease time.Duration) []string {
	t.Helper()
	images, err := db.ClaimDerivations(t.Context(), limit, 0, lease)
	if err != nil {
		t.Error(err)
	}
	ids := []string{}
	for _, i := range images {
		ids = append(ids, i.ID)
	}
	sort.Strings(ids)
	return ids
}

func TestDerivations_EachToOne(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	ids := dueImages(t, db, 20)
	if diff := cmp.Diff(ids[:4], claimDerivations(t, db, 4, time.Hour)); diff != "" {
		t.Errorf("the longest overdue (-want +got):\n%s", diff)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var got []string
	for range 4 {
		wg.Go(func() {
			for claimed := claimDerivations(t, db, 3, time.Hour); len(claimed) > 0; claimed = claimDerivations(t, db, 3, time.Hour) {
				mu.Lock()
				got = append(got, claimed...)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	sort.Strings(got)
	if diff := cmp.Diff(ids[4:], got); diff != "" {
		t.Errorf("claimed (-want +got):\n%s", diff)
	}
}

func TestDerivations_Finish(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	ids := dueImages(t, db, 3)
	claimDerivations(t, db, 3, 0)
	if _, err := db.Pool().Exec(t.Context(), `UPDATE image SET purged_at = now() WHERE id = $1`, ids[2]); err != nil {
		t.Fatal(err)
	}
	hash, kind := store.Bytes{1, 2, 3}, "image/webp"
	made := []*store.Derivation{{ImageID: ids[0], Thumbhash: &hash, ThumbnailType: &kind}, {ImageID: ids[1]}, {ImageID: ids[2], Thumbhash: &hash}}
	if err := db.FinishDerivations(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	got, err := db.Image(t.Context(), "p", ids[0])
	if err != nil || got.ThumbnailType == nil || *got.ThumbnailType != kind {
		t.Fatalf("the image is %+v, %v", got, err)
	}
	if diff := cmp.Diff([]byte(hash), got.Thumbhash); diff != "" {
		t.Errorf("hash (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(ids[2:], claimDerivations(t, db, 3, 0)); diff != "" {
		t.Errorf("still due is what was purged meanwhile (-want +got):\n%s", diff)
	}
	if err := db.EndDerivations(t.Context(), ids); err != nil {
		t.Fatal(err)
	}
	if left := claimDerivations(t, db, 3, 0); len(left) != 0 {
		t.Errorf("still due: %v", left)
	}
}

func TestDerivations_GivesUp(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	ids := dueImages(t, db, 1)
	for range 20 { // storage is away: no tries
		if len(claimDerivations(t, db, 1, time.Hour)) != 1 {
			t.Fatal("it was not due")
		}
		if err := db.PostponeDerivations(t.Context(), ids, 0); err != nil {
			t.Fatal(err)
		}
	}
	claims := 0
	for len(claimDerivations(t, db, 1, 0)) == 1 { // the process dies each time
		if due(t, db, ids[0]).IsZero() {
			t.Fatalf("try %d has no date: what is made of it is lost with the process", claims+1)
		}
		if claims++; claims > 10 {
			t.Fatal("a picture that ends the process each time is tried for ever")
		}
	}
	if claims != 5 {
		t.Errorf("it was tried %d times, want 5", claims)
	}
	if !due(t, db, ids[0]).IsZero() {
		t.Error("what is given up still has a date")
	}
}

// due is when the thumbnail of an image is to be made, or zero.
func due(t *testing.T, db *store.DB, id string) time.Time {
	t.Helper()
	var at *time.Time
	if err := db.Pool().QueryRow(t.Context(), `SELECT derive_at FROM image WHERE id = $1`, id).Scan(&at); err != nil {
		t.Fatal(err)
	}
	if at == nil {
		return time.Time{}
	}
	return *at
}

func TestDerivations_RetryWaitsLongerEachTime(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	ids := dueImages(t, db, 1)
	for _, want := range []time.Duration{time.Minute, 4 * time.Minute, 16 * time.Minute, 64 * time.Minute} {
		if len(claimDerivations(t, db, 1, time.Hour)) != 1 {
			t.Fatal("it was not due")
		}
		if err := db.RetryDerivation(t.Context(), ids[0], time.Minute); err != nil {
			t.Fatal(err)
		}
		if wait := time.Until(due(t, db, ids[0])).Round(time.Minute); wait != want {
			t.Errorf("it waits for %s, want %s", wait, want)
		}
		if _, err := db.Pool().Exec(t.Context(), `UPDATE image SET derive_at = now()`); err != nil {
			t.Fatal(err)
		}
	}
	claimDerivations(t, db, 1, time.Hour)
	if err := db.RetryDerivation(t.Context(), ids[0], time.Minute); err != nil {
		t.Fatal(err)
	}
	if at := due(t, db, ids[0]); !at.IsZero() {
		t.Errorf("it is due at %s after its last try", at)
	}
}

// While there is something better to do, only what has waited long is claimed.
func TestClaimDerivations_OnlyTheOverdue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.finish(t, succeeded(b.claim(t, b.queued(t, nil).ID)))
	for overdue, want := range map[time.Duration]int{time.Minute: 0, 0: 1} {
		images, err := b.ClaimDerivations(t.Context(), 10, overdue, 0)
		if err != nil || len(images) != want {
			t.Errorf("%d images are overdue for %s, %v; want %d", len(images), overdue, err, want)
		}
	}
}
