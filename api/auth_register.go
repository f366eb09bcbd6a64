package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// How long mailed links are good.
const (
	verifyTTL = 3 * 24 * time.Hour
	resetTTL  = time.Hour
)

type registerBody struct {
	Email        string `json:"email" required:"true" maxLength:"254" example:"ada@example.com"`
	Password     string `json:"password" required:"true" doc:"8 to 1024 bytes, and none of the commonest"`
	Name         string `json:"name,omitempty" maxLength:"100"`
	Organization string `json:"organization,omitempty" maxLength:"100" doc:"Its name; default: First organization"`
}

type registerInput struct{ Body registerBody }

// registration is everything that registering makes.
type registration struct {
	Account      account      `json:"account"`
	Organization organization `json:"organization"`
	Project      project      `json:"project"`
	Key          apiKey       `json:"key"`
	signedIn
}

type registerOutput struct {
	CacheControl string   `header:"Cache-Control"`
	SetCookie    []string `header:"Set-Cookie" doc:"The refresh token, which scripts can not read, and nb_csrf, which they can"`
	Body         registration
}

// registered is what a registration made.
type registered struct {
	account *store.Account
	org     *store.Org
	project *store.Project
	key     *store.APIKey
	secret  string
	signIn  *auth.SignIn
}

// registerAccount makes a new account for whoever asks, and so never tells whether the
// address has one: the mail to it does.
func (s *server) registerAccount(ctx context.Context, in *registerInput) (*registerOutput, error) {
	r := requestOf(ctx).http
	if err := s.checkOrigin(r); err != nil {
		return nil, err
	}
	var faults faultList
	email, name := faults.email("email", in.Body.Email), faults.name("name", in.Body.Name)
	faults.newPassword("password", in.Body.Password)
	orgName := faults.name("organization", in.Body.Organization)
	if err := faults.err(); err != nil {
		return nil, err
	}
	mailed, err := s.mayMail(ctx, email)
	if err != nil {
		return nil, err
	}
	hash, err := s.opts.Passwords.Hash(ctx, in.Body.Password)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	var made *registered
	err = s.db.Transact(ctx, func(tx *store.DB) error {
		made, err = s.makeAccount(ctx, tx, store.Account{Email: email, Name: name, Password: &hash}, orgName, mailed)
		return err
	})
	if err != nil {
		return nil, err
	}
	requestOf(ctx).accountID = made.account.ID
	return &registerOutput{CacheControl: noStore, SetCookie: s.cookies(r, made.signIn), Body: made.view()}, nil
}

// makeAccount records an account with all that belongs to it, in a transaction. mailed
// is that of mailVerification.
func (s *server) makeAccount(ctx context.Context, tx *store.DB, a store.Account, orgName string, mailed bool) (*registered, error) {
	var m registered
	var err error
	if m.account, err = tx.CreateAccount(ctx, a); err != nil {
		return nil, err
	}
	if m.org, m.project, err = s.makeHome(ctx, tx, m.account.ID, orgName); err != nil {
		return nil, err
	}
	expires := s.opts.Now().Add(auth.ProjectKeyLife)
	m.secret, m.key, err = s.opts.Keys.Create(ctx, tx, auth.NewKey{
		OrgID: m.org.ID, ProjectID: m.project.ID, Name: "First key", Kind: store.KeyLive, ExpiresAt: &expires, CreatedBy: m.account.ID,
	})
	if err != nil {
		return nil, err
	}
	if err := s.mailVerification(ctx, tx, m.account, mailed); err != nil {
		return nil, err
	}
	if m.signIn, err = s.opts.Sessions.Issue(ctx, tx, s.newSession(ctx, m.account.ID, store.MethodPassword)); err != nil {
		return nil, err
	}
	return &m, s.record(actingAs(ctx, m.account.ID), tx, change{
		Action: "account.register", Kind: "account", ID: m.account.ID, OrgID: m.org.ID, ProjectID: m.project.ID, After: auditAccount(m.account),
	})
}

// signupPlan is the plan of organizations that people make, as the database or one of its
// transactions says.
func (s *server) signupPlan(ctx context.Context, db *store.DB) (*store.Plan, error) {
	plans, err := db.Plans(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range plans {
		if p.Name == s.opts.SignupPlan {
			return p, nil
		}
	}
	if len(plans) == 0 {
		return nil, fmt.Errorf("plan of a new organization: %w", store.ErrNotFound)
	}
	return plans[0], nil
}

// firstOrg is the name of an organization that nobody has named. It is not made from
// the person's: names of organizations stay in the audit log.
const firstOrg = "First organization"

// makeHome makes an organization that an account owns, with a project. Without a name
// it gets firstOrg.
func (s *server) makeHome(ctx context.Context, tx *store.DB, accountID, name string) (*store.Org, *store.Project, error) {
	if name == "" {
		name = firstOrg
	}
	// Of the transaction's own connection: another might never be had.
	plan, err := s.signupPlan(ctx, tx)
	if err != nil {
		return nil, nil, err
	}
	org, err := tx.CreateOwnedOrg(ctx, store.Org{
		ID: store.NewOrgID(), Name: name, Plan: plan.Name, RetentionDays: plan.RetentionDays,
	}, accountID)
	if err != nil {
		return nil, nil, err
	}
	project, err := tx.CreateProject(ctx, org.ID, "First project")
	return org, project, err
}

// actingAs is the context of someone whom the request has shown to be an account.
func actingAs(ctx context.Context, accountID string) context.Context {
	return auth.NewContext(ctx, &auth.Caller{Kind: auth.KindAccount, AccountID: accountID})
}

// mailVerification sends the link that shows whose an address is, or tells the account
// that has shown it before that someone has tried. Unless it is to be mailed it does the
// same work for a mail to nobody. The mail repeats nothing that a stranger chose.
func (s *server) mailVerification(ctx context.Context, tx *store.DB, a *store.Account, mailed bool) error {
	if _, ok := parseEmail(a.Email); !ok {
		return nil // a provider's word for what nobody can show to be theirs
	}
	token, hash := newLinkToken()
	if err := tx.CreateAccountToken(ctx, a.ID, store.TokenVerify, hash, verifyTTL); err != nil {
		return err
	}
	m := jobs.NewMail{
		Kind: jobs.MailVerify, To: a.Email, AccountID: a.ID, Token: token, Seal: s.sealLink, Data: map[string]string{
			"at": a.CreatedAt.UTC().Format(time.RFC3339), "ip": s.clientAddress(requestOf(ctx).http).String(),
		},
		ExpiresAt: s.opts.Now().Add(verifyTTL),
	}
	known, err := tx.AccountByEmail(ctx, a.Email)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return err
	default:
		m = jobs.NewMail{
			Kind: jobs.MailRegistered, To: known.Email, AccountID: known.ID, Data: map[string]string{"name": known.Name},
		}
	}
	if !mailed {
		m.To = ""
	}
	return s.queue.Send(ctx, tx, m)
}

// sealLink keeps what a mail's link proves until it is sent.
func (s *server) sealLink(token, mailID string) []byte { return s.opts.Keyring.Seal(token, mailID) }

// newLinkToken returns what a mailed link carries and what is kept of it.
func newLinkToken() (token string, hash []byte) {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails: it ends the program instead
	token = base64.RawURLEncoding.EncodeToString(raw[:])
	return token, linkHash(token)
}

func linkHash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

func (m *registered) view() registration {
	key := viewKey(m.key)
	key.Key = m.secret
	return registration{
		Account: viewAccount(m.account), Organization: viewOrg(m.org, auth.RoleOwner), Project: viewProject(m.project), Key: key,
		signedIn: viewSignIn(m.signIn),
	}
}
