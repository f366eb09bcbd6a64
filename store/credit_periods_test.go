package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

func anyTime(t *rapid.T, label string) time.Time {
	zone := time.FixedZone("", rapid.IntRange(-14, 14).Draw(t, label+" zone")*3600)
	return time.UnixMicro(rapid.Int64Range(0, 4_000_000_000_000_000).Draw(t, label)).In(zone)
}

// Every instant is in one period, the next begins where one ends, and months keep the
// anchor's day as far as they have it.
func TestPeriodOf(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]string{store.PeriodMonth, store.PeriodDay}).Draw(t, "unit")
		var anchor *time.Time
		if rapid.Bool().Draw(t, "anchored") {
			a := anyTime(t, "anchor")
			anchor = &a
		}
		at := anyTime(t, "at")
		begins, ends := store.PeriodOf(unit, anchor, at)
		if at.Before(begins) || !at.Before(ends) {
			t.Fatalf("%s is not in [%s, %s)", at, begins, ends)
		}
		for _, other := range []time.Time{begins, ends.Add(-time.Microsecond)} {
			if b, e := store.PeriodOf(unit, anchor, other); !b.Equal(begins) || !e.Equal(ends) {
				t.Fatalf("%s is in [%s, %s), and %s in [%s, %s)", at, begins, ends, other, b, e)
			}
		}
		if b, _ := store.PeriodOf(unit, anchor, ends); !b.Equal(ends) {
			t.Fatalf("after [%s, %s) comes one from %s", begins, ends, b)
		}
		days := ends.Sub(begins).Hours() / 24
		switch {
		case unit == store.PeriodDay:
			if days != 1 || begins.Hour() != 0 {
				t.Fatalf("a day from %s to %s", begins, ends)
			}
		case days < 28 || days > 31:
			t.Fatalf("a month of %g days", days)
		case anchor == nil:
			if begins.Day() != 1 || begins.Hour() != 0 {
				t.Fatalf("a calendar's month from %s", begins)
			}
		default:
			a, last := anchor.UTC(), time.Date(begins.Year(), begins.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
			if begins.Day() != min(a.Day(), last) || begins.Sub(begins.Truncate(24*time.Hour)) != a.Sub(a.Truncate(24*time.Hour)) {
				t.Fatalf("anchored at %s, and it begins at %s", a, begins)
			}
		}
	})
}

func TestPeriodOf_EndOfMonth(t *testing.T) {
	t.Parallel()
	anchor := time.Date(2024, 1, 31, 12, 0, 0, 0, time.UTC)
	var got []string
	for at := anchor; len(got) < 5; {
		begins, ends := store.PeriodOf(store.PeriodMonth, &anchor, at)
		got = append(got, begins.Format("Jan 2 15:04"))
		at = ends
	}
	if diff := cmp.Diff([]string{"Jan 31 12:00", "Feb 29 12:00", "Mar 31 12:00", "Apr 30 12:00", "May 31 12:00"}, got); diff != "" {
		t.Error(diff)
	}
}

// However many processes open a period at once, one account is opened and granted.
func TestOpenPeriod_ManyAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	second, err := store.Open(t.Context(), storetest.URL(b.DB), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Close)
	org := b.org(t, "free")
	at := time.Now().UTC()
	var clients sync.WaitGroup
	for i := range 20 {
		db := []*store.DB{b.DB, second}[i%2]
		clients.Go(func() {
			// Some of another month: both are opened.
			if _, err := db.OpenPeriod(t.Context(), org, at.AddDate(0, 2*(i%3), 0)); err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	got := b.lines(t, `SELECT format('%s %s', kind, sum(granted)) FROM credit_entry GROUP BY kind, period ORDER BY period`)
	if diff := cmp.Diff([]string{"allowance 50", "allowance 50", "allowance 50"}, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	b.wantNoFaults(t)
}

// What was bought goes on from period to period as far as it is left; what was granted
// does not.
func TestOpenPeriod_CarriesWhatWasBought(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	l.change(t, store.CreditPurchase, 100)
	l.change(t, store.CreditGrant, 10)
	l.use(t, 65)
	l.at = l.at.AddDate(0, 1, 0)
	l.use(t, 1)
	l.want(t, "free 65/0/65 (5)", "free 145/0/1 (95)")
	l.at = l.at.AddDate(0, 3, 0)
	l.use(t, 1)
	l.want(t, "free 65/0/65 (5)", "free 50/0/1 (0)", "free 145/0/1 (95)")
}

// An organization that was granted nothing by the first plan, and uses what it has
// bought, takes no other one of its founder's allowance.
func TestOpenPeriod_WhatWasBoughtIsNoAllowance(t *testing.T) {
	t.Parallel()
	b := setup(t)
	founded := func(founder string) *ledger {
		l := &ledger{bundle: b, org: b.org(t, "free"), at: time.Date(2023, 6, 16, 0, 0, 0, 0, time.UTC)}
		b.exec(t, `UPDATE org SET founder = $2 WHERE id = $1`, l.org, founder)
		if _, err := b.OpenPeriod(t.Context(), l.org, l.at); err != nil {
			t.Fatal(err)
		}
		return l
	}
	had := founded("acc_1")
	l := founded("acc_1")
	l.want(t, "free 0/0/0 (0)")
	l.change(t, store.CreditPurchase, 100)
	l.use(t, 100)
	l.change(t, store.CreditGrant, 5)
	l.want(t, "free 105/0/100 (0)")
	b.exec(t, `UPDATE org SET founder = NULL WHERE id = $1`, had.org)
	founded("acc_1").want(t, "free 50/0/0 (0)")
	founded("acc_1").want(t, "free 0/0/0 (0)")
}

// To carry what was bought reads no more accounts than have some that may be left.
func TestCarryCredits_ReadsLittle(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.crowdAccounts(t)
	if n := b.rowsRead(t, func(db *store.DB) error { _, err := db.CarryCredits(t.Context(), 100); return err }); n > 500 {
		t.Errorf("%d rows are read", n)
	}
}

// crowdAccounts fills the ledger: 24 months of 1,000 organizations with an entry each.
// One organization in fifty has bought something in its first month.
func (b *bundle) crowdAccounts(t *testing.T) {
	t.Helper()
	b.exec(t, `
		INSERT INTO credit_account (org_id, period, ends_at, plan, granted, bought)
		SELECT 'org_' || lpad(o::text, 26, '0'), now() - m * interval '30 days', now() - (m - 1) * interval '30 days', 'free', 50,
			CASE WHEN m = 23 AND o % 50 = 0 THEN 10 ELSE 0 END
		FROM generate_series(1, 1000) AS o, generate_series(0, 23) AS m`)
	b.exec(t, `
		INSERT INTO credit_entry (org_id, period, kind, granted, bought, subject)
		SELECT org_id, period, 'allowance', granted, bought, 'subject_' || org_id || period FROM credit_account`)
	b.exec(t, `ANALYZE credit_account, credit_entry`)
}

func crowdOrg(i int) string { return fmt.Sprintf("org_%026d", i) }

// Whatever is asked with each submission and each end reads a few rows, however many
// accounts and entries there are.
func TestCredits_ReadLittle(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.crowd(t)
	b.crowdAccounts(t)
	now := time.Now().UTC()
	submit := func(db *store.DB, credits, batch int) error {
		var rows []*store.NewGeneration
		var keys []*store.IdempotencyKey
		for i := range batch {
			g := b.keyed(crowdOrg(1+i), fmt.Sprint("key_", i), 3, credits)
			g.CreatedAt = now
			rows, keys = append(rows, g), append(keys, b.idempotencyKey(g.ID, g.ID))
		}
		_, err := db.SubmitGenerations(t.Context(), keys, rows)
		return err
	}
	b.exec(t, `
		INSERT INTO idempotency_key (project_id, test, route, key, org_id, fingerprint, generation_id, expires_at)
		SELECT $1, false, 'generations', 'k' || i, $2, '', 'gen_' || i, now() + interval '1 day' FROM generate_series(1, 20000) AS i`,
		b.project.ID, b.project.OrgID)
	b.exec(t, `UPDATE generation SET credits = 1, charged = 1, credit_period = now(), credit_micros = 0`)
	b.exec(t, `ANALYZE generation, idempotency_key`)
	for name, ask := range map[string]func(*store.DB) error{
		"an account":        func(db *store.DB) error { _, err := db.CreditAccount(t.Context(), crowdOrg(7), now); return err },
		"accounts":          func(db *store.DB) error { _, err := db.CreditAccounts(t.Context(), crowdOrg(7), 5); return err },
		"unsettled":         func(db *store.DB) error { _, err := db.SettleUnsettled(t.Context(), 100); return err },
		"submit one":        func(db *store.DB) error { return submit(db, 1, 1) },
		"submit many":       func(db *store.DB) error { return submit(db, 1, 20) },
		"submit one denied": func(db *store.DB) error { return submit(db, 51, 1) },
		"submit 20 denied":  func(db *store.DB) error { return submit(db, 51, 20) },
		"a change": func(db *store.DB) error {
			c := store.CreditChange{OrgID: crowdOrg(7), Kind: store.CreditGrant, Amount: 1, Subject: store.NewGenerationID()}
			_, _, err := db.ChangeCredits(t.Context(), c, now)
			if err != nil {
				return fmt.Errorf("change: %w", err)
			}
			return nil
		},
	} {
		b.exec(t, `INSERT INTO org (id, name, plan) VALUES ($1, 'o', 'free') ON CONFLICT DO NOTHING`, crowdOrg(7))
		if n := b.rowsRead(t, ask); n > 1500 {
			t.Errorf("%s: %d rows are read", name, n)
		}
	}
}

// Whose clock is behind a change of plan reads the account that goes on, as a submission
// does; the one that has ended is there under its own name.
func TestCreditAccount_BehindAChangeOfPlan(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	l.budget(t, l.org, 100, func(set *store.Budget) { set.DowngradeAt, set.DowngradeQuality = new(60), new("low") })
	begun := l.present(t).Period
	l.use(t, 50)
	l.at = l.at.Add(time.Hour)
	l.plan(t, "unlimited", nil)
	l.use(t, 10)
	behind := l.at.Add(-2 * time.Second)
	present, err := l.CreditAccount(t.Context(), l.org, behind)
	if err != nil {
		t.Fatal(err)
	}
	ended, err := l.CreditAccountOf(t.Context(), l.org, begun)
	if err != nil {
		t.Fatal(err)
	}
	listed, err := l.CreditAccountsAt(t.Context(), []string{l.org}, behind)
	if err != nil || listed[l.org] == nil {
		t.Fatal(listed, err)
	}
	quality, err := l.Downgrade(t.Context(), l.org, behind)
	if err != nil {
		t.Fatal(err)
	}
	got := []any{present.Plan, present.SpentBefore, listed[l.org].Plan, quality, ended.Plan, ended.Closed}
	if diff := cmp.Diff([]any{"unlimited", int64(50), "unlimited", "low", "free", true}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := l.CreditAccountOf(t.Context(), l.org, behind); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the account of no period: %v", err)
	}
	if a, err := l.CreditAccount(t.Context(), l.org, begun.Add(-time.Second)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("before the first: %+v, %v", a, err)
	}
}
