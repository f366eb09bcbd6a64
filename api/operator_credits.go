package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// adminCredits are an organization's credits as operators see them.
type adminCredits struct {
	CreditBalance

	SpendLimit *int64             `json:"spend_limit" doc:"What the organization wants to use in the period at most; null: no limit"`
	Entries    []adminCreditEntry `json:"entries" nullable:"false" doc:"The latest 20 of the ledger"`
}

type adminCreditEntry struct {
	CreditEntry

	Subject *string `json:"subject" doc:"A generation, a batch, or what else happens once"`
	Actor   *string `json:"actor" doc:"Who wrote it; null: the service"`
}

// adminCreditEntries is how many entries operators see with a balance.
const adminCreditEntries = 20

type adminCreditsInput struct {
	OrgID string `path:"org_id" example:"org_06f0r3k8cg7q1v2m4n6p8s9tb0"`
}

type adminCreditsOutput struct {
	Replayed     string `header:"Idempotent-Replayed" doc:"true if an earlier request with this Idempotency-Key made the change"`
	CacheControl string `header:"Cache-Control"`
	Body         adminCredits
}

func (s *server) adminGetCredits(ctx context.Context, in *adminCreditsInput) (*adminCreditsOutput, error) {
	if !store.ValidOrgID(in.OrgID) {
		return nil, noAdminOrg(in.OrgID, store.ErrNotFound)
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	account, err := s.presentAccount(ctx, in.OrgID)
	if err != nil {
		return nil, noAdminOrg(in.OrgID, err)
	}
	entries, err := s.db.CreditEntries(ctx, store.CreditEntryFilter{OrgID: in.OrgID, Page: store.Page{Limit: adminCreditEntries}})
	if err != nil {
		return nil, err
	}
	shown := adminCredits{CreditBalance: viewBalance(account), SpendLimit: account.SpendLimit, Entries: []adminCreditEntry{}}
	for _, e := range entries {
		shown.Entries = append(shown.Entries, adminCreditEntry{CreditEntry: s.viewCreditEntry(e), Subject: e.Subject, Actor: e.Actor})
	}
	return &adminCreditsOutput{CacheControl: notKept, Body: shown}, nil
}

// What adminChangeCredits does.
const (
	creditsSet   = "set"
	creditsGrant = "grant"
)

type adminChangeCreditsBody struct {
	Action string `json:"action" enum:"set,grant" doc:"set: so many are available from now on in this period, whatever was used; grant: so many more, or fewer"`
	Amount int    `json:"amount" minimum:"-1000000000" maximum:"1000000000" doc:"Credits; of grant, below 0 takes"`
	Bought bool   `json:"bought,omitempty" doc:"Whether what is left of granted ones goes on into later periods"`
	Reason string `json:"reason" maxLength:"500" doc:"For the ledger and the audit log; the organization reads it in both"`
}

type adminChangeCreditsInput struct {
	OrgID string `path:"org_id" example:"org_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Body  adminChangeCreditsBody
}

func outOfRange(message string) error {
	return &jobs.InvalidError{Faults: []jobs.Fault{{Param: "amount", Code: "out_of_range", Message: message}}}
}

// check returns the reason, or refuses what makes no sense.
func (b *adminChangeCreditsBody) check() (reason string, err error) {
	var f *jobs.Fault
	switch {
	case b.Action == creditsSet && b.Amount < 0:
		f = &jobs.Fault{Param: "amount", Code: "out_of_range", Message: "amount must be 0 or more to be set"}
	case b.Action == creditsGrant && b.Amount == 0:
		f = &jobs.Fault{Param: "amount", Code: "out_of_range", Message: "amount must not be 0"}
	case b.Action == creditsSet && b.Bought:
		f = &jobs.Fault{Param: "bought", Code: "conflict", Message: "bought is for grant: what is set is for this period alone"}
	}
	if f != nil {
		return "", &jobs.InvalidError{Faults: []jobs.Fault{*f}}
	}
	return checkReason(b.Reason)
}

func (s *server) adminChangeCredits(ctx context.Context, in *adminChangeCreditsInput) (*adminCreditsOutput, error) {
	if !store.ValidOrgID(in.OrgID) {
		return nil, noAdminOrg(in.OrgID, store.ErrNotFound)
	}
	reason, err := in.Body.check()
	if err != nil {
		return nil, err
	}
	in.Body.Reason = reason
	caller := auth.FromContext(ctx)
	key, err := s.creationKey(ctx, cmp.Or(caller.AccountID, caller.OrgID), "admin_credits", store.NewID("change"), in.OrgID, in.Body)
	if err != nil {
		return nil, err
	}
	within, cancel := s.bounded(ctx)
	defer cancel()
	before := ""
	err = s.db.Transact(within, func(tx *store.DB) error {
		if before, err = claimCreation(within, tx, key); err != nil || before != "" {
			return err
		}
		return s.changeCredits(within, tx, in, caller.ActorID())
	})
	if err != nil {
		return nil, noAdminOrg(in.OrgID, err)
	}
	out, err := s.adminGetCredits(ctx, &adminCreditsInput{OrgID: in.OrgID})
	if err == nil {
		out.Replayed = replayed(before)
	}
	return out, err
}

// changeCredits changes the credits of an organization, and writes that to the audit
// log.
func (s *server) changeCredits(ctx context.Context, tx *store.DB, in *adminChangeCreditsInput, actor string) error {
	asked, now := &in.Body, s.opts.Now()
	org, err := tx.OperatorOrg(ctx, in.OrgID) // locked: nobody else changes what is granted
	if err == nil && org.DeletedAt != nil {
		err = fmt.Errorf("organization %s is deleted: %w", org.ID, store.ErrNotFound)
	}
	if err != nil {
		return err
	}
	before, err := tx.OpenPeriod(ctx, in.OrgID, now)
	if err != nil {
		return err
	}
	var after *store.CreditAccount
	if asked.Action == creditsSet {
		after, err = tx.SetCredits(ctx, in.OrgID, asked.Amount, asked.Reason, actor, now)
	} else {
		after, _, err = tx.ChangeCredits(ctx, store.CreditChange{
			OrgID: in.OrgID, Kind: store.CreditGrant, Amount: asked.Amount, Bought: asked.Bought, Reason: asked.Reason, Actor: actor,
		}, now)
	}
	switch {
	case errors.Is(err, store.ErrTooFewCredits):
		return outOfRange("amount takes more credits than are left; see what is available, and of it bought, with GET")
	case errors.Is(err, store.ErrBoughtCredits):
		return outOfRange("amount would leave less than was bought and is left; first take of that, with action grant, an amount below 0 and bought")
	case errors.Is(err, store.ErrCreditRange):
		return outOfRange("amount is too far from what is available; get there in steps")
	case err != nil:
		return err
	}
	return s.record(ctx, tx, change{
		Action: "credits." + asked.Action, Kind: "organization", ID: in.OrgID, OrgID: in.OrgID, Operator: true,
		Before: map[string]any{"granted": before.Granted, "bought": before.Bought, "metered": before.Metered},
		After: map[string]any{
			"granted": after.Granted, "bought": after.Bought, "metered": after.Metered, "available": after.Available(), "amount": asked.Amount,
			"reason": asked.Reason,
		},
	})
}
