package api

import (
	"context"
	"errors"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// account is a person as they see themselves.
type account struct {
	ID            string    `json:"id" example:"usr_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Object        string    `json:"object" enum:"account"`
	Email         string    `json:"email"`
	EmailVerified bool      `json:"email_verified" doc:"Whether the address has been shown to be theirs"`
	Name          string    `json:"name"`
	HasPassword   bool      `json:"has_password" doc:"Whether they can sign in with a password"`
	Operator      bool      `json:"operator,omitempty" doc:"Runs the service"`
	CreatedAt     time.Time `json:"created_at"`
}

func viewAccount(a *store.Account) account {
	return account{
		ID: a.ID, Object: "account", Email: a.Email, EmailVerified: a.VerifiedAt != nil, Name: a.Name,
		HasPassword: a.Password != nil, Operator: a.Operator, CreatedAt: a.CreatedAt.UTC(),
	}
}

// auditAccount is what the audit log says of an account: nothing that would have to be
// erased with it, since the log is never changed.
func auditAccount(a *store.Account) map[string]any {
	return map[string]any{"id": a.ID, "email_verified": a.VerifiedAt != nil, "operator": a.Operator}
}

type accountOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         account
}

func showAccount(a *store.Account) *accountOutput {
	return &accountOutput{CacheControl: noStore, Body: viewAccount(a)}
}

// me returns the caller's account.
func (s *server) me(ctx context.Context) (*store.Account, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.db.Account(ctx, auth.FromContext(ctx).AccountID)
}

func (s *server) getMe(ctx context.Context, _ *struct{}) (*accountOutput, error) {
	a, err := s.me(ctx)
	if err != nil {
		return nil, err
	}
	return showAccount(a), nil
}

type changePasswordBody struct {
	Current string `json:"current,omitempty" maxLength:"1024" doc:"The present one. Who has none has to have signed in within the last ten minutes."`
	New     string `json:"new" required:"true" doc:"8 to 1024 bytes, and none of the commonest"`
}

type updateMeBody struct {
	Name     *string             `json:"name,omitempty" maxLength:"100"`
	Password *changePasswordBody `json:"password,omitempty" doc:"Ends all other sessions"`
}

type updateMeInput struct{ Body updateMeBody }

func (s *server) updateMe(ctx context.Context, in *updateMeInput) (*accountOutput, error) {
	var faults faultList
	if in.Body.Name != nil {
		*in.Body.Name = faults.name("name", *in.Body.Name)
	}
	if in.Body.Password != nil {
		faults.newPassword("password.new", in.Body.Password.New)
	}
	if err := faults.err(); err != nil {
		return nil, err
	}
	a, err := s.me(ctx)
	if err != nil {
		return nil, err
	}
	hash := ""
	if p := in.Body.Password; p != nil {
		if err := s.confirm(ctx, a, p.Current); err != nil {
			return nil, err
		}
		if hash, err = s.opts.Passwords.Hash(ctx, p.New); err != nil {
			return nil, err
		}
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	err = s.db.Transact(ctx, func(tx *store.DB) error {
		if hash != "" {
			if err := s.lockUnchanged(ctx, tx, a); err != nil {
				return err
			}
			if err := sessionGoesOn(ctx, tx); err != nil {
				return err
			}
		}
		if in.Body.Name != nil && *in.Body.Name != a.Name {
			if err := s.rename(ctx, tx, a.ID, *in.Body.Name); err != nil {
				return err
			}
		}
		if hash != "" {
			if err := s.replacePassword(ctx, tx, a.ID, hash, auth.FromContext(ctx).SessionID); err != nil {
				return err
			}
		}
		a, err = tx.Account(ctx, a.ID)
		return err
	})
	if err != nil {
		return nil, overtaken(err)
	}
	return showAccount(a), nil
}

// sessionGoesOn refuses a request whose session was ended since it came.
func sessionGoesOn(ctx context.Context, tx *store.DB) error {
	state, err := tx.SessionState(ctx, auth.FromContext(ctx).SessionID)
	if errors.Is(err, store.ErrNotFound) || err == nil && state.Ended {
		return store.ErrSessionEnded
	}
	return err
}

// overtaken says that a password was changed since it was confirmed.
func overtaken(err error) error {
	if errors.Is(err, errOvertaken) {
		return refuse("permission_denied", "The password was changed meanwhile.")
	}
	return err
}

func (s *server) rename(ctx context.Context, tx *store.DB, id, name string) error {
	if _, err := tx.RenameAccount(ctx, id, name); err != nil {
		return err
	}
	return s.record(ctx, tx, change{
		Action: "account.update", Kind: "account", ID: id, After: map[string][]string{"changed": {"name"}},
	})
}

// recentSignIn is how fresh a sign-in has to be to stand for a password.
const recentSignIn = 10 * time.Minute

// confirm refuses who does not know the account's password, or where it has none has
// not just signed in.
func (s *server) confirm(ctx context.Context, a *store.Account, password string) error {
	if a.Password != nil {
		if err := s.limitVisitor(requestOf(ctx).http, "confirm"); err != nil {
			return err
		}
		if err := s.limitConfirming(ctx, a.ID); err != nil {
			return err
		}
		if _, err := s.checkPassword(ctx, a, password); err != nil {
			return refuseWrongPassword(err)
		}
		return nil
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	recent, err := s.db.SessionIsRecent(ctx, a.ID, auth.FromContext(ctx).SessionID, recentSignIn)
	if err == nil && !recent {
		err = refuse("permission_denied", "The account has no password: sign in again, and do this within ten minutes.")
	}
	return err
}
