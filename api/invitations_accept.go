package api

import (
	"context"
	"errors"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

type acceptInvitationInput struct {
	Body struct {
		Token string `json:"token" required:"true" maxLength:"100" doc:"The end of the link that was mailed"`
	}
}

// acceptInvitation makes the caller a member, if the invitation is to the address
// that they have shown to be theirs. It works once.
func (s *server) acceptInvitation(ctx context.Context, in *acceptInvitationInput) (*memberOutput, error) {
	accountID := auth.FromContext(ctx).AccountID
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	var shown membership
	err := s.db.Transact(ctx, func(tx *store.DB) error {
		inv, err := invitationFor(ctx, tx, accountID, in.Body.Token)
		if err != nil {
			return err
		}
		org, err := tx.LockOrg(ctx, inv.OrgID)
		if errors.Is(err, store.ErrNotFound) {
			return refuse("link_invalid", "")
		}
		if err != nil {
			return err
		}
		if err := (&orgChange{org: org}).active(); err != nil {
			return err
		}
		if err := s.stillInvited(ctx, tx, inv); err != nil {
			return err
		}
		m, err := tx.AcceptInvitation(ctx, org.ID, inv.ID, accountID, s.now())
		switch {
		case errors.Is(err, store.ErrNotFound):
			return refuse("link_invalid", "")
		case errors.Is(err, store.ErrMember):
			return refuse("already_exists", "You belong to the organization already.")
		case err != nil:
			return err
		}
		shown = viewMembership(m)
		return s.record(ctx, tx, change{
			Action: "invitation.accept", Kind: "invitation", ID: inv.ID, OrgID: org.ID, Before: auditInvitation(inv), After: auditMembership(m),
		})
	})
	if err != nil {
		return nil, invitationError(err)
	}
	return &memberOutput{CacheControl: notKept, Body: shown}, nil
}

// invitationFor returns what a token proves, if it is the account's to accept. The
// account stays as it is until the transaction ends.
func invitationFor(ctx context.Context, tx *store.DB, accountID, token string) (*store.Invitation, error) {
	inv, err := tx.InvitationByHash(ctx, linkHash(token))
	if errors.Is(err, store.ErrNotFound) {
		return nil, refuse("link_invalid", "")
	}
	if err != nil {
		return nil, err
	}
	account, err := tx.LockAccount(ctx, accountID)
	switch {
	case err != nil:
		return nil, err
	case store.EmailKey(account.Email) != inv.EmailKey:
		return nil, refuse("not_found", "This invitation is for another e-mail address than that of your account.")
	case account.VerifiedAt == nil:
		return nil, refuse("email_unverified", "")
	}
	return inv, nil
}

// stillInvited refuses an invitation whose sender could not send it any more: what
// someone was trusted with ends with the trust. It must run in the transaction that
// holds LockOrg.
func (s *server) stillInvited(ctx context.Context, tx *store.DB, inv *store.Invitation) error {
	grants, err := s.grantsOfInviter(ctx, tx, inv)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if !grants.Include(auth.ScopeMembersWrite) || inv.Role == auth.RoleOwner && !grants.Include(auth.ScopeOwnersWrite) {
		return refuse("link_invalid", "Whoever sent this invitation may not invite you any more; ask the organization for another.")
	}
	return nil
}

// grantsOfInviter is what the sender of an invitation may do in its organization at
// this moment.
func (s *server) grantsOfInviter(ctx context.Context, tx *store.DB, inv *store.Invitation) (auth.Grants, error) {
	switch {
	case store.ValidAccountID(inv.InvitedBy):
		account, err := tx.Account(ctx, inv.InvitedBy)
		if err != nil || account.SuspendedAt != nil {
			return nil, err
		}
		m, err := tx.Membership(ctx, inv.OrgID, account.ID)
		if err != nil {
			return nil, err
		}
		return auth.RoleGrants(m.Role), nil
	case store.ValidAPIKeyID(inv.InvitedBy):
		key, err := tx.APIKey(ctx, inv.OrgID, inv.InvitedBy)
		if err != nil || key.Kind != store.KeyMaster || hasEnded(key, s.now()) {
			return nil, err
		}
		return auth.MasterGrants(), nil
	}
	// Only its issuer knows what the bearer of a foreign token may do by now: the
	// organization revokes what it does not stand by.
	return auth.RoleGrants(auth.RoleOwner), nil
}
