package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/nanobanana/nanobanana/store"
)

type operatorsOwnCmd struct {
	Org   string `arg:"" help:"The organization's id."`
	Email string `arg:"" help:"Their e-mail address, which they have verified."`
}

// Run makes them an owner, and writes that to the audit log.
func (c *operatorsOwnCmd) Run(ctx context.Context, cfg *config, con *console) error {
	db, err := openStore(ctx, cfg, "operators", 0)
	if err != nil {
		return err
	}
	defer db.Close()
	var account *store.Account
	var org *store.Org
	already := ""
	err = db.Transact(ctx, func(tx *store.DB) (err error) {
		if account, err = c.account(ctx, tx); err != nil {
			return err
		}
		org, err = tx.LockOrg(ctx, c.Org)
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("there is no organization %s", c.Org)
		}
		if err != nil {
			return err
		}
		changed, err := makeOwner(ctx, tx, org.ID, account.ID)
		if err == nil && !changed {
			already = "already "
		}
		return err
	})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(con.out, "%s (%s) is %san owner of %s (%s)\n",
		account.ID, printable([]byte(account.Email), maxCell), already, org.ID, printable([]byte(org.Name), maxCell))
	return nil
}

// account returns the one whose address it has been shown to be, and locks it.
func (c *operatorsOwnCmd) account(ctx context.Context, tx *store.DB) (*store.Account, error) {
	found, err := tx.AccountByEmail(ctx, c.Email)
	if err == nil {
		found, err = tx.LockAccount(ctx, found.ID)
	}
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && found.VerifiedAt == nil:
		return nil, unverified(c.Email)
	case err != nil:
		return nil, err
	case found.SuspendedAt != nil:
		return nil, fmt.Errorf("the account %s is suspended", found.ID)
	}
	return found, nil
}

// makeOwner makes an account an owner of an organization that is locked, and reports
// whether it was none.
func makeOwner(ctx context.Context, tx *store.DB, orgID, accountID string) (bool, error) {
	change := commandChange{
		Program: "nanobanana operators", Action: "membership.create", Kind: "membership", ID: accountID, OrgID: orgID,
		After: map[string]any{"account_id": accountID, "role": store.RoleOwner},
	}
	m, err := tx.Membership(ctx, orgID, accountID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		err = tx.InsertMembership(ctx, orgID, accountID, store.RoleOwner)
	case err != nil:
	case m.Role == store.RoleOwner:
		return false, nil
	default:
		change.Action, change.Before = "membership.update", map[string]any{"account_id": accountID, "role": m.Role}
		err = tx.UpdateMembership(ctx, m, store.RoleOwner)
	}
	if err != nil {
		return false, err
	}
	return true, change.record(ctx, tx)
}
