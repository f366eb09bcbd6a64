package api

import (
	"context"
	"errors"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// signedIn is the part of an answer that lets its reader ask further.
type signedIn struct {
	AccessToken string `json:"access_token" doc:"To be sent as Authorization: Bearer"`
	TokenType   string `json:"token_type" enum:"Bearer"`
	ExpiresIn   int    `json:"expires_in" doc:"Seconds that the access token is good for; POST /v1/auth/refresh gets the next"`
	SessionID   string `json:"session_id"`
}

func viewSignIn(in *auth.SignIn) signedIn {
	return signedIn{
		AccessToken: in.AccessToken, TokenType: "Bearer", ExpiresIn: int(auth.AccessTTL.Seconds()), SessionID: in.Session.ID,
	}
}

type loginBody struct {
	Email    string `json:"email" required:"true" maxLength:"254" example:"ada@example.com"`
	Password string `json:"password" required:"true" maxLength:"1024"`
}

type loginInput struct{ Body loginBody }

// loginAnswer tells who has signed in.
type loginAnswer struct {
	Account account `json:"account"`
	signedIn
}

type loginOutput struct {
	CacheControl string   `header:"Cache-Control"`
	SetCookie    []string `header:"Set-Cookie" doc:"The refresh token, which scripts can not read, and nb_csrf, which they can"`
	Body         loginAnswer
}

// login takes as long, and says the same, for an address that nobody has shown to be
// theirs as for a wrong password.
func (s *server) login(ctx context.Context, in *loginInput) (*loginOutput, error) {
	r := requestOf(ctx).http
	if err := s.checkOrigin(r); err != nil {
		return nil, err
	}
	if err := s.limitAccount(r, "login", in.Body.Email); err != nil {
		return nil, err
	}
	a, signIn, err := s.signIn(ctx, in.Body)
	if errors.Is(err, errOvertaken) {
		// Another sign-in may have had the password kept in a better form.
		a, signIn, err = s.signIn(ctx, in.Body)
	}
	if errors.Is(err, errOvertaken) {
		err = refuse("invalid_credentials", "")
	}
	if err != nil {
		return nil, err
	}
	return &loginOutput{
		CacheControl: noStore, SetCookie: s.cookies(r, signIn), Body: loginAnswer{viewAccount(a), viewSignIn(signIn)},
	}, nil
}

// errOvertaken is that a password was changed while it was checked.
var errOvertaken = errors.New("the password was changed meanwhile")

// signIn begins a session of whoever knows the password, or fails with errOvertaken.
func (s *server) signIn(ctx context.Context, in loginBody) (a *store.Account, signIn *auth.SignIn, err error) {
	if a, err = s.accountByEmail(ctx, in.Email); err != nil {
		return nil, nil, err
	}
	weak, err := s.checkPassword(ctx, a, in.Password)
	if err != nil {
		return nil, nil, err
	}
	requestOf(ctx).accountID = a.ID
	if a.SuspendedAt != nil {
		return nil, nil, store.ErrAccountSuspended
	}
	better := ""
	if weak {
		if better, err = s.opts.Passwords.Hash(ctx, in.Password); err != nil {
			return nil, nil, err
		}
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	err = s.db.Transact(ctx, func(tx *store.DB) error {
		if err := s.lockUnchanged(ctx, tx, a); err != nil {
			return err
		}
		if better != "" {
			if _, err := tx.SetPassword(ctx, a.ID, better); err != nil {
				return err
			}
		}
		signIn, err = s.opts.Sessions.Issue(ctx, tx, s.newSession(ctx, a.ID, store.MethodPassword))
		return err
	})
	return a, signIn, err
}

// lockUnchanged keeps an account, and what signs it in, as it is until the transaction
// ends. It fails with errOvertaken if the password is not any more what was checked:
// checking one takes long enough for another to be set, and for sessions to be ended.
func (s *server) lockUnchanged(ctx context.Context, tx *store.DB, checked *store.Account) error {
	a, err := tx.LockAccount(ctx, checked.ID)
	if errors.Is(err, store.ErrNotFound) {
		return errOvertaken
	}
	if err != nil {
		return err
	}
	return unchanged(a, checked)
}

// unchanged is lockUnchanged of an account that is locked.
func unchanged(a, checked *store.Account) error {
	switch {
	case a.SuspendedAt != nil:
		return store.ErrAccountSuspended
	case (a.Password == nil) != (checked.Password == nil), a.Password != nil && *a.Password != *checked.Password:
		return errOvertaken
	}
	return nil
}

// accountByEmail returns the account that has shown an address to be its own, or nil.
// Passwords open no other: anyone may have named the address.
func (s *server) accountByEmail(ctx context.Context, email string) (*store.Account, error) {
	if !isText(email) {
		email = ""
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	a, err := s.db.AccountByEmail(ctx, email)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return a, err
}

// checkPassword refuses a password that is not the account's. nil is nobody, whose
// check takes as long. weak says that it is to be kept in a better form.
func (s *server) checkPassword(ctx context.Context, a *store.Account, password string) (weak bool, err error) {
	kept := ""
	if a != nil && a.Password != nil {
		kept = *a.Password
	}
	ok, weak, err := s.opts.Passwords.Verify(ctx, password, kept)
	if err == nil && !ok {
		err = refuse("invalid_credentials", "")
	}
	return weak, err
}

// newSession is a session that the request begins.
func (s *server) newSession(ctx context.Context, accountID, method string) store.Session {
	r := requestOf(ctx).http
	return store.Session{
		AccountID: accountID, Method: method, IP: s.clientAddress(r).String(), UserAgent: userAgent(r),
	}
}

// refreshInput stands here for the document: the handler reads the request.
type refreshInput struct {
	CSRF string `header:"X-CSRF-Token" doc:"The value of the cookie nb_csrf"`
}

type refreshOutput struct {
	CacheControl string   `header:"Cache-Control"`
	SetCookie    []string `header:"Set-Cookie"`
	Body         signedIn
}

func (s *server) refresh(ctx context.Context, _ *refreshInput) (*refreshOutput, error) {
	r := requestOf(ctx).http
	token, err := s.refreshToken(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	var signIn *auth.SignIn
	var refused error
	err = s.db.Transact(ctx, func(tx *store.DB) error {
		var reuse *store.ReuseError
		if signIn, refused = s.opts.Sessions.Refresh(ctx, tx, token); !errors.As(refused, &reuse) {
			return refused
		}
		return s.record(ctx, tx, change{
			Action: "session.reuse", Kind: "account", ID: reuse.Session.AccountID, After: map[string]string{"session": reuse.Session.ID},
		})
	})
	switch {
	case errors.Is(refused, store.ErrTokenReused) && (err == nil || errors.Is(err, refused)):
		return nil, refuse("session_ended", "The session was ended because an old sign-in was used again: someone else may have a copy of its cookies. Sign in again with POST /v1/auth/login.")
	case err != nil:
		return nil, err
	}
	requestOf(ctx).accountID = signIn.Session.AccountID
	return &refreshOutput{CacheControl: noStore, SetCookie: s.cookies(r, signIn), Body: viewSignIn(signIn)}, nil
}

type logoutOutput struct {
	SetCookie []string `header:"Set-Cookie"`
}

func (s *server) logout(ctx context.Context, _ *refreshInput) (*logoutOutput, error) {
	r := requestOf(ctx).http
	token, err := s.refreshToken(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	if err := s.opts.Sessions.End(ctx, token, store.EndLogout); err != nil {
		return nil, err
	}
	return &logoutOutput{SetCookie: s.cookies(r, nil)}, nil
}
