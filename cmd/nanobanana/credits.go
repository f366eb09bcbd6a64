package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// creditsCmd says how much organizations may use.
type creditsCmd struct {
	Show  creditsShowCmd  `cmd:"" help:"Show an organization's credits and the latest entries of its ledger."`
	Set   creditsSetCmd   `cmd:"" help:"Make so many credits available from now on in this period. Where use is metered and free (plan unlimited), they are all there is until it is over."`
	Grant creditsGrantCmd `cmd:"" help:"Give an organization credits, or take some."`
}

type creditsShowCmd struct {
	Org     string `arg:"" help:"The organization's id, or its name."`
	Entries int    `default:"20" placeholder:"N" help:"How many entries to show."`
}

// Run prints the account of the present period, and the entries, latest first.
func (c *creditsShowCmd) Run(ctx context.Context, cfg *config, con *console) error {
	if c.Entries < 0 || c.Entries > maxEntriesShown {
		return &exitError{status: 2, err: fmt.Errorf("--entries is from 0 to %d", maxEntriesShown)}
	}
	db, err := openStoreOrDev(ctx, cfg, "credits")
	if err != nil {
		return err
	}
	defer db.Close()
	org, err := findOrg(ctx, db, c.Org)
	if err != nil {
		return err
	}
	account, err := db.CreditAccount(ctx, org.ID, time.Now())
	if errors.Is(err, store.ErrNotFound) {
		account, err = db.OpenPeriod(ctx, org.ID, time.Now())
	}
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(con.out, "%s (%s)\n%s\n", org.ID, printable([]byte(org.Name), maxCell), accountText(account))
	if c.Entries == 0 {
		return nil
	}
	entries, err := db.CreditEntries(ctx, store.CreditEntryFilter{OrgID: org.ID, Page: store.Page{Limit: c.Entries}})
	if err != nil {
		return err
	}
	return printEntries(con.out, entries)
}

// maxEntriesShown is how many entries show prints at most: the API exports them all.
const maxEntriesShown = 10_000

// accountText says in one line what an account has.
func accountText(a *store.CreditAccount) string {
	more := ""
	switch {
	case a.Unbounded():
		more = "; more is let in, and metered"
	case a.Metered:
		more = "; no more is let in until its subscription is paid"
	}
	if a.Reported > 0 {
		more += fmt.Sprintf("; %d of the used are billed, and taken from none of these", a.Reported)
	}
	if a.Owed > 0 {
		more += fmt.Sprintf("; %d are owed", a.Owed)
	}
	return fmt.Sprintf("plan %s: %d of %d credits available (%d used, %d reserved, %d bought) until %s%s",
		a.Plan, a.Available(), a.Granted, a.Used, a.Reserved, a.Bought, a.EndsAt.UTC().Format(time.DateTime), more)
}

func printEntries(out io.Writer, entries []*store.CreditEntry) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "AT\tKIND\tCREDITS\tCHARGED\tFOR\tBY\tREASON")
	for _, e := range entries {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%+d\t%d\t%s\t%s\t%s\n", e.CreatedAt.UTC().Format(time.DateTime), e.Kind, e.Change(), e.Used,
			cell(e.Subject), cell(e.Actor), cell(e.Reason))
	}
	return table.Flush()
}

// cell shows a text that may be missing or a stranger's.
func cell(text *string) string {
	if text == nil {
		return "-"
	}
	return printable([]byte(*text), maxCell)
}

// maxCredits bounds what is set or granted at once.
const maxCredits = 1_000_000_000

type creditsSetCmd struct {
	Org    string `arg:"" help:"The organization's id, or its name."`
	Amount int    `arg:"" help:"Credits that are available from now on, 0 or more."`
	Reason string `required:"" placeholder:"TEXT" help:"Why, for the ledger and the audit log; the organization reads it."`
}

// Run sets the credits, and writes that to the ledger and the audit log.
func (c *creditsSetCmd) Run(ctx context.Context, cfg *config, con *console) error {
	if c.Amount < 0 || c.Amount > maxCredits {
		return &exitError{status: 2, err: fmt.Errorf("%d can not be available: set 0 to %d credits, or take some with \"credits grant ORG -N\"", c.Amount, maxCredits)}
	}
	change := func(tx *store.DB, orgID string) (*store.CreditAccount, error) {
		return tx.SetCredits(ctx, orgID, c.Amount, c.Reason, operator(), time.Now())
	}
	return changeCredits(ctx, cfg, con, creditsChange{Org: c.Org, Action: "credits.set", Amount: c.Amount, Reason: c.Reason, apply: change})
}

type creditsGrantCmd struct {
	Org    string `arg:"" help:"The organization's id, or its name."`
	Amount int    `arg:"" help:"Credits to give; below 0 takes."`
	Reason string `required:"" placeholder:"TEXT" help:"Why, for the ledger and the audit log; the organization reads it."`
	Bought bool   `help:"What is left of them goes on into later periods, as if they had been bought."`
}

// Run gives or takes credits, and writes that to the ledger and the audit log.
func (c *creditsGrantCmd) Run(ctx context.Context, cfg *config, con *console) error {
	if c.Amount == 0 || c.Amount < -maxCredits || c.Amount > maxCredits {
		return &exitError{status: 2, err: fmt.Errorf("%d credits can not be granted: name 1 to %d, or as many below 0 to take", c.Amount, maxCredits)}
	}
	change := func(tx *store.DB, orgID string) (*store.CreditAccount, error) {
		account, _, err := tx.ChangeCredits(ctx, store.CreditChange{
			OrgID: orgID, Kind: store.CreditGrant, Amount: c.Amount, Bought: c.Bought, Reason: c.Reason, Actor: operator(),
		}, time.Now())
		return account, err
	}
	return changeCredits(ctx, cfg, con, creditsChange{Org: c.Org, Action: "credits.grant", Amount: c.Amount, Reason: c.Reason, apply: change})
}

// A creditsChange is one that a command makes.
type creditsChange struct {
	Org    string // its id or name
	Action string
	Amount int
	Reason string

	apply func(tx *store.DB, orgID string) (*store.CreditAccount, error)
}

// changeCredits applies a change, writes it to the audit log in the same transaction,
// and prints what was and what is.
func changeCredits(ctx context.Context, cfg *config, con *console, c creditsChange) error {
	if err := checkReason(c.Reason); err != nil {
		return err
	}
	db, err := openStoreOrDev(ctx, cfg, "credits")
	if err != nil {
		return err
	}
	defer db.Close()
	org, err := findOrg(ctx, db, c.Org)
	if err != nil {
		return err
	}
	var before, after *store.CreditAccount
	err = db.Transact(ctx, func(tx *store.DB) (err error) {
		if before, err = tx.OpenPeriod(ctx, org.ID, time.Now()); err != nil { // the organization stays locked
			return err
		}
		if after, err = c.apply(tx, org.ID); err != nil {
			return err
		}
		entry := commandChange{
			Program: "nanobanana credits", Action: c.Action, Kind: "organization", ID: org.ID, OrgID: org.ID,
			Before: map[string]any{"granted": before.Granted, "bought": before.Bought, "metered": before.Metered},
			After: map[string]any{
				"granted": after.Granted, "bought": after.Bought, "metered": after.Metered, "available": after.Available(),
				"amount": c.Amount, "reason": c.Reason,
			},
		}
		return entry.record(ctx, tx)
	})
	switch {
	case errors.Is(err, store.ErrTooFewCredits):
		return fmt.Errorf("%s has fewer credits than that: %s", org.ID, accountText(before))
	case errors.Is(err, store.ErrBoughtCredits):
		return fmt.Errorf("%s has bought credits that would be lost; \"nanobanana credits grant --bought %s -N\" takes N of them first: %s",
			org.ID, org.ID, accountText(before))
	case err != nil:
		return err
	}
	_, _ = fmt.Fprintf(con.out, "%s (%s)\nbefore: %s\nnow:    %s\n", org.ID, printable([]byte(org.Name), maxCell), accountText(before), accountText(after))
	if before.Metered && !after.Metered {
		_, _ = fmt.Fprintf(con.err, "nothing more is let in until then; \"nanobanana orgs set-plan %s %s\" ends that\n", org.ID, org.Plan)
	}
	return nil
}
