package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// orgsCmd shows and changes organizations.
type orgsCmd struct {
	List    orgsListCmd    `cmd:"" default:"withargs" help:"List the organizations with the credits of their present period."`
	SetPlan orgsSetPlanCmd `cmd:"" name:"set-plan" help:"Put an organization on another plan, whose credits it gets for the rest of the period."`
}

type orgsListCmd struct {
	Plan string `placeholder:"PLAN" help:"Only those on this plan."`
	Name string `placeholder:"TEXT" help:"Only those whose name begins so, in any case."`
}

// Run prints a line per organization, oldest first.
func (c *orgsListCmd) Run(ctx context.Context, cfg *config, con *console) error {
	db, err := openStoreOrDev(ctx, cfg, "orgs")
	if err != nil {
		return err
	}
	defer db.Close()
	if c.Plan != "" {
		if _, err := findPlan(ctx, db, c.Plan); err != nil {
			return err
		}
	}
	const each = 100
	filter := store.OrgFilter{Plan: c.Plan, Name: c.Name, Page: store.Page{Ascending: true, Limit: each}}
	table := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "ID\tNAME\tPLAN\tAVAILABLE\tUSED\tRESERVED\tRESETS AT\tSTATE")
	for {
		page, err := db.OperatorOrgs(ctx, filter)
		if err != nil {
			return err
		}
		if err := printOrgs(ctx, db, table, page); err != nil {
			return err
		}
		if len(page) < each {
			return table.Flush()
		}
		filter.After = page[len(page)-1].ID
	}
}

// printOrgs prints organizations. "any" is available where all is let in. One that has asked for nothing in its period has no
// account yet, and "-" for what is in it.
func printOrgs(ctx context.Context, db *store.DB, table *tabwriter.Writer, orgs []*store.Org) error {
	ids := make([]string, len(orgs))
	for i, o := range orgs {
		ids[i] = o.ID
	}
	accounts, err := db.CreditAccountsAt(ctx, ids, time.Now())
	if err != nil {
		return err
	}
	for _, o := range orgs {
		credits := "-\t-\t-\t-"
		if a := accounts[o.ID]; a != nil {
			available := strconv.FormatInt(max(0, a.Available()), 10) // below 0 is what was used beyond the granted
			if a.Unbounded() {
				available = "any"
			}
			credits = fmt.Sprintf("%s\t%d\t%d\t%s", available, a.Used, a.Reserved, a.EndsAt.UTC().Format(time.DateTime))
		}
		state := store.StateActive
		switch {
		case o.DeletedAt != nil:
			state = store.StateDeleted
		case o.SuspendedAt != nil:
			state = store.StateSuspended
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", o.ID, printable([]byte(o.Name), maxCell), o.Plan, credits, state)
	}
	return nil
}

type orgsSetPlanCmd struct {
	Org    string `arg:"" help:"The organization's id, or its name."`
	Plan   string `arg:"" help:"The plan's name, as \"plans list\" shows it."`
	Reason string `placeholder:"TEXT" help:"Why, for the ledger and the audit log; the organization reads it."`
}

// Run puts the organization on the plan, writes that to the ledger and the audit log,
// and prints what was and what is.
func (c *orgsSetPlanCmd) Run(ctx context.Context, cfg *config, con *console) error {
	if c.Reason != "" {
		if err := checkReason(c.Reason); err != nil {
			return err
		}
	}
	db, err := openStoreOrDev(ctx, cfg, "orgs")
	if err != nil {
		return err
	}
	defer db.Close()
	plan, err := findPlan(ctx, db, c.Plan)
	if err != nil {
		return err
	}
	org, err := findOrg(ctx, db, c.Org)
	if err != nil {
		return err
	}
	var was, is *store.CreditAccount
	err = db.Transact(ctx, func(tx *store.DB) (err error) {
		was, is, err = c.apply(ctx, tx, org, plan)
		return err
	})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(con.out, "%s (%s)\nbefore: %s\nnow:    %s\n", org.ID, printable([]byte(org.Name), maxCell), accountText(was), accountText(is))
	sub, err := db.Subscription(ctx, org.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		if warning := sub.ChargedBeside(plan.Name); warning != "" {
			_, _ = fmt.Fprintln(con.out, warning)
		}
	}
	return err
}

// apply changes the plan, and returns the accounts before and after, which are the same
// where nothing is to be changed.
func (c *orgsSetPlanCmd) apply(ctx context.Context, tx *store.DB, org *store.Org, plan *store.Plan) (was, is *store.CreditAccount, err error) {
	before, err := tx.OperatorOrg(ctx, org.ID) // locked
	if err != nil {
		return nil, nil, err
	}
	was, is, err = tx.PutOnPlan(ctx, store.PlanChange{OrgID: org.ID, Plan: plan.Name, Reason: c.Reason, Actor: operator()}, time.Now())
	if err != nil || was == is {
		return was, is, err
	}
	after, err := tx.OperatorOrg(ctx, org.ID)
	if err != nil {
		return nil, nil, err
	}
	change := commandChange{
		Program: "nanobanana orgs", Action: "org.override", Kind: "organization", ID: org.ID, OrgID: org.ID,
		Before: map[string]any{"plan": before.Plan, "retention_days": before.RetentionDays, "metered": was.Metered},
		After:  map[string]any{"plan": after.Plan, "retention_days": after.RetentionDays, "metered": is.Metered},
	}
	if c.Reason != "" {
		change.After["reason"] = c.Reason
	}
	return was, is, change.record(ctx, tx)
}

// findOrg returns the organization that is not deleted and has an id, or else alone has
// a name, in any case.
func findOrg(ctx context.Context, db *store.DB, named string) (*store.Org, error) {
	if store.ValidOrgID(named) {
		org, err := db.OperatorOrg(ctx, named)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil, fmt.Errorf("there is no organization %s; \"nanobanana orgs list\" shows those there are", named)
		case err == nil && org.DeletedAt != nil:
			return nil, fmt.Errorf("the organization %s is deleted", named)
		}
		return org, err
	}
	shown := printable([]byte(named), maxCell)
	const few = 5
	orgs, err := db.OrgsNamed(ctx, named, few)
	switch {
	case err != nil:
		return nil, err
	case len(orgs) == 0:
		return nil, fmt.Errorf("there is no organization %q; \"nanobanana orgs list\" shows those there are", shown)
	case len(orgs) > 1:
		ids := make([]string, len(orgs))
		for i, o := range orgs {
			ids[i] = o.ID
		}
		return nil, fmt.Errorf("several organizations are named %q; say which by its id, such as %s", shown, strings.Join(ids, ", "))
	}
	return orgs[0], nil
}

// maxReason bounds a reason, in bytes.
const maxReason = 500

// checkReason refuses a reason that says nothing, or too much.
func checkReason(reason string) error {
	if strings.TrimSpace(reason) == "" || len(reason) > maxReason {
		return &exitError{status: 2, err: fmt.Errorf("--reason must say why, in up to %d bytes", maxReason)}
	}
	return nil
}
