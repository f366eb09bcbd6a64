package api

import (
	"context"
	"errors"
	netmail "net/mail"
	"strings"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs/mail"
	"github.com/nanobanana/nanobanana/store"
)

// signOn signs in whom a provider has identified: with the account that is known to
// be theirs, else with the one whose verified address they have, else with a new one.
func (s *server) signOn(ctx context.Context, who *auth.Identified) (a *store.Account, in *auth.SignIn, err error) {
	if _, ok := parseEmail(who.Email); !ok {
		who.Verified = false // and nobody can show that it is theirs
	}
	mailed, err := s.mailsSignOn(ctx, who)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	// Once more if someone shows in the same moment that the address is theirs, or has
	// the account erased.
	for range 2 {
		err = s.db.Transact(ctx, func(tx *store.DB) error {
			if a, err = s.accountOf(ctx, tx, who, mailed); err != nil {
				return err
			}
			in, err = s.opts.Sessions.Issue(ctx, tx, s.newSession(ctx, a.ID, store.MethodOIDC))
			return err
		})
		if !errors.Is(err, store.ErrEmailTaken) && !errors.Is(err, store.ErrNotFound) {
			break
		}
	}
	if err != nil {
		return nil, nil, err
	}
	requestOf(ctx).accountID = a.ID
	return a, in, nil
}

// mailsSignOn reports whether the address of a sign-in gets a mail, if it makes an
// account that has to show whose it is.
func (s *server) mailsSignOn(ctx context.Context, who *auth.Identified) (bool, error) {
	if who.Verified {
		return false, nil
	}
	bounded, cancel := s.bounded(ctx)
	defer cancel()
	_, err := s.db.Identity(bounded, who.Issuer, who.Subject)
	if errors.Is(err, store.ErrNotFound) {
		return s.mayMail(ctx, who.Email)
	}
	return false, err
}

// accountOf returns the account of an identity, which it links or makes if it is new.
// mailed is that of mailVerification.
func (s *server) accountOf(ctx context.Context, tx *store.DB, who *auth.Identified, mailed bool) (*store.Account, error) {
	if err := tx.LockIdentity(ctx, who.Issuer, who.Subject); err != nil {
		return nil, err
	}
	known, err := tx.Identity(ctx, who.Issuer, who.Subject)
	switch {
	case err == nil:
		a, err := tx.LockAccount(ctx, known.AccountID)
		if err == nil && a.SuspendedAt != nil {
			err = store.ErrAccountSuspended
		}
		return a, err
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	email := strings.TrimSpace(who.Email)
	if parsed, err := netmail.ParseAddress(email); err != nil || parsed.Address != email || len(email) > mail.MaxAddress || !isText(email) {
		return nil, refuse("sign_on_failed", "The provider %s does not say your e-mail address, which an account needs; it must be asked for the scope email, and allowed to tell it.", who.Provider)
	}
	a, err := s.linkable(ctx, tx, who, email)
	if err != nil {
		return nil, err
	}
	action := "identity.link"
	if a == nil {
		action = "account.register"
		if a, err = s.makeSignOnAccount(ctx, tx, who, email, mailed); err != nil {
			return nil, err
		}
	}
	if err := tx.LinkIdentity(ctx, who.Issuer, who.Subject, a.ID); err != nil {
		return nil, err
	}
	ctx = actingAs(ctx, a.ID)
	if err := s.joinOrg(ctx, tx, who, a); err != nil {
		return nil, err
	}
	return a, s.record(ctx, tx, change{
		Action: action, Kind: "account", ID: a.ID, After: map[string]any{"provider": who.Provider, "issuer": who.Issuer, "email_verified": a.VerifiedAt != nil},
	})
}

// linkable returns the account that has shown that the address is its own, if the
// provider says the same of whom it has identified, or nil. Whoever runs the service
// is never let in by a provider's word alone.
func (s *server) linkable(ctx context.Context, tx *store.DB, who *auth.Identified, email string) (*store.Account, error) {
	if !who.Verified {
		return nil, nil
	}
	a, err := tx.AccountByEmail(ctx, email)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil // whoever names it without having shown so may be anyone
	case err != nil:
		return nil, err
	case a.SuspendedAt != nil:
		return nil, store.ErrAccountSuspended
	case a.Operator:
		return nil, refuse("permission_denied", "The account of this address runs the service, and single sign-on does not reach it; sign in with its password.")
	}
	return a, nil
}

// makeSignOnAccount records an account without a password, and an organization and a
// project of its own unless it joins one.
func (s *server) makeSignOnAccount(ctx context.Context, tx *store.DB, who *auth.Identified, email string, mailed bool) (*store.Account, error) {
	now := s.opts.Now()
	fresh := store.Account{Email: email, Name: signOnName(who.Name)}
	if who.Verified {
		fresh.VerifiedAt = &now
	}
	a, err := tx.CreateAccount(ctx, fresh)
	if err != nil {
		return nil, err
	}
	if !who.Verified {
		if err := s.mailVerification(ctx, tx, a, mailed); err != nil {
			return nil, err
		}
	}
	if who.OrgID != "" {
		return a, nil
	}
	_, _, err = s.makeHome(ctx, tx, a.ID, "")
	return a, err
}

// signOnName is a name that a provider tells, in the form that names have here.
func signOnName(name string) string {
	name = strings.TrimSpace(name)
	if !isText(name) || strings.ContainsAny(name, "\r\n") {
		return ""
	}
	return shorten(name, maxName)
}

// joinOrg makes an account a member of the organization that its provider stands for,
// if there is one.
func (s *server) joinOrg(ctx context.Context, tx *store.DB, who *auth.Identified, a *store.Account) error {
	if who.OrgID == "" {
		return nil
	}
	org, err := tx.LockOrg(ctx, who.OrgID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return refuse("permission_denied", "The organization that the provider %s stands for does not exist here; whoever runs this service should look at its configuration.", who.Provider)
	case err != nil:
		return err
	case org.SuspendedAt != nil:
		return auth.ErrSuspended
	}
	switch err := tx.InsertMembership(ctx, org.ID, a.ID, who.Role); {
	case errors.Is(err, store.ErrMember):
		return nil // whose role is not the provider's to change
	case err != nil:
		return err
	}
	n, err := tx.Members(ctx, org.ID)
	if err != nil {
		return err
	}
	if n > store.MaxMembers {
		return refuse("limit_reached", "The organization has %d members, which is the most.", store.MaxMembers)
	}
	return s.record(ctx, tx, change{
		Action: "membership.create", Kind: "membership", ID: a.ID, OrgID: org.ID, After: map[string]any{"role": who.Role, "provider": who.Provider},
	})
}
