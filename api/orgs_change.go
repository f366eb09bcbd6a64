package api

import (
	"context"
	"errors"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// orgChange is a change of an organization, or of who or what belongs to it, under
// way in a transaction.
type orgChange struct {
	tx     *store.DB
	org    *store.Org
	caller *auth.Caller      // with the role of this moment
	member *store.Membership // nil for a key
}

// changeOrg runs a change of the caller's organization. Such changes wait for each
// other, and what the caller may do is looked up again once it is its turn: an owner
// whom another has just removed removes nobody any more. scope is what it takes.
func (s *server) changeOrg(ctx context.Context, scope string, do func(context.Context, *orgChange) error) error {
	caller := auth.FromContext(ctx)
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.db.Transact(ctx, func(tx *store.DB) error {
		org, err := tx.LockOrg(ctx, caller.OrgID)
		if err != nil {
			return err
		}
		by := &orgChange{tx: tx, org: org, caller: caller}
		if caller.IsKey() {
			if err := s.checkOwnKey(ctx, by); err != nil {
				return err
			}
		}
		if err := by.active(); err != nil {
			return err
		}
		if caller.Kind == auth.KindAccount {
			by.member, err = tx.Membership(ctx, org.ID, caller.AccountID)
			if errors.Is(err, store.ErrNotFound) {
				return refuse("not_found", "You belong to no organization %q.", org.ID)
			}
			if err != nil {
				return err
			}
			now := *caller
			now.Role, now.Grants = by.member.Role, auth.RoleGrants(by.member.Role)
			by.caller = &now
		}
		if err := by.need(scope); err != nil {
			return err
		}
		return do(ctx, by)
	})
}

// checkOwnKey refuses a key that has ended since it was admitted.
func (s *server) checkOwnKey(ctx context.Context, by *orgChange) error {
	key, err := by.tx.APIKey(ctx, by.org.ID, by.caller.KeyID)
	if errors.Is(err, store.ErrNotFound) {
		return auth.ErrUnknown
	}
	if err != nil {
		return err
	}
	return auth.CheckKey(key, s.opts.Now())
}

// need refuses a caller who is not granted a scope; empty is none.
func (by *orgChange) need(scope string) error {
	if scope != "" && !by.caller.May(scope) {
		return refuseScope(by.caller, scope)
	}
	return nil
}

// needOwner refuses a caller who may not change owners, if any of the roles is one.
func (by *orgChange) needOwner(roles ...string) error {
	for _, role := range roles {
		if role == auth.RoleOwner {
			return by.need(auth.ScopeOwnersWrite)
		}
	}
	return nil
}

// active refuses what concerns a suspended organization: nobody may do anything in it.
func (by *orgChange) active() error {
	if by.org.SuspendedAt != nil {
		return auth.ErrSuspended
	}
	return nil
}
