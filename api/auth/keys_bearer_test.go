package auth_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

func (b *bundle) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := b.db.Pool().Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func (b *bundle) make(t testing.TB, n auth.NewKey) (string, *store.APIKey) {
	t.Helper()
	n.OrgID, n.Name = b.project.OrgID, "name"
	if n.Kind != store.KeyMaster {
		n.ProjectID = b.project.ID
	}
	secret, row, err := b.keys.Create(t.Context(), nil, n)
	if err != nil {
		t.Fatal(err)
	}
	return secret, row
}

// All that decides about a request is known of the key.
func TestAuthenticate_TellsLimitsAndRights(t *testing.T) {
	t.Parallel()
	b := setup(t)
	monthly, rate, ofOrg, ofProject := 100, 10, 500, 50
	b.exec(t, `UPDATE org SET rate_limit = $1, plan = 'pro'`, ofOrg)
	b.exec(t, `UPDATE project SET rate_limit = $1`, ofProject)
	live, liveRow := b.make(t, auth.NewKey{
		Kind: store.KeyLive, Scopes: []string{"generations:*"}, IPAllowlist: []string{"10.0.0.1", "::ffff:192.0.2.0/120", "2001:db8::1", "2001:db8::/32"},
		MonthlyLimit: &monthly, RateLimit: &rate,
	})
	master, masterRow := b.make(t, auth.NewKey{Kind: store.KeyMaster})
	operator, operatorRow := b.make(t, auth.NewKey{Kind: store.KeyMaster, Operator: true})
	ofMaster := auth.Limits{Plan: "pro", OrgRate: &ofOrg}
	for key, want := range map[string]*auth.Caller{
		live: {
			Kind: auth.KindKey, KeyID: liveRow.ID, UsageID: liveRow.ID, OrgID: b.project.OrgID, ProjectID: b.project.ID, Grants: auth.Grants{"generations:*"},
			Limits: auth.Limits{Plan: "pro", OrgRate: &ofOrg, ProjectRate: &ofProject, KeyRate: &rate, KeyMonthly: &monthly},
			Allow: []netip.Prefix{
				netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("192.0.2.0/24"),
				netip.MustParsePrefix("2001:db8::1/128"), netip.MustParsePrefix("2001:db8::/32"),
			},
		},
		master:   {Kind: auth.KindMaster, KeyID: masterRow.ID, OrgID: b.project.OrgID, Grants: auth.MasterGrants(), Limits: ofMaster},
		operator: {Kind: auth.KindMaster, KeyID: operatorRow.ID, OrgID: b.project.OrgID, Grants: auth.MasterGrants(), Limits: ofMaster, Operator: true},
	} {
		got, err := b.keys.Authenticate(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key[:8], diff)
		}
	}
}

func TestParseAllowed_Refuses(t *testing.T) {
	t.Parallel()
	for _, entry := range []string{"", "10.0.0", "10.0.0.256", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "fe80::1%eth0", "example.com", " 10.0.0.1", "::ffff:10.0.0.1/90"} {
		if got, err := auth.ParseAllowed([]string{"::1", entry}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", entry)) {
			t.Errorf("%q: %v, %v", entry, got, err)
		}
	}
	if got, err := auth.ParseAllowed([]string{"10.1.2.3/8", "10.0.0.0/8", "::ffff:10.0.0.0/104"}); err != nil || len(got) != 1 || got[0].String() != "10.0.0.0/8" {
		t.Errorf("one range written in three ways: %v, %v", got, err)
	}
}

// What happens to an organization or project happens to its keys, and they are told
// by its id.
func TestAuthenticate_OfWhatIsNoMore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql         string
		id          func(b *bundle) string
		key, master error
	}{
		"Suspended": {`UPDATE org SET suspended_at = now()`, func(b *bundle) string { return b.project.OrgID }, auth.ErrSuspended, auth.ErrSuspended},
		"Deleted":   {`UPDATE org SET deleted_at = now(), suspended_at = now()`, func(b *bundle) string { return b.project.OrgID }, auth.ErrRevoked, auth.ErrRevoked},
		"Archived":  {`UPDATE project SET archived_at = now()`, func(b *bundle) string { return b.project.ID }, auth.ErrRevoked, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			key, _ := b.make(t, auth.NewKey{Kind: store.KeyTest})
			master, _ := b.make(t, auth.NewKey{Kind: store.KeyMaster})
			expect := func(wantKey, wantMaster error) {
				t.Helper()
				for credential, want := range map[string]error{key: wantKey, master: wantMaster} {
					if _, err := b.keys.Authenticate(t.Context(), credential); !errors.Is(err, want) {
						t.Errorf("%s: %v, want %v", credential[:8], err, want)
					}
				}
			}
			expect(nil, nil)
			b.exec(t, c.sql)
			b.keys.Invalidate([]string{"org_other", "proj_other"})
			expect(nil, nil)
			b.keys.Invalidate([]string{c.id(b)})
			expect(c.key, c.master)
		})
	}
}

// Without a sign that revocations would be told, a key is believed for a second only.
func TestAuthenticate_Deaf(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key, row := b.make(t, auth.NewKey{Kind: store.KeyLive})
	expect := func(when string, want error) {
		t.Helper()
		if _, err := b.keys.Authenticate(t.Context(), key); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", when, err, want)
		}
	}
	b.keys.Pulse()
	expect("at first", nil)
	if _, err := b.db.RevokeAPIKey(t.Context(), b.project.OrgID, row.ID); err != nil {
		t.Fatal(err)
	}
	b.clock.advance(1400 * time.Millisecond)
	expect("shortly after a pulse", nil)
	b.clock.advance(200 * time.Millisecond)
	expect("long after it", auth.ErrRevoked)
}

// A key that is not remembered takes one query, whose plan the store's tests look at.
func TestAuthenticate_OneQuery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key, _ := b.make(t, auth.NewKey{Kind: store.KeyLive})
	before := b.db.Pool().Stat().AcquireCount()
	if _, err := b.keys.Authenticate(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if n := b.db.Pool().Stat().AcquireCount() - before; n != 1 {
		t.Errorf("%d queries, want 1", n)
	}
	for range 10 {
		if _, err := b.keys.Authenticate(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.db.Pool().Stat().AcquireCount() - before; n != 1 {
		t.Errorf("%d queries for 11 requests, want 1", n)
	}
}

// A remembered key costs a request next to nothing.
func TestTiming_AuthenticateIsFast(t *testing.T) { //nolint:paralleltest // counts the allocations of the process
	b := setup(t)
	key, _ := b.make(t, auth.NewKey{Kind: store.KeyLive, IPAllowlist: []string{"10.0.0.0/8"}})
	const limit, most = 50 * time.Microsecond, 8
	best, allocs := time.Hour, int64(math.MaxInt64) // of several tries: others use the machine too
	for range 5 {
		r := testing.Benchmark(func(tb *testing.B) {
			for tb.Loop() {
				if _, err := b.keys.Authenticate(tb.Context(), key); err != nil {
					tb.Fatal(err)
				}
			}
		})
		best, allocs = min(best, time.Duration(r.NsPerOp())), min(allocs, r.AllocsPerOp())
		if best < limit && allocs <= most {
			break
		}
	}
	if best >= limit || allocs > most {
		t.Errorf("%s and %d allocations, want less than %s and at most %d", best, allocs, limit, most)
	}
}

// The last use is written once a minute at most, for all keys together, and when the
// process ends.
func TestRun_RecordsLastUse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, oneRow := b.make(t, auth.NewKey{Kind: store.KeyLive})
	two, twoRow := b.make(t, auth.NewKey{Kind: store.KeyMaster})
	_, unused := b.make(t, auth.NewKey{Kind: store.KeyLive})
	use := func(keys ...string) {
		t.Helper()
		for _, key := range keys {
			if _, err := b.keys.Authenticate(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
	run := func() { // to its end
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { b.keys.Run(ctx, slog.New(slog.DiscardHandler)) })
		stop()
		running.Wait()
	}
	used := func() map[string]string {
		t.Helper()
		rows, err := b.db.APIKeys(t.Context(), b.project.OrgID, store.APIKeyFilter{}, store.Page{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		at := map[string]string{}
		for _, k := range rows {
			if k.LastUsedAt != nil {
				at[k.ID] = k.LastUsedAt.UTC().Format(time.RFC3339Nano)
			}
		}
		return at
	}
	minute := func() string { return b.clock.Now().UTC().Truncate(time.Minute).Format(time.RFC3339Nano) }
	first := minute()
	before := b.db.Pool().Stat().AcquireCount()
	use(one, one, two, one)
	if n := b.db.Pool().Stat().AcquireCount() - before; n != 2 {
		t.Errorf("%d queries for two keys, want their two look-ups", n)
	}
	run()
	if diff := cmp.Diff(map[string]string{oneRow.ID: first, twoRow.ID: first}, used()); diff != "" {
		t.Errorf("at first (-want +got):\n%s", diff)
	}
	b.clock.advance(time.Minute)
	use(two)
	run()
	if diff := cmp.Diff(map[string]string{oneRow.ID: first, twoRow.ID: minute()}, used()); diff != "" || unused.LastUsedAt != nil {
		t.Errorf("a minute later (-want +got):\n%s", diff)
	}
	before = b.db.Pool().Stat().AcquireCount()
	run()
	if n := b.db.Pool().Stat().AcquireCount() - before; n != 0 {
		t.Errorf("%d writes of nothing", n)
	}
}
