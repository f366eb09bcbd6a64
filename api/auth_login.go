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

// login takes as long, and says the same, for an address that has no account as for a
// wrong password.
func (s *server) login(ctx context.Context, in *loginInput) (*loginOutput, error) {
	r := requestOf(ctx).http
	if err := s.checkOrigin(r); err != nil {
		return nil, err
	}
	if err := s.limitAccount(ctx, "login", in.Body.Email); err != nil {
		return nil, err
	}
	a, err := s.accountByEmail(ctx, in.Body.Email)
	if err != nil {
		return nil, err
	}
	weak, err := s.checkPassword(ctx, a, in.Body.Password)
	if err != nil {
		return nil, err
	}
	requestOf(ctx).accountID = a.ID
	if a.SuspendedAt != nil {
		return nil, store.ErrAccountSuspended
	}
	if weak {
		if err := s.rehash(ctx, a, in.Body.Password); err != nil {
			return nil, err
		}
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	signIn, err := s.opts.Sessions.Issue(ctx, s.db, s.newSession(ctx, a.ID, store.MethodPassword))
	if err != nil {
		return nil, err
	}
	return &loginOutput{
		CacheControl: noStore, SetCookie: s.cookies(r, signIn), Body: loginAnswer{viewAccount(a), viewSignIn(signIn)},
	}, nil
}

// accountByEmail returns the account that an address means, or nil.
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

// rehash keeps a password that was just checked in the form of today.
func (s *server) rehash(ctx context.Context, a *store.Account, password string) error {
	better, err := s.opts.Passwords.Hash(ctx, password)
	if err != nil {
		return err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.db.RehashPassword(ctx, a.ID, *a.Password, better)
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
	signIn, err := s.opts.Sessions.Refresh(ctx, token)
	if err != nil {
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
