package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// key records a project's key; change, if not nil, makes it another.
func (b *bundle) key(t *testing.T, name string, change func(*store.APIKey)) *store.APIKey {
	t.Helper()
	k := store.APIKey{OrgID: b.project.OrgID, ProjectID: &b.project.ID, Name: name, Kind: store.KeyLive, Hash: []byte(name), Last4: "abcd"}
	if change != nil {
		change(&k)
	}
	made, err := b.CreateAPIKey(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// Whom a key speaks for is found by indexes alone, whatever Postgres knows of the
// tables: it reads three rows.
func TestAPIKeyByHash_ReadsLittle(t *testing.T) {
	t.Parallel()
	for name, analyze := range map[string]string{"Young": `SELECT 1`, "Analyzed": `ANALYZE api_key, org, project`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			k := b.key(t, "k", nil)
			b.exec(t, `INSERT INTO org (id, name, plan) SELECT 'org_' || n, 'o', 'free' FROM generate_series(1, 2000) AS n`)
			b.exec(t, `INSERT INTO project (id, org_id, name) SELECT 'proj_' || n, 'org_' || n, 'p' FROM generate_series(1, 2000) AS n`)
			b.exec(t, `
				INSERT INTO api_key (id, org_id, project_id, name, kind, hash, pepper_version, last4)
				SELECT 'key_' || n, 'org_' || n, 'proj_' || n, 'k', 'live', n::text::bytea, 0, '' FROM generate_series(1, 2000) AS n`)
			b.exec(t, analyze)
			n := b.rowsRead(t, func(db *store.DB) error {
				got, err := db.APIKeyByHash(t.Context(), [][]byte{[]byte("other"), k.Hash})
				if err == nil && (got.ID != k.ID || got.Plan != "free") {
					err = fmt.Errorf("key %s, plan %s", got.ID, got.Plan)
				}
				return err
			})
			if n > 3 {
				t.Errorf("%d rows are read, want 3", n)
			}
		})
	}
}

// News of keys reach listeners when their transaction commits, by key, organization
// or project.
func TestForgetKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	told, pulses := make(chan []string, 100), make(chan struct{}, 1000)
	live := store.NewLive(store.LiveOptions{
		URL: storetest.URL(b.DB), OnKeys: func(ids []string) { told <- ids }, OnPulse: func() { pulses <- struct{}{} },
	})
	defer runLive(t, live)()
	receive(t, told, "that it listens")
	for range 3 {
		receive(t, pulses, "a pulse")
	}
	b.transact(t, func(tx *store.DB) error {
		if err := tx.ForgetKeys(t.Context(), b.project.OrgID, b.project.ID); err != nil {
			return err
		}
		if len(told) > 0 {
			t.Error("it was told before the commit")
		}
		return nil
	})
	if diff := cmp.Diff([]string{b.project.OrgID, b.project.ID}, receive(t, told, "the ids")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	many := make([]string, 450)
	for i := range many {
		many[i] = store.NewAPIKeyID()
	}
	if err := b.ForgetKeys(t.Context(), many...); err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) < len(many) {
		got = append(got, receive(t, told, "more ids")...)
	}
	if diff := cmp.Diff(many, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	k := b.key(t, "k", nil)
	for what, do := range map[string]func(context.Context) error{
		"change": func(ctx context.Context) error {
			_, err := b.UpdateAPIKey(ctx, k.OrgID, k.ID, store.APIKeyChange{Name: &k.Name})
			return err
		},
		"replace": func(ctx context.Context) error {
			_, err := b.ReplaceAPIKey(ctx, k.OrgID, k.ID, "key_2", time.Hour)
			return err
		},
	} {
		if err := do(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{k.ID}, receive(t, told, what)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

// What belongs to another organization is neither read nor changed.
func TestAPIKeys_OfOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	k := b.key(t, "k", nil)
	name := "theirs"
	for what, do := range map[string]func(context.Context) error{
		"read": func(ctx context.Context) error { _, err := b.APIKey(ctx, "org_other", k.ID); return err },
		"lock": func(ctx context.Context) error { _, err := b.LockAPIKey(ctx, "org_other", k.ID); return err },
		"change": func(ctx context.Context) error {
			_, err := b.UpdateAPIKey(ctx, "org_other", k.ID, store.APIKeyChange{Name: &name})
			return err
		},
		"replace": func(ctx context.Context) error {
			_, err := b.ReplaceAPIKey(ctx, "org_other", k.ID, "key_2", 0)
			return err
		},
		"revoke": func(ctx context.Context) error { _, err := b.RevokeAPIKey(ctx, "org_other", k.ID); return err },
	} {
		if err := do(t.Context()); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got, err := b.AnyAPIKey(t.Context(), k.ID); err != nil || !cmp.Equal(k, got) {
		t.Errorf("afterwards: %v, %v", got, err)
	}
}

// Many who revoke one key at once make one event.
func TestRevokeAPIKey_Once(t *testing.T) {
	t.Parallel()
	b := setup(t)
	k, master := b.key(t, "k", nil), b.key(t, "m", func(k *store.APIKey) { k.Kind, k.ProjectID = store.KeyMaster, nil })
	var revokers sync.WaitGroup
	for range 10 {
		revokers.Go(func() {
			for _, id := range []string{k.ID, master.ID} {
				if got, err := b.RevokeAPIKey(t.Context(), k.OrgID, id); err != nil || got.RevokedAt == nil {
					t.Errorf("%v, %v", got, err)
				}
			}
		})
	}
	revokers.Wait()
	if diff := cmp.Diff([]string{"key.revoked " + k.ID}, b.keyEvents(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// keyEvents are "type id" of the events of keys.
func (b *bundle) keyEvents(t *testing.T) (list []string) {
	t.Helper()
	events, err := b.Events(t.Context(), b.project.ID, store.EventFilter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		var data struct{ ID string }
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(e.Type, "key.") {
			list = append(list, e.Type+" "+data.ID)
		}
	}
	return list
}

// Each key is warned of once, 7 days before its end or at a tenth of its life, by one
// process.
func TestWarnExpiringKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ids := map[string]string{}
	for name, life := range map[string][2]time.Duration{ // past, to come
		"soon":    {83 * 24 * time.Hour, 7*24*time.Hour - time.Minute},
		"later":   {82 * 24 * time.Hour, 8 * 24 * time.Hour},
		"short":   {9*time.Hour + time.Minute, 59 * time.Minute},
		"younger": {8 * time.Hour, 2 * time.Hour},
		"over":    {24 * time.Hour, -time.Second},
		"revoked": {24 * time.Hour, time.Minute},
		"never":   {24 * time.Hour, 0},
		"master":  {24 * time.Hour, time.Minute},
	} {
		k := b.key(t, name, func(k *store.APIKey) {
			if life[1] != 0 {
				end := time.Now().Add(life[1])
				k.ExpiresAt = &end
			}
			if name == "master" {
				k.Kind, k.ProjectID = store.KeyMaster, nil
			}
		})
		b.exec(t, `UPDATE api_key SET created_at = $2 WHERE id = $1`, k.ID, time.Now().Add(-life[0]))
		ids[name] = k.ID
	}
	b.exec(t, `UPDATE api_key SET revoked_at = now() WHERE name = 'revoked'`)
	var mu sync.Mutex
	warned := map[string]int{}
	var warners sync.WaitGroup
	for range 4 {
		warners.Go(func() {
			err := b.Transact(t.Context(), func(tx *store.DB) error {
				keys, err := tx.WarnExpiringKeys(t.Context(), 2)
				mu.Lock()
				defer mu.Unlock()
				for _, k := range keys {
					warned[k.ID]++
					if k.OrgName != "test" || k.WarnedAt == nil {
						t.Errorf("%s of %s, warned at %v", k.Name, k.OrgName, k.WarnedAt)
					}
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	warners.Wait()
	if diff := cmp.Diff(map[string]int{ids["soon"]: 1, ids["short"]: 1, ids["master"]: 1}, warned); diff != "" {
		t.Errorf("warned (-want +got):\n%s", diff)
	}
	if got := b.keyEvents(t); len(got) != 2 {
		t.Errorf("events %v, want those of soon and short", got)
	}
	// Another end is another warning.
	end := time.Now().Add(time.Minute)
	next := &end
	if _, err := b.UpdateAPIKey(t.Context(), b.project.OrgID, ids["soon"], store.APIKeyChange{ExpiresAt: &next}); err != nil {
		t.Fatal(err)
	}
	if keys, err := b.WarnExpiringKeys(t.Context(), 10); err != nil || len(keys) != 1 || keys[0].ID != ids["soon"] {
		t.Errorf("after its end was moved: %v, %v", keys, err)
	}
}
