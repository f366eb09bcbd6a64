package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// operatorsCmd says who runs the service.
type operatorsCmd struct {
	List   operatorsListCmd   `cmd:"" default:"withargs" help:"List the people who run the service."`
	Grant  operatorsGrantCmd  `cmd:"" help:"Let someone run the service, through the routes under /v1/admin."`
	Revoke operatorsRevokeCmd `cmd:"" help:"Let someone run the service no longer, from their next request on."`
	Own    operatorsOwnCmd    `cmd:"" help:"Make someone an owner of an organization, such as one that has none."`
}

type operatorsListCmd struct{}

// Run prints a line per operator, oldest account first.
func (c *operatorsListCmd) Run(ctx context.Context, cfg *config, con *console) error {
	db, err := openStoreOrDev(ctx, cfg, "operators")
	if err != nil {
		return err
	}
	defer db.Close()
	const each = 100
	operator := true
	filter := store.AccountFilter{Operator: &operator, Page: store.Page{Ascending: true, Limit: each}}
	table := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "ID\tEMAIL\tNAME\tSTATE")
	for {
		page, err := db.OperatorAccounts(ctx, filter)
		if err != nil {
			return err
		}
		for _, a := range page {
			state := "active"
			if a.SuspendedAt != nil {
				state = "suspended " + a.SuspendedAt.UTC().Format(time.DateTime)
			}
			// Names are strangers' own.
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", a.ID, printable([]byte(a.Email), maxCell), printable([]byte(a.Name), maxCell), state)
		}
		if len(page) < each {
			return table.Flush()
		}
		filter.After = page[len(page)-1].ID
	}
}

// maxCell bounds what is printed of a text that a stranger chose, in bytes.
const maxCell = 254

type operatorsGrantCmd struct {
	Email string `arg:"" help:"Their e-mail address, which they have verified."`
}

// Run makes them an operator.
func (c *operatorsGrantCmd) Run(ctx context.Context, cfg *config, con *console) error {
	return setOperator(ctx, cfg, con, c.Email, true)
}

type operatorsRevokeCmd struct {
	Email string `arg:"" help:"Their e-mail address."`
}

// Run makes them one no longer.
func (c *operatorsRevokeCmd) Run(ctx context.Context, cfg *config, con *console) error {
	return setOperator(ctx, cfg, con, c.Email, false)
}

// setOperator changes who runs the service, and writes that to the audit log.
func setOperator(ctx context.Context, cfg *config, con *console, email string, is bool) error {
	db, err := openStoreOrDev(ctx, cfg, "operators")
	if err != nil {
		return err
	}
	defer db.Close()
	var account *store.OperatorAccount
	var changed bool
	err = db.Transact(ctx, func(tx *store.DB) (err error) {
		account, changed, err = tx.SetOperator(ctx, email, is)
		if err != nil || !changed {
			return err
		}
		action := map[bool]string{true: "operator.grant", false: "operator.revoke"}[is]
		c := commandChange{
			Program: "nanobanana operators", Action: action, Kind: "account", ID: account.ID,
			Before: map[string]any{"operator": !is}, After: map[string]any{"operator": is},
		}
		return c.record(ctx, tx)
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return unverified(email)
	case err != nil:
		return err
	}
	state := map[bool]string{true: "an operator", false: "no operator"}[is]
	already := ""
	if !changed {
		already = "already "
	}
	_, _ = fmt.Fprintf(con.out, "%s (%s) is %s%s\n", account.ID, printable([]byte(account.Email), maxCell), already, state)
	return nil
}

func unverified(email string) error {
	return fmt.Errorf("nobody has verified the address %s; register it with POST /v1/auth/register and follow the link in the mail first", email)
}
