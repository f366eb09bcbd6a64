package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// secrets are the last characters of what an owner's deliveries are signed with.
func (b *bundle) secrets(t *testing.T, owner string) (list []string) {
	t.Helper()
	rows, err := b.WebhookSecrets(t.Context(), b.project.OrgID, owner)
	if err != nil {
		t.Fatal(err)
	}
	return last4s(rows)
}

func last4s(rows []*store.WebhookSecret) (list []string) {
	for _, s := range rows {
		list = append(list, s.Last4)
	}
	return list
}

func TestRotateWebhookSecret_Overlap(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.made(t, b.scope(), nil)
	before := time.Now()
	rows, err := b.RotateWebhookSecret(t.Context(), b.scope(), e.ID, time.Hour, sealed("two2"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"two2", "one1"}, last4s(rows)); diff != "" {
		t.Fatal(diff)
	}
	if string(rows[0].Sealed) != "sealed two2" || rows[0].ExpiresAt != nil || rows[0].N != 2 {
		t.Errorf("the new one: %+v", rows[0])
	}
	if end := rows[1].ExpiresAt; end == nil || end.Sub(before.Add(time.Hour)).Abs() > time.Minute {
		t.Errorf("the old one ends at %v", end)
	}
	if read, err := b.WebhookSecrets(t.Context(), b.project.OrgID, e.ID); err != nil || !cmp.Equal(rows, read) {
		t.Errorf("%v, %s", err, cmp.Diff(rows, read))
	}
	// Who ends sooner than the new overlap keeps its end.
	rows, err = b.RotateWebhookSecret(t.Context(), b.scope(), e.ID, 5*time.Hour, sealed("thr3"))
	if err != nil {
		t.Fatal(err)
	}
	var hours []string
	for _, s := range rows[1:] {
		hours = append(hours, fmt.Sprintf("%s %.0f", s.Last4, time.Until(*s.ExpiresAt).Hours()))
	}
	if diff := cmp.Diff([]string{"two2 5", "one1 1"}, hours); diff != "" {
		t.Error(diff)
	}
	// At its end a secret is over, not a moment later.
	b.exec(t, `UPDATE webhook_secret SET expires_at = now() WHERE last4 = 'one1'`)
	if diff := cmp.Diff([]string{"thr3", "two2"}, b.secrets(t, e.ID)); diff != "" {
		t.Error(diff)
	}
	// Without an overlap only the new one is left.
	if rows, err = b.RotateWebhookSecret(t.Context(), b.scope(), e.ID, 0, sealed("for4")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{{"for4"}, {"for4"}}, [][]string{last4s(rows), b.secrets(t, e.ID)}); diff != "" {
		t.Error(diff)
	}
}

func TestRotateWebhookSecret_Limit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.made(t, b.scope(), nil)
	var mu sync.Mutex
	var refused int
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := b.RotateWebhookSecret(t.Context(), b.scope(), e.ID, time.Hour, sealed(fmt.Sprintf("new%d", i)))
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, store.ErrTooManySecrets) {
				refused++
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if secrets := b.secrets(t, e.ID); refused != 4 || len(secrets) != store.MaxWebhookSecrets || slices.Index(secrets, "one1") != 4 {
		t.Errorf("%d of 8 refused, %v are valid", refused, secrets)
	}
	if n := b.count(t, `SELECT count(*) FROM webhook_secret WHERE owner = $1 AND expires_at IS NULL`, e.ID); n != 1 {
		t.Errorf("%d are the present one", n)
	}
	if rows, err := b.RotateWebhookSecret(t.Context(), b.scope(), e.ID, 0, sealed("way.")); err != nil || len(rows) != 1 {
		t.Errorf("the way out: %v, %v", last4s(rows), err)
	}
}

// Who needs the first secret while another makes it gets the other's.
func TestEnsureProjectSecret_OneOfTwo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ensure := func(db *store.DB, name string) error {
		rows, err := db.EnsureProjectSecret(t.Context(), b.scope(), sealed(name))
		if diff := cmp.Diff([]string{"one1"}, last4s(rows)); err == nil && diff != "" {
			err = fmt.Errorf("%s: %s", name, diff)
		}
		return err
	}
	second := make(chan error, 1)
	err := b.Transact(t.Context(), func(tx *store.DB) error {
		if err := ensure(tx, "one1"); err != nil {
			return err
		}
		go func() { second <- ensure(b.DB, "two2") }()
		return b.awaitLockWait(t)
	})
	if err := errors.Join(err, <-second); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"one1"}, b.secrets(t, b.project.ID)); diff != "" {
		t.Error(diff)
	}
}

func TestEnsureProjectSecret_AfterRotation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rotate := func(name string) []string {
		t.Helper()
		rows, err := b.RotateProjectSecret(t.Context(), b.scope(), 0, sealed(name))
		if err != nil {
			t.Fatal(err)
		}
		return last4s(rows)
	}
	ensure := func(ctx context.Context, org string) ([]string, error) {
		rows, err := b.EnsureProjectSecret(ctx, store.Scope{OrgID: org, ProjectID: b.project.ID}, sealed("none"))
		return last4s(rows), err
	}
	// A rotation is the first use, too.
	if diff := cmp.Diff([][]string{{"one1"}, {"two2"}}, [][]string{rotate("one1"), rotate("two2")}); diff != "" {
		t.Error(diff)
	}
	b.exec(t, `DELETE FROM webhook_secret WHERE expires_at <= now()`) // as time does
	got, err := ensure(t.Context(), b.project.OrgID)
	if diff := cmp.Diff([]string{"two2"}, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if got, err = ensure(t.Context(), "org_other"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another organization gets %v, %v", got, err)
	}
	if _, err := b.RotateProjectSecret(t.Context(), store.Scope{OrgID: "org_other", ProjectID: b.project.ID}, 0, sealed("mine")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another organization rotates it: %v", err)
	}
}

// Each mode makes and rotates its own.
func TestProjectSecrets_OfEachMode(t *testing.T) {
	t.Parallel()
	b := setup(t)
	live, test := b.scope(), b.scope()
	test.Test = true
	for name, scope := range map[string]store.Scope{"live": live, "test": test} {
		rows, err := b.EnsureProjectSecret(t.Context(), scope, sealed(name))
		if diff := cmp.Diff([]string{name}, last4s(rows)); diff != "" || err != nil {
			t.Error(err, diff)
		}
	}
	if _, err := b.RotateProjectSecret(t.Context(), test, 0, sealed("two2")); err != nil {
		t.Fatal(err)
	}
	got := [][]string{b.secrets(t, live.SecretOwner()), b.secrets(t, test.SecretOwner())}
	if diff := cmp.Diff([][]string{{"live"}, {"two2"}}, got); diff != "" {
		t.Error(diff)
	}
}
