package api

import (
	"context"
	"errors"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

type verifyEmailBody struct {
	Token string `json:"token" required:"true" maxLength:"100" doc:"Of the link that was mailed"`
}

type verifyEmailInput struct{ Body verifyEmailBody }

func (s *server) verifyEmail(ctx context.Context, in *verifyEmailInput) (*accountOutput, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	var a *store.Account
	err := s.db.Transact(ctx, func(tx *store.DB) error {
		id, err := tx.UseAccountToken(ctx, store.TokenVerify, linkHash(in.Body.Token))
		if err != nil {
			return err
		}
		a, err = s.claimAddress(ctx, tx, id)
		return err
	})
	if err != nil {
		return nil, linkError(err)
	}
	return showAccount(a), nil
}

// claimAddress records that an account's address is theirs.
func (s *server) claimAddress(ctx context.Context, tx *store.DB, id string) (*store.Account, error) {
	before, err := tx.Account(ctx, id)
	if err != nil {
		return nil, err
	}
	after, err := tx.VerifyAccount(ctx, id)
	if err != nil || before.VerifiedAt != nil {
		return after, err
	}
	return after, s.record(actingAs(ctx, id), tx, change{
		Action: "account.verify", Kind: "account", ID: id, Before: auditAccount(before), After: auditAccount(after),
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
	id := auth.FromContext(ctx).AccountID
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return nil, s.db.Transact(ctx, func(tx *store.DB) error {
		a, err := tx.Account(ctx, id)
		if err != nil || a.VerifiedAt != nil {
			return err
		}
		return s.mailVerification(ctx, tx, a)
	})
}

type forgotPasswordBody struct {
	Email string `json:"email" required:"true" maxLength:"254"`
}

type forgotPasswordInput struct{ Body forgotPasswordBody }

// forgotPassword does the same work for an address that has no account: the mail to
// nobody is recorded as sent. What is left of a difference, a row more or less, drowns in
// the time that a password takes.
func (s *server) forgotPassword(ctx context.Context, in *forgotPasswordInput) (*struct{}, error) {
	if err := s.limitAccount(ctx, "forgot_password", in.Body.Email); err != nil {
		return nil, err
	}
	a, err := s.accountByEmail(ctx, in.Body.Email)
	if err != nil {
		return nil, err
	}
	if a == nil {
		a = &store.Account{}
	}
	if _, _, err := s.opts.Passwords.Verify(ctx, in.Body.Email, ""); err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return nil, s.db.Transact(ctx, func(tx *store.DB) error {
		token, hash := newLinkToken()
		if err := tx.CreateAccountToken(ctx, a.ID, store.TokenReset, hash, resetTTL); err != nil {
			return err
		}
		return s.queue.Send(ctx, tx, jobs.NewMail{
			Kind: jobs.MailReset, To: a.Email, AccountID: a.ID, Data: map[string]string{"name": a.Name}, Token: token, Seal: s.sealLink,
			ExpiresAt: s.opts.Now().Add(resetTTL),
		})
	})
}

type resetPasswordBody struct {
	Token    string `json:"token" required:"true" maxLength:"100" doc:"Of the link that was mailed"`
	Password string `json:"password" required:"true" doc:"8 to 1024 bytes, and none of the commonest"`
}

type resetPasswordInput struct{ Body resetPasswordBody }

// resetPassword takes an account over for whoever reads its mail: what was signed in
// before is signed out.
func (s *server) resetPassword(ctx context.Context, in *resetPasswordInput) (*struct{}, error) {
	var faults faultList
	faults.newPassword("password", in.Body.Password)
	if err := faults.err(); err != nil {
		return nil, err
	}
	token := linkHash(in.Body.Token)
	if err := s.peekLink(ctx, store.TokenReset, token); err != nil {
		return nil, err
	}
	hash, err := s.opts.Passwords.Hash(ctx, in.Body.Password)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return nil, linkError(s.db.Transact(ctx, func(tx *store.DB) error {
		id, err := tx.UseAccountToken(ctx, store.TokenReset, token)
		if err != nil {
			return err
		}
		before, err := tx.Account(ctx, id)
		if err != nil {
			return err
		}
		if _, err := s.claimAddress(ctx, tx, id); err != nil {
			return err
		}
		if before.VerifiedAt == nil {
			// Whoever registered with an address that was not theirs keeps nothing.
			if err := tx.RevokeOwnedKeys(ctx, id); err != nil {
				return err
			}
		}
		return s.replacePassword(actingAs(ctx, id), tx, id, hash, "")
	}))
}

// peekLink refuses a token that is no good, before work is done for it.
func (s *server) peekLink(ctx context.Context, purpose string, hash []byte) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	good, err := s.db.HasAccountToken(ctx, purpose, hash)
	if err == nil && !good {
		err = refuse("link_invalid", "")
	}
	return err
}

// replacePassword gives an account another password and ends its sessions, but for the
// one named, if any.
func (s *server) replacePassword(ctx context.Context, tx *store.DB, id, hash, except string) error {
	a, err := tx.SetPassword(ctx, id, hash)
	if err != nil {
		return err
	}
	if err := tx.DropAccountTokens(ctx, id, store.TokenReset); err != nil {
		return err
	}
	ended, err := tx.EndSessions(ctx, id, except, store.EndPassword)
	if err != nil {
		return err
	}
	if err := s.queue.Send(ctx, tx, jobs.NewMail{
		Kind: jobs.MailPasswordChanged, To: a.Email, AccountID: id, Data: map[string]string{"name": a.Name},
	}); err != nil {
		return err
	}
	return s.record(ctx, tx, change{
		Action: "account.password_change", Kind: "account", ID: id, After: map[string]int{"sessions_ended": ended},
	})
}
