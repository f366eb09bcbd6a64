package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// budget gives an organization one of so many credits.
func (b *bundle) budget(t *testing.T, orgID string, credits int64, change func(*store.Budget)) {
	t.Helper()
	set := store.Budget{OrgID: orgID, Credits: credits, Alerts: []int{80, 100}}
	if change != nil {
		change(&set)
	}
	if _, err := b.SetBudget(t.Context(), set, time.Now()); err != nil {
		t.Fatal(err)
	}
}

func hardStop(b *store.Budget) { b.HardStop = true }

// limits are what an organization's present account is held to.
func (b *bundle) limits(t *testing.T, orgID string) string {
	t.Helper()
	a, err := b.CreditAccount(t.Context(), orgID, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	show := func(n *int64) string {
		if n == nil {
			return "none"
		}
		return fmt.Sprint(*n)
	}
	return fmt.Sprintf("limit %s, warn at %s", show(a.SpendLimit), show(a.WarnAt))
}

// spend has an organization use so many credits, and returns why it may not.
func (b *bundle) spend(t *testing.T, orgID string, credits int) *store.Refusal {
	t.Helper()
	n := b.priced(orgID, credits)
	if err := b.InsertGenerations(t.Context(), []*store.NewGeneration{n}); err != nil {
		t.Fatal(err)
	}
	if n.Refusal != nil {
		return n.Refusal
	}
	claims, err := b.ClaimGenerations(t.Context(), store.Claimer{Worker: "w"}, []store.Ticket{{GenerationID: n.ID, RiverJobID: *n.RiverJobID}})
	if err != nil || claims[0] == nil {
		t.Fatal(claims, err)
	}
	if _, err := b.FinishGenerations(t.Context(), store.Sender{}, []*store.Outcome{succeeded(claims[0])}); err != nil {
		t.Fatal(err)
	}
	return nil
}

func TestBudget_HoldsAtOnceAndLater(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "pay_as_you_go")
	if _, err := b.Budget(t.Context(), org); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no budget: %v", err)
	}
	b.spend(t, org, 7)
	b.budget(t, org, 10, hardStop)
	if diff := cmp.Diff("limit 10, warn at 8", b.limits(t, org)); diff != "" {
		t.Error(diff)
	}
	refused := b.spend(t, org, 4)
	if refused == nil || refused.Why != store.RefusedBudget || refused.SpendLimit == nil || *refused.SpendLimit != 10 {
		t.Errorf("4 beyond 7 of 10: %+v", refused)
	}
	if refused := b.spend(t, org, 3); refused != nil {
		t.Errorf("3 beyond 7 of 10: %+v", refused)
	}
	b.budget(t, org, 5, hardStop) // less than what is used
	if refused := b.spend(t, org, 1); refused == nil || refused.Why != store.RefusedBudget {
		t.Errorf("beyond 10 of 5: %+v", refused)
	}
	b.budget(t, org, 5, nil)
	if refused := b.spend(t, org, 1); refused != nil {
		t.Errorf("without a hard stop: %+v", refused)
	}
	b.budget(t, org, 20, hardStop)
	next, err := b.OpenPeriod(t.Context(), org, time.Now().AddDate(0, 1, 0))
	if err != nil || next.SpendLimit == nil || *next.SpendLimit != 20 || *next.WarnAt != 16 {
		t.Errorf("the next period: %+v, %v", next, err)
	}
	if err := b.DeleteBudget(t.Context(), org, time.Now()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("limit none, warn at none", b.limits(t, org)); diff != "" {
		t.Error(diff)
	}
	if next, err := b.CreditAccount(t.Context(), org, next.Period); err != nil || next.SpendLimit != nil || next.WarnAt != nil {
		t.Errorf("the next period without a budget: %+v, %v", next, err)
	}
	if err := b.DeleteBudget(t.Context(), org, time.Now()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	if faults, err := b.CreditFaults(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("%v, %q", err, faults)
	}
}

// A hundred submissions at once, one by one and in shared statements, while the budget
// is set anew: what is let in is what it says, on a plan that bounds nothing itself and
// on one that does.
func TestBudget_IsExactUnderConcurrency(t *testing.T) {
	t.Parallel()
	for _, plan := range []string{"pay_as_you_go", "free"} {
		t.Run(plan, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			org := b.org(t, plan)
			b.spend(t, org, 2)
			b.budget(t, org, 30, hardStop)
			let, refused := b.rush(t, org, 100)
			if let != 28 || refused[store.RefusedBudget] != 72 {
				t.Errorf("%d of 28 were let in, the others refused: %v", let, refused)
			}
			if got, want := b.credits(t, org), "28 reserved, 2 used"; !strings.HasSuffix(got, want) {
				t.Errorf("%s, want %s", got, want)
			}
			if faults, err := b.CreditFaults(t.Context()); err != nil || len(faults) > 0 {
				t.Errorf("%v, %q", err, faults)
			}
		})
	}
}

// rush submits n generations of one credit at the same time, in statements of one to
// three, and counts what comes of them. The budget is set again and again meanwhile.
func (b *bundle) rush(t *testing.T, orgID string, n int) (let int, refused map[string]int) {
	t.Helper()
	set, err := b.Budget(t.Context(), orgID)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]*store.NewGeneration
	for made := 0; made < n; {
		var rows []*store.NewGeneration
		for range min(1+len(all)%3, n-made) {
			rows = append(rows, b.priced(orgID, 1))
		}
		all, made = append(all, rows), made+len(rows)
	}
	var wait sync.WaitGroup
	for i, rows := range all {
		wait.Go(func() {
			if err := b.InsertGenerations(t.Context(), rows); err != nil {
				t.Error(err)
			}
			if i%10 == 0 {
				if _, err := b.SetBudget(t.Context(), *set, time.Now()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	refused = map[string]int{}
	for _, rows := range all {
		for _, row := range rows {
			if row.Refusal == nil {
				let++
			} else {
				refused[row.Refusal.Why]++
			}
		}
	}
	return let, refused
}

// What is reserved counts for the downgrade, too: it is to come in time.
func TestDowngrade(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "pay_as_you_go")
	at, quality := 50, "low"
	saves := func() string {
		t.Helper()
		got, err := b.Downgrade(t.Context(), org, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := saves(); got != "" {
		t.Errorf("without a budget: %q", got)
	}
	b.budget(t, org, 20, func(set *store.Budget) { set.DowngradeAt, set.DowngradeQuality = &at, &quality })
	if got := saves(); got != "" {
		t.Errorf("without an account: %q", got)
	}
	b.spend(t, org, 6)
	if err := b.InsertGenerations(t.Context(), []*store.NewGeneration{b.priced(org, 3)}); err != nil {
		t.Fatal(err)
	}
	if got := saves(); got != "" {
		t.Errorf("at 9 of 20: %q", got)
	}
	b.spend(t, org, 1)
	if got := saves(); got != "low" {
		t.Errorf("at 10 of 20: %q", got)
	}
	later, err := b.Downgrade(t.Context(), org, time.Now().AddDate(0, 2, 0))
	if err != nil || later != "" {
		t.Errorf("in a period without an account: %q, %v", later, err)
	}
}

// Whoever waits while a change of plan ends the account is held to the budget in the one
// that goes on with it: what is let in comes to the budget, not to twice that.
func TestBudget_WhileThePlanChanges(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	if _, err := l.SetBudget(t.Context(), store.Budget{OrgID: l.org, Credits: 20, HardStop: true}, l.at); err != nil {
		t.Fatal(err)
	}
	l.at = l.at.Add(time.Minute)
	waiting := l.priced(l.org, 15)
	waiting.CreatedAt = l.at
	done := make(chan error, 1)
	err := l.Transact(t.Context(), func(tx *store.DB) error {
		if _, err := tx.ChangePlan(t.Context(), store.PlanChange{OrgID: l.org, Plan: "unlimited"}, l.at); err != nil {
			return err
		}
		go func() {
			done <- l.InsertGenerations(context.WithoutCancel(t.Context()), []*store.NewGeneration{waiting})
		}()
		return l.awaitLockWait(t)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || waiting.Refusal != nil || !waiting.CreditPeriod.Equal(l.at) {
		t.Fatalf("what waited: %v, %+v", err, waiting)
	}
	if g := l.ask(t, 6); g.Refusal == nil || g.Refusal.Why != store.RefusedBudget {
		t.Errorf("beyond the budget: %+v", g.Refusal)
	}
	l.reserve(t, 5)
	l.want(t, "free 50/0/0 (0)", "unlimited 0/20/0 (0)")
}
