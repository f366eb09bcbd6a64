package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// wantPurge checks that the blobs of a generation will be looked for, not before
// a frozen run can no longer put any, and forgets it.
func (b *bundle) wantPurge(t *testing.T, id string) {
	t.Helper()
	var left time.Duration
	err := b.Pool().QueryRow(t.Context(), `
		UPDATE generation SET purge_at = NULL
		FROM (SELECT purge_at FROM generation WHERE id = $1) AS before
		WHERE id = $1
		RETURNING coalesce(before.purge_at - now(), '0')`, id).Scan(&left)
	if err != nil || left < store.PurgeAfter-time.Minute || left > store.PurgeAfter {
		t.Errorf("the blobs are looked for in %s, %v; want about %s", left, err, store.PurgeAfter)
	}
}

func TestMarkImagesPurged_LooksAgainForWhatComesLate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := b.queued(t, func(g *store.NewGeneration) { g.N = 2 })
	claim := b.claim(t, g.ID)
	o, second := succeeded(claim), newImage(claim, 1)
	o.Images = append(o.Images, second)
	b.finish(t, o)
	if err := b.MarkImagesPurged(t.Context(), []string{store.ImageID(g.ID, 0)}); err != nil {
		t.Fatal(err)
	}
	got, err := b.ImageIDsWithRow(t.Context(), &store.Purge{ID: g.ID, ProjectID: b.project.ID, N: 2})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{second.ID: true}, got); diff != "" {
		t.Errorf("images whose blobs stay (-want +got):\n%s", diff)
	}
	b.wantPurge(t, g.ID)

	later := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	if _, err := b.Pool().Exec(t.Context(), `UPDATE generation SET purge_at = $1`, later); err != nil {
		t.Fatal(err)
	}
	if err := b.MarkImagesPurged(t.Context(), []string{second.ID}); err != nil {
		t.Fatal(err)
	}
	var at time.Time
	if err := b.Pool().QueryRow(t.Context(), `SELECT purge_at FROM generation`).Scan(&at); err != nil || !at.Equal(later) {
		t.Errorf("a purge due later is now due at %s, %v", at, err)
	}
}

// TestExpiredImages_PagesThroughEqualTimes pages through images and purges that are
// due at the same moment.
func TestExpiredImages_PagesThroughEqualTimes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	want := dueImages(t, b.DB, 5)
	_, err := b.Pool().Exec(t.Context(), `UPDATE image SET expires_at = '2026-01-01 00:00:00.123456Z'`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var last *store.Image
	for {
		page, err := b.ExpiredImages(t.Context(), last, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, last = range page {
			got = append(got, last.ID)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

func TestDuePurges_PagesThroughEqualTimes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var want []string
	for range 5 {
		g := b.queued(t, nil)
		b.finish(t, succeeded(b.claim(t, g.ID)))
		want = append(want, g.ID)
	}
	if _, err := b.Pool().Exec(t.Context(), `UPDATE generation SET purge_at = '2026-01-01 00:00:00.123456Z'`); err != nil {
		t.Fatal(err)
	}
	var got []string
	var last *store.Purge
	for {
		page, err := b.DuePurges(t.Context(), last, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, last = range page {
			got = append(got, last.ID)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("purges (-want +got):\n%s", diff)
	}
}
