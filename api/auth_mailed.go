package api

import (
	"context"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

type forgotPasswordBody struct {
	Email string `json:"email" required:"true" maxLength:"254"`
}

type forgotPasswordInput struct{ Body forgotPasswordBody }

// forgotPassword does the same work for an address that no account has shown to be its
// own: the mail to nobody is recorded as sent. What is left of a difference, a row more
// or less, drowns in the time that a password takes. An account whose address was never
// shown to be theirs gets no mail, since whoever follows it would get into what is
// perhaps a stranger's; who forgot the password of one registers again.
func (s *server) forgotPassword(ctx context.Context, in *forgotPasswordInput) (*struct{}, error) {
	if err := s.limitAccount(requestOf(ctx).http, "forgot_password", in.Body.Email); err != nil {
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

// resetPassword gives an account back to whoever reads its mail: what was signed in
// before is signed out.
func (s *server) resetPassword(ctx context.Context, in *resetPasswordInput) (*struct{}, error) {
	var faults faultList
	faults.newPassword("password", in.Body.Password)
	if err := faults.err(); err != nil {
		return nil, err
	}
	token := linkHash(in.Body.Token)
	id, err := s.accountOfLink(ctx, store.TokenReset, token)
	if err != nil {
		return nil, err
	}
	hash, err := s.opts.Passwords.Hash(ctx, in.Body.Password)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return nil, linkError(s.db.Transact(ctx, func(tx *store.DB) error {
		a, err := tx.LockAccount(ctx, id)
		if err == nil && a.VerifiedAt == nil {
			err = store.ErrNotFound
		}
		if err != nil {
			return err
		}
		if _, err := tx.UseAccountToken(ctx, store.TokenReset, token); err != nil {
			return err
		}
		return s.replacePassword(actingAs(ctx, id), tx, id, hash, "")
	}))
}

// accountOfLink returns whose a token is, or refuses one that is no good before work is
// done for it.
func (s *server) accountOfLink(ctx context.Context, purpose string, hash []byte) (id string, err error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	id, err = s.db.AccountOfToken(ctx, purpose, hash)
	return id, linkError(err)
}

// replacePassword gives an account, which the transaction has locked, another password
// and ends its sessions, but for the one named, if any. An address that is not known to
// be theirs gets no mail of it: a stranger could have any number sent.
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
	if a.VerifiedAt != nil {
		if err := s.queue.Send(ctx, tx, jobs.NewMail{
			Kind: jobs.MailPasswordChanged, To: a.Email, AccountID: id, Data: map[string]string{"name": a.Name},
		}); err != nil {
			return err
		}
	}
	return s.record(ctx, tx, change{
		Action: "account.password_change", Kind: "account", ID: id, After: map[string]int{"sessions_ended": ended},
	})
}
