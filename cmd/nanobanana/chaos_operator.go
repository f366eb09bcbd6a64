package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// A chaosAct is what an operator does with an organization's credits at a moment of
// the run.
type chaosAct struct {
	at      time.Duration // after the first submission
	org     int
	grant   int    // credits
	bought  bool   // and what is left of them goes on into later periods
	subject string // of the grant
	plan    string // that it is put on
}

// planActs are an operator's acts in a window: grants to those who run out, and plans
// of each kind, one after the other.
func (c *chaosCmd) planActs(window time.Duration) (acts []chaosAct) {
	for i, share := range []time.Duration{25, 40, 55, 70, 85} {
		acts = append(acts, chaosAct{
			at: window * share / 100, org: orgScarce, grant: c.scarceCredits() / 2, bought: i%2 == 0, subject: fmt.Sprintf("chaos-grant-%d", i),
		})
	}
	acts = append(acts, chaosAct{at: window * 20 / 100, org: orgTurning, grant: c.scarceCredits(), bought: true, subject: "chaos-grant-turning"})
	for i, plan := range []string{"pro", "pay_as_you_go", "hobby"} {
		acts = append(acts, chaosAct{at: window * time.Duration(35+20*i) / 100, org: orgMoving, plan: plan})
	}
	return acts
}

// scarceCredits are fewer than a customer is going to ask for in a long run, and more
// than any single job costs.
func (c *chaosCmd) scarceCredits() int { return max(12, c.Jobs/20) }

// chaosOperator changes credits and plans while customers spend.
type chaosOperator struct {
	db   *store.DB
	orgs []*chaosOrg

	mu     sync.Mutex
	grants []chaosAct // that have been made
	plans  int        // changes of plans
	failed []string
}

// prepare gives those who are to run out few credits, and has the period of one end
// at a moment.
func (o *chaosOperator) prepare(ctx context.Context, credits int, turn time.Time) error {
	if _, err := o.db.Pool().Exec(ctx, `UPDATE org SET period_anchor = $1 WHERE id = $2`, turn, o.orgs[orgTurning].id); err != nil {
		return fmt.Errorf("begin a period: %w", err)
	}
	for _, org := range []int{orgScarce, orgMoving, orgTurning} {
		if _, err := o.db.SetCredits(ctx, o.orgs[org].id, credits, "few", "chaos", time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// act does everything in its time, and returns when all of it is done or ctx has
// ended.
func (o *chaosOperator) act(ctx context.Context, acts []chaosAct) {
	var wg sync.WaitGroup
	for _, a := range acts {
		wg.Go(func() {
			if !pause(ctx, a.at) {
				return
			}
			again := []chaosAct{a}
			if a.plan == "" {
				again = append(again, a) // by two at once: it happens once
			}
			var twice sync.WaitGroup
			for _, a := range again {
				twice.Go(func() { o.insist(ctx, a) })
			}
			twice.Wait()
		})
	}
	wg.Wait()
}

// insist does it again until the database says that it is done.
func (o *chaosOperator) insist(ctx context.Context, a chaosAct) {
	err := context.Cause(ctx)
	for ctx.Err() == nil {
		if err = o.do(ctx, a); err == nil {
			break
		}
		pause(ctx, 100*time.Millisecond)
	}
	o.note(a, err)
}

func (o *chaosOperator) do(ctx context.Context, a chaosAct) error {
	within, stop := context.WithTimeout(ctx, 5*time.Second) // the database may be away
	defer stop()
	id := o.orgs[a.org].id
	if a.plan != "" {
		_, err := o.db.ChangePlan(within, store.PlanChange{OrgID: id, Plan: a.plan, Reason: "chaos", Actor: "chaos"}, time.Now())
		return err
	}
	_, _, err := o.db.ChangeCredits(within, store.CreditChange{
		OrgID: id, Kind: store.CreditGrant, Amount: a.grant, Bought: a.bought, Subject: a.subject, Reason: "chaos", Actor: "chaos",
	}, time.Now())
	return err
}

// note remembers what was done, or what was not.
func (o *chaosOperator) note(a chaosAct, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err != nil:
		o.failed = append(o.failed, fmt.Sprintf("the operator's %s%s was never done: %s", a.subject, a.plan, err))
	case a.plan != "":
		o.plans++
	case !slices.Contains(o.grants, a):
		o.grants = append(o.grants, a)
	}
}
