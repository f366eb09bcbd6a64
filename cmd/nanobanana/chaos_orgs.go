package main

import (
	"context"
	"fmt"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// A chaosOrg is one customer of the service under test.
type chaosOrg struct {
	id     string
	key    string
	hook   string // for webhook_url
	cap    int    // most generations at the same time in each queue; 0: none of its own
	free   bool   // it has a test key: nothing is charged
	finite bool   // its credits may run out
}

// The customers, by their place in chaosCustomers and chaosRig.orgs.
const (
	orgUnlimited = iota
	orgScarce    // runs out, and is granted more by and by
	orgMoving    // goes from plan to plan
	orgTest
	orgMetered
	orgTurning // has a period that ends meanwhile
)

// chaosCustomers are of every kind of plan. Some are held to few generations at a
// time, and some have fewer credits than they are going to ask for.
var chaosCustomers = []struct {
	name, plan, kind string
	most             string // of its plans, the one that allows most at the same time
	finite           bool
}{
	orgUnlimited: {"unlimited", "unlimited", store.KeyLive, "unlimited", false},
	orgScarce:    {"scarce", "free", store.KeyLive, "free", true},
	orgMoving:    {"moving", "hobby", store.KeyLive, "pay_as_you_go", true},
	orgTest:      {"test", "pro", store.KeyTest, "pro", false},
	orgMetered:   {"metered", "pay_as_you_go", store.KeyLive, "pay_as_you_go", false},
	orgTurning:   {"turning", "free", store.KeyLive, "free", true},
}

// createOrgs makes the customers.
func (r *chaosRig) createOrgs(ctx context.Context) error {
	keys, _, err := openKeys(ctx, &config{}, r.db)
	if err != nil {
		return err
	}
	for _, c := range chaosCustomers {
		plan, err := r.db.Plan(ctx, c.plan)
		if err != nil {
			return err
		}
		most, err := r.db.Plan(ctx, c.most)
		if err != nil {
			return err
		}
		org, err := r.db.CreateOrg(ctx, c.name, plan.Name, plan.RetentionDays)
		if err != nil {
			return err
		}
		// Its load is no customer's.
		if _, err := r.db.Pool().Exec(ctx, `UPDATE org SET rate_limit = 0 WHERE id = $1`, org.ID); err != nil {
			return fmt.Errorf("lift the rate limit of %s: %w", c.name, err)
		}
		project, err := r.db.CreateProject(ctx, org.ID, "chaos")
		if err != nil {
			return err
		}
		secret, _, err := keys.Create(ctx, nil, auth.NewKey{OrgID: project.OrgID, ProjectID: project.ID, Name: "chaos", Kind: c.kind})
		if err != nil {
			return err
		}
		r.orgs = append(r.orgs, &chaosOrg{
			id: org.ID, key: secret, cap: most.Concurrency, free: c.kind == store.KeyTest, finite: c.finite,
		})
	}
	return nil
}
