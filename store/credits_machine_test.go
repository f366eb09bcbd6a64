package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nanobanana/nanobanana/store"
)

// worth is what an organization's accounts come to, together.
type worth struct {
	Net    int64 // granted, less what is owed of it
	Bought int64 // and not used
	Owed   int64
}

// books are one organization's, with what a step after the other does to them.
type books struct {
	*ledger

	t       *testing.T
	live    []*store.NewGeneration
	refunds map[string]int64 // what they have taken of Net; restored ones are 0
}

func (b *books) worth(t *rapid.T) (w worth) {
	err := b.Pool().QueryRow(b.t.Context(), `
		SELECT coalesce(sum(granted - owed), 0)::bigint, coalesce(sum(least(bought, greatest(0, granted - used))), 0)::bigint,
			coalesce(sum(owed), 0)::bigint
		FROM credit_account WHERE org_id = $1`, b.org).Scan(&w.Net, &w.Bought, &w.Owed)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (b *books) account(t *rapid.T) *store.CreditAccount {
	a, err := b.OpenPeriod(b.t.Context(), b.org, b.at)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// submit asks for credits: it gets them if they are available, which is as much less
// then.
func (b *books) submit(t *rapid.T) {
	before, err := b.CreditAccount(b.t.Context(), b.org, b.at)
	if err != nil {
		t.Fatal(err)
	}
	credits := rapid.IntRange(1, 100).Draw(t, "credits")
	if some := int(before.Available()) / rapid.IntRange(1, 3).Draw(t, "part"); some > 0 && rapid.Bool().Draw(t, "of what there is") {
		credits = some
	}
	g := b.priced(b.org, credits)
	g.CreatedAt = b.at
	if err := b.InsertGenerations(b.t.Context(), []*store.NewGeneration{g}); err != nil {
		t.Fatal(err)
	}
	left := before.Available()
	if let := g.Refusal == nil; let != (before.Metered || int64(g.Credits) <= left) {
		t.Fatalf("%d credits of %d (metered: %t): %+v", g.Credits, left, before.Metered, g.Refusal)
	} else if let {
		b.live = append(b.live, g)
		left -= int64(g.Credits)
	}
	if after, err := b.CreditAccount(b.t.Context(), b.org, b.at); err != nil || !before.Metered && after.Available() != left {
		t.Fatalf("%+v, %v; want %d left", after, err, left)
	}
}

// end cancels one that is live, or delivers it.
func (b *books) end(t *rapid.T, deliver bool) {
	if len(b.live) == 0 {
		return
	}
	i := rapid.IntRange(0, len(b.live)-1).Draw(t, "which")
	g := b.live[i]
	b.live = append(b.live[:i:i], b.live[i+1:]...)
	if deliver {
		b.deliver(b.t, g)
	} else {
		b.cancel(b.t, g)
	}
}

// refund takes back what was bought, or gives that back.
func (b *books) refund(t *rapid.T, was worth) {
	id := fmt.Sprint("re_", b.org, rapid.IntRange(1, 3).Draw(t, "refund"))
	took, known := b.refunds[id]
	if known && rapid.Bool().Draw(t, "it fails") {
		if err := b.RestoreRefund(b.t.Context(), b.org, id, b.at); err != nil {
			t.Fatal(err)
		}
		is := b.worth(t)
		if is.Net != was.Net+took {
			t.Fatalf("%+v after %+v: the refund has taken %d", is, was, took)
		}
		b.refunds[id] = 0
		return
	}
	r := store.RefundedPurchase{OrgID: b.org, ID: id, Credits: rapid.IntRange(1, 500).Draw(t, "refunded")}
	taken, err := b.RefundCredits(b.t.Context(), r, b.at)
	if err != nil {
		t.Fatal(err)
	}
	is := b.worth(t)
	if known {
		taken = 0
	} else {
		b.refunds[id] = was.Net - is.Net
	}
	if is.Bought != was.Bought-int64(taken) || is.Net > was.Net || is.Net < was.Net-int64(taken) {
		t.Fatalf("%+v after %+v: %d were taken", is, was, taken)
	}
}

// change buys, grants, or takes away what was granted, and returns what of that was done.
func (b *books) change(t *rapid.T, kind string, amount int) int64 {
	_, changed, err := b.ChangeCredits(b.t.Context(), store.CreditChange{
		OrgID: b.org, Kind: kind, Amount: amount, Bought: kind == store.CreditPurchase,
	}, b.at)
	if errors.Is(err, store.ErrTooFewCredits) || errors.Is(err, store.ErrBoughtCredits) {
		return 0
	}
	if err != nil || !changed {
		t.Fatal(changed, err)
	}
	return int64(amount)
}

func (b *books) set(t *rapid.T) {
	n := rapid.IntRange(0, 100).Draw(t, "set")
	a, err := b.SetCredits(b.t.Context(), b.org, n, "", "", b.at)
	if errors.Is(err, store.ErrBoughtCredits) {
		return
	}
	if err != nil || a.Available() != int64(n) || b.worth(t).Owed != 0 {
		t.Fatalf("%+v, %v, want %d; %+v", a, err, n, b.worth(t))
	}
}

func (b *books) changePlan(t *rapid.T) {
	c := store.PlanChange{OrgID: b.org, Plan: rapid.SampledFrom([]string{"free", "hobby", "hobby", "pro", "pay_as_you_go"}).Draw(t, "plan")}
	if rapid.IntRange(0, 3).Draw(t, "anchored") == 0 {
		c.Anchor = &b.at
	}
	if _, err := b.ChangePlan(b.t.Context(), c, b.at); err != nil {
		t.Fatal(err)
	}
	b.at = b.at.Add(time.Second) // no two changes in one instant
}

// pass lets time pass, and opens what period it is then: it grants what the plan does.
func (b *books) pass(t *rapid.T, was worth) {
	b.at = b.at.Add(rapid.SampledFrom([]time.Duration{time.Minute, 5 * 24 * time.Hour, 25 * 24 * time.Hour}).Draw(t, "passes"))
	_, err := b.CreditAccount(b.t.Context(), b.org, b.at)
	a := b.account(t)
	want := was.Net
	if errors.Is(err, store.ErrNotFound) {
		plan, err := b.Plan(b.t.Context(), a.Plan)
		if err != nil {
			t.Fatal(err)
		}
		want += int64(plan.Credits)
	}
	if is := b.worth(t); is.Net != want {
		t.Fatalf("%+v after %+v, want %d", is, was, want)
	}
}

// step does one thing, and returns how much more Net and Bought may come to by it; nil:
// what it does to Net is not foreseen here.
func (b *books) step(t *rapid.T, was worth) (net *int64, bought int64) {
	switch rapid.SampledFrom([]int{0, 0, 0, 0, 3, 3, 4, 4, 5, 6, 7, 7, 8, 9, 9, 9, 10, 11}).Draw(t, "kind") {
	case 0:
		b.submit(t)
	case 3:
		b.end(t, false)
	case 4:
		b.end(t, true)
	case 5:
		bought = b.change(t, store.CreditPurchase, rapid.IntRange(1, 500).Draw(t, "bought"))
		return &bought, bought
	case 6:
		return new(b.change(t, store.CreditGrant, rapid.IntRange(-50, 100).Draw(t, "given"))), 0
	case 7:
		b.refund(t, was)
		return nil, 500
	case 8:
		b.set(t)
		return nil, 0
	case 9:
		b.changePlan(t)
		return nil, 0
	case 10:
		b.pass(t, was)
		return nil, 0
	default:
		for range 2 {
			if _, err := b.CarryCredits(b.t.Context(), 1000); err != nil {
				t.Fatal(err)
			}
		}
	}
	return new(int64(0)), 0
}

// Whatever is done one after the other, nothing that is owed is forgiven or taken twice,
// nothing is bought but what was bought, what was used is not there again, and what is
// let in is what was said to be available.
func TestLedger_Machine(t *testing.T) {
	t.Parallel()
	bundle := setup(t)
	bundle.exec(t, `UPDATE plan SET concurrency = 0`)
	rapid.Check(t, func(rt *rapid.T) {
		b := &books{ledger: bundle.ledgerOf(t, rapid.SampledFrom([]string{"free", "pro", "pro"}).Draw(rt, "on")), t: t, refunds: map[string]int64{}}
		for range rapid.IntRange(6, 20).Draw(rt, "steps") {
			was := b.worth(rt)
			net, bought := b.step(rt, was)
			is := b.worth(rt)
			if net != nil && is.Net != was.Net+*net || is.Bought > was.Bought+bought {
				rt.Fatalf("%+v after %+v", is, was)
			}
		}
	})
	bundle.wantNoFaults(t)
}
