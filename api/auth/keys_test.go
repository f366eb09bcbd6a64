package auth_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type bundle struct {
	db      *store.DB
	project *store.Project
	clock   *clock
	keys    *auth.Keys
}

func setup(t testing.TB) *bundle {
	t.Helper()
	b := &bundle{db: storetest.New(t), clock: &clock{now: time.Now()}}
	org, err := b.db.CreateOrg(t.Context(), "org", "free", nil)
	if err != nil {
		t.Fatal(err)
	}
	if b.project, err = b.db.CreateProject(t.Context(), org.ID, "project"); err != nil {
		t.Fatal(err)
	}
	b.keys = b.newKeys("")
	return b
}

func (b *bundle) newKeys(secret string) *auth.Keys {
	return auth.NewKeys(auth.Options{DB: b.db, Secret: secret, DatabaseSecret: "of the database", Now: b.clock.Now})
}

func (b *bundle) create(t testing.TB, kind string, expiresAt *time.Time) (string, *store.APIKey) {
	t.Helper()
	secret, row, err := b.keys.Create(t.Context(), nil, auth.NewKey{OrgID: b.project.OrgID, ProjectID: b.project.ID, Name: "name", Kind: kind, ExpiresAt: expiresAt})
	if err != nil {
		t.Fatal(err)
	}
	return secret, row
}

func TestAuthenticate_TellsWhoCalls(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for kind, test := range map[string]bool{store.KeyLive: false, store.KeyTest: true} {
		secret, row := b.create(t, kind, nil)
		got, err := b.keys.Authenticate(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
		want := &auth.Caller{
			Kind: auth.KindKey, KeyID: row.ID, UsageID: row.ID, OrgID: b.project.OrgID, ProjectID: b.project.ID, Test: test, Grants: auth.Grants{"*"},
			Limits: auth.Limits{Plan: "free"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s key (-want +got):\n%s", kind, diff)
		}
		if row.Last4 != secret[len(secret)-4:] || len(row.Hash) != 32 {
			t.Errorf("the row has last4 %q and %d bytes of hash", row.Last4, len(row.Hash))
		}
	}
}

func TestAuthenticate_Refuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	soon := b.clock.Now().Add(10 * time.Second)
	expiring, _ := b.create(t, store.KeyLive, &soon)
	revoked, row := b.create(t, store.KeyLive, nil)
	foreign, _, err := auth.NewKeys(auth.Options{DB: b.db, DatabaseSecret: "of another database"}).Create(t.Context(), nil, auth.NewKey{OrgID: b.project.OrgID, ProjectID: b.project.ID, Name: "n", Kind: store.KeyLive})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.keys.Authenticate(t.Context(), expiring); err != nil {
		t.Fatalf("a key before its end: %v", err)
	}
	b.clock.advance(11 * time.Second) // well within the time that keys are believed
	if _, err := b.db.RevokeAPIKey(t.Context(), b.project.OrgID, row.ID); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key  string
		want error
	}{
		"Missing":      {"", auth.ErrMissing},
		"Malformed":    {"nb_live_x", auth.ErrMalformed},
		"Unknown":      {foreign, auth.ErrUnknown},
		"UnknownAgain": {foreign, auth.ErrUnknown},
		"Expired":      {expiring, auth.ErrExpired},
		"Revoked":      {revoked, auth.ErrRevoked},
	} {
		if caller, err := b.keys.Authenticate(t.Context(), c.key); !errors.Is(err, c.want) || caller != nil {
			t.Errorf("%s: %v, %v, want %v", name, caller, err, c.want)
		}
	}
}

func TestCreate_RefusesWhatNobodyMeans(t *testing.T) {
	t.Parallel()
	one := 1
	for name, n := range map[string]auth.NewKey{
		"Kind":            {OrgID: "org_1", ProjectID: "proj_1", Kind: "other"},
		"NoProject":       {OrgID: "org_1", Kind: store.KeyLive},
		"OperatorProject": {OrgID: "org_1", ProjectID: "proj_1", Kind: store.KeyLive, Operator: true},
		"MasterProject":   {OrgID: "org_1", ProjectID: "proj_1", Kind: store.KeyMaster},
		"MasterScopes":    {OrgID: "org_1", Kind: store.KeyMaster, Scopes: []string{"*"}},
		"MasterMonthly":   {OrgID: "org_1", Kind: store.KeyMaster, MonthlyLimit: &one},
		"MasterRate":      {OrgID: "org_1", Kind: store.KeyMaster, RateLimit: &one},
		"Scope":           {OrgID: "org_1", ProjectID: "proj_1", Kind: store.KeyTest, Scopes: []string{"generations:read", "org:read"}},
		"Address":         {OrgID: "org_1", Kind: store.KeyMaster, IPAllowlist: []string{"10.0.0.0/8", "10.0.0"}},
	} {
		if _, _, err := auth.NewKeys(auth.Options{}).Create(t.Context(), nil, n); err == nil {
			t.Errorf("%s: a key was made", name)
		}
	}
}

func TestAuthenticate_KeysOutliveANewSecret(t *testing.T) {
	t.Parallel()
	b := setup(t)
	before, row := b.create(t, store.KeyLive, nil)
	b.keys = b.newKeys("the operator's")
	after, newer := b.create(t, store.KeyLive, nil)
	for name, key := range map[string]string{"Before": before, "After": after} {
		if _, err := b.keys.Authenticate(t.Context(), key); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff([]int16{0, 1}, []int16{row.PepperVersion, newer.PepperVersion}); diff != "" {
		t.Errorf("pepper versions (-want +got):\n%s", diff)
	}
	if _, err := b.newKeys("").Authenticate(t.Context(), after); !errors.Is(err, auth.ErrUnknown) {
		t.Errorf("a key of a secret that is gone: %v, want ErrUnknown", err)
	}
}

func TestAuthenticate_BelievesAKeyForItsTTL(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key, row := b.create(t, store.KeyLive, nil)
	expect := func(when string, want error) {
		t.Helper()
		if _, err := b.keys.Authenticate(t.Context(), key); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", when, err, want)
		}
	}
	expect("at first", nil)
	if _, err := b.db.RevokeAPIKey(t.Context(), b.project.OrgID, row.ID); err != nil {
		t.Fatal(err)
	}
	expect("revoked untold", nil)
	b.clock.advance(59 * time.Second)
	b.keys.Pulse()
	expect("within the TTL", nil)
	b.clock.advance(2 * time.Second)
	b.keys.Pulse()
	expect("after the TTL", auth.ErrRevoked)
}

func TestInvalidate_ForgetsTheNamedKeysOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, oneRow := b.create(t, store.KeyLive, nil)
	two, twoRow := b.create(t, store.KeyLive, nil)
	for _, row := range []*store.APIKey{oneRow, twoRow} {
		for _, key := range []string{one, two} {
			if _, err := b.keys.Authenticate(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.db.RevokeAPIKey(t.Context(), b.project.OrgID, row.ID); err != nil {
			t.Fatal(err)
		}
		if row == oneRow {
			b.keys.Invalidate([]string{"key_other", oneRow.ID})
			if _, err := b.keys.Authenticate(t.Context(), one); !errors.Is(err, auth.ErrRevoked) {
				t.Errorf("the named key: %v, want ErrRevoked", err)
			}
			one = two
		}
	}
	if _, err := b.keys.Authenticate(t.Context(), two); err != nil {
		t.Errorf("the key that was not named was asked for again: %v", err)
	}
	b.keys.Invalidate(nil)
	if _, err := b.keys.Authenticate(t.Context(), two); !errors.Is(err, auth.ErrRevoked) {
		t.Errorf("after forgetting all: %v, want ErrRevoked", err)
	}
}

// Revocation reaches a process by NOTIFY, without waiting for the TTL.
func TestInvalidate_ByLive(t *testing.T) {
	t.Parallel()
	b := setup(t)
	told := make(chan []string, 10)
	live := store.NewLive(store.LiveOptions{URL: storetest.URL(b.db), OnKeys: func(ids []string) {
		b.keys.Invalidate(ids)
		told <- ids
	}})
	ctx, stop := context.WithCancel(t.Context())
	var listening sync.WaitGroup
	listening.Go(func() { live.Run(ctx) })
	defer listening.Wait()
	defer stop()
	<-told // it listens now, and forgot everything

	key, row := b.create(t, store.KeyLive, nil)
	if _, err := b.keys.Authenticate(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if _, err := b.db.RevokeAPIKey(t.Context(), b.project.OrgID, row.ID); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{row.ID}, <-told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if _, err := b.keys.Authenticate(t.Context(), key); !errors.Is(err, auth.ErrRevoked) {
		t.Errorf("after the news: %v, want ErrRevoked", err)
	}
}

func TestAuthenticate_UnderConcurrencyAndInvalidation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key, row := b.create(t, store.KeyLive, nil)
	var callers sync.WaitGroup
	for range 16 {
		callers.Go(func() {
			for range 50 {
				if _, err := b.keys.Authenticate(t.Context(), key); err != nil {
					t.Errorf("a good key: %v", err)
				}
				b.keys.Invalidate([]string{row.ID})
			}
		})
	}
	callers.Wait()
	if _, err := b.db.RevokeAPIKey(t.Context(), b.project.OrgID, row.ID); err != nil {
		t.Fatal(err)
	}
	b.keys.Invalidate([]string{row.ID})
	if _, err := b.keys.Authenticate(t.Context(), key); !errors.Is(err, auth.ErrRevoked) {
		t.Errorf("something stale was kept: %v, want ErrRevoked", err)
	}
}

func TestAuthenticate_WithoutTheDatabase(t *testing.T) {
	t.Parallel()
	b := setup(t)
	known, _ := b.create(t, store.KeyLive, nil)
	fresh, _ := b.create(t, store.KeyLive, nil)
	if _, err := b.keys.Authenticate(t.Context(), known); err != nil {
		t.Fatal(err)
	}
	b.db.Close()
	if _, err := b.keys.Authenticate(t.Context(), known); err != nil {
		t.Errorf("a remembered key: %v", err)
	}
	_, err := b.keys.Authenticate(t.Context(), fresh)
	if err == nil || errors.Is(err, auth.ErrUnknown) {
		t.Errorf("a key that could not be looked up: %v, want an error of the database", err)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	bundle := setup(b)
	key, _ := bundle.create(b, store.KeyLive, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bundle.keys.Authenticate(b.Context(), key); err != nil {
			b.Fatal(err)
		}
	}
}
