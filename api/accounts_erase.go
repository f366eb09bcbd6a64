package api

import (
	"context"
	"errors"

	"github.com/nanobanana/nanobanana/store"
)

type deleteMeBody struct {
	Password string `json:"password,omitempty" maxLength:"1024" doc:"Who has none has to have signed in within the last ten minutes"`
}

type deleteMeInput struct{ Body deleteMeBody }

type deleteMeOutput struct {
	SetCookie []string `header:"Set-Cookie"`
}

// deleteMe forgets a person, and with them the organizations that nobody else belongs
// to.
func (s *server) deleteMe(ctx context.Context, in *deleteMeInput) (*deleteMeOutput, error) {
	a, err := s.me(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.confirm(ctx, a, in.Body.Password); err != nil {
		return nil, err
	}
	r := requestOf(ctx).http
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	err = s.db.Transact(ctx, func(tx *store.DB) error {
		locked, err := tx.LockAccountAndOrgs(ctx, a.ID)
		if err != nil {
			return err
		}
		if err := errors.Join(unchanged(locked, a), sessionGoesOn(ctx, tx)); err != nil {
			return err
		}
		alone, err := tx.EraseAccount(ctx, a.ID)
		if err != nil {
			return err
		}
		for _, org := range alone {
			if err := s.endOrg(ctx, tx, org, nil); err != nil {
				return err
			}
		}
		return s.record(ctx, tx, change{Action: "account.erase", Kind: "account", ID: a.ID, Before: auditAccount(a)})
	})
	if err != nil {
		return nil, overtaken(err)
	}
	return &deleteMeOutput{SetCookie: s.cookies(r, nil)}, nil
}

// refuseWrongPassword says that of a caller's own password: the credential they asked
// with is good, so that the answer is not 401.
func refuseWrongPassword(err error) error {
	var refused *refusal
	if errors.As(err, &refused) && refused.code == "invalid_credentials" {
		return refuse("permission_denied", "The password is wrong.")
	}
	return err
}
