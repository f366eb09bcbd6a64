package api

import (
	"context"
	"errors"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

type verifyEmailBody struct {
	Token    string `json:"token" required:"true" maxLength:"100" doc:"Of the link that was mailed"`
	Password string `json:"password,omitempty" maxLength:"1024" doc:"Of the account that the link is for; not needed with its access token"`
}

type verifyEmailInput struct {
	Authorization string `header:"Authorization" hidden:"true"` // set: the request's access token speaks for the account
	Body          verifyEmailBody
}

// verifyEmail takes the word of nobody who has the mailbox alone, or the account alone:
// the account may be a stranger's who named the address, and waits for its owner to
// follow the link.
func (s *server) verifyEmail(ctx context.Context, in *verifyEmailInput) (*accountOutput, error) {
	token := linkHash(in.Body.Token)
	id, err := s.accountOfLink(ctx, store.TokenVerify, token)
	if err != nil {
		return nil, err
	}
	holder, err := s.holderOf(ctx, id, in)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	var a *store.Account
	err = s.db.Transact(ctx, func(tx *store.DB) error {
		if err := s.lockUnchanged(ctx, tx, holder); err != nil {
			return err
		}
		if _, err := tx.UseAccountToken(ctx, store.TokenVerify, token); err != nil {
			return err
		}
		a, err = s.claimAddress(ctx, tx, holder)
		return err
	})
	if errors.Is(err, errOvertaken) {
		err = refuse("invalid_credentials", "The password of the account was changed meanwhile; send the present one.")
	}
	if err != nil {
		return nil, linkError(err)
	}
	return showAccount(a), nil
}

// holderOf returns an account if the request is its owner's.
func (s *server) holderOf(ctx context.Context, id string, in *verifyEmailInput) (*store.Account, error) {
	if in.Authorization != "" {
		caller, err := s.authenticate(requestOf(ctx).http)
		if err != nil {
			return nil, err
		}
		if caller.Kind != auth.KindAccount || caller.AccountID != id {
			return nil, refuse("permission_denied", "The link is for another account than the one whose access token was sent; sign in to that one, or send its password.")
		}
	} else if in.Body.Password == "" {
		return nil, refuse("invalid_credentials", "The link alone is not enough: send the access token of the account that it is for, or the password that was chosen when signing up.")
	}
	bounded, cancel := s.bounded(ctx)
	defer cancel()
	a, err := s.db.Account(bounded, id)
	if errors.Is(err, store.ErrNotFound) {
		err = refuse("link_invalid", "")
	}
	if err != nil || in.Authorization != "" {
		return a, err
	}
	if a.Password == nil {
		return nil, refuse("permission_denied", "The account has no password, since it signs in through single sign-on: send POST /v1/auth/verify_email with its access token.")
	}
	if err := s.limitConfirming(ctx, a.ID); err != nil {
		return nil, err
	}
	_, err = s.checkPassword(ctx, a, in.Body.Password)
	var refused *refusal
	if errors.As(err, &refused) && refused.code == "invalid_credentials" {
		err = refuse("invalid_credentials", "This is not the password of the account that the link is for. If you did not sign up at the time that the mail says, do nothing: sign up yourself, and follow the link of the mail that you get then.")
	}
	return a, err
}

// claimAddress records that an account's address is theirs.
func (s *server) claimAddress(ctx context.Context, tx *store.DB, before *store.Account) (*store.Account, error) {
	after, err := tx.VerifyAccount(ctx, before.ID)
	if err != nil || before.VerifiedAt != nil {
		return after, err
	}
	return after, s.record(actingAs(ctx, before.ID), tx, change{
		Action: "account.verify", Kind: "account", ID: before.ID, Before: auditAccount(before), After: auditAccount(after),
	})
}

// linkError says why a link proves nothing.
func linkError(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return refuse("link_invalid", "")
	case errors.Is(err, store.ErrEmailTaken):
		return refuse("already_exists", "Another account has verified this e-mail address; sign in to that one, or reset its password.")
	}
	return err
}

func (s *server) resendVerification(ctx context.Context, _ *struct{}) (*struct{}, error) {
	a, err := s.me(ctx)
	if err != nil || a.VerifiedAt != nil {
		return nil, err
	}
	if err := s.limitMails(ctx, a.Email); err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return nil, s.db.Transact(ctx, func(tx *store.DB) error { return s.mailVerification(ctx, tx, a, true) })
}
