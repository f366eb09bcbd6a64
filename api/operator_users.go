package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// adminUser is an account as operators see it.
type adminUser struct {
	ID            string     `json:"id" example:"usr_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Object        string     `json:"object" enum:"account"`
	Email         string     `json:"email"`
	EmailVerified bool       `json:"email_verified"`
	Name          string     `json:"name"`
	Operator      bool       `json:"operator" doc:"Runs the service"`
	Status        string     `json:"status" enum:"active,unverified,suspended,erased"`
	CreatedAt     time.Time  `json:"created_at"`
	VerifiedAt    *time.Time `json:"verified_at"`
	SuspendedAt   *time.Time `json:"suspended_at"`
	ErasedAt      *time.Time `json:"erased_at"`

	Orgs []adminUserOrg `json:"organizations,omitempty" nullable:"false" doc:"Those it belongs to, the first 100; not in lists"`
}

type adminUserOrg struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Role    string `json:"role"`
	Deleted bool   `json:"deleted"`
}

func viewAdminUser(a *store.OperatorAccount) adminUser {
	shown := adminUser{
		ID: a.ID, Object: "account", Email: a.Email, EmailVerified: a.VerifiedAt != nil, Name: a.Name, Operator: a.Operator,
		Status: store.StateActive, CreatedAt: a.CreatedAt.UTC(),
		VerifiedAt: utc(a.VerifiedAt), SuspendedAt: utc(a.SuspendedAt), ErasedAt: utc(a.ErasedAt),
	}
	switch {
	case a.ErasedAt != nil:
		shown.Status = store.StateErased
	case a.SuspendedAt != nil:
		shown.Status = store.StateSuspended
	case a.VerifiedAt == nil:
		shown.Status = store.StateUnverified
	}
	return shown
}

type adminListUsersInput struct {
	Email    string `query:"email" maxLength:"254" doc:"The beginning of the address, in any case"`
	ID       string `query:"id" maxLength:"100"`
	Status   string `query:"status" enum:"active,unverified,suspended,erased"`
	Operator string `query:"operator" enum:"true,false"`
	PageInput
}

func (s *server) adminListUsers(ctx context.Context, in *adminListUsersInput) (*pageOutput[adminUser], error) {
	selected, err := in.page("an account", store.ValidAccountID)
	if err != nil {
		return nil, err
	}
	filter := store.AccountFilter{Page: selected, Email: in.Email, ID: in.ID, State: in.Status}
	if in.Operator != "" {
		operator := in.Operator == "true"
		filter.Operator = &operator
	}
	var rows []*store.OperatorAccount
	err = s.search(ctx, tooSlow, func(ctx context.Context) error {
		rows, err = s.db.OperatorAccounts(ctx, filter)
		return err
	})
	if err != nil {
		return nil, err
	}
	return pageOf(&in.PageInput, rows, func(a *store.OperatorAccount) string { return a.ID }, viewAdminUser), nil
}

const tooSlow = "The list takes too long to find; give more of the beginning that is searched for, or leave out what else narrows it."

type adminUserInput struct {
	ID string `path:"id" example:"usr_06f0r3k8cg7q1v2m4n6p8s9tb0"`
}

type adminUserOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         adminUser
}

func (s *server) adminGetUser(ctx context.Context, in *adminUserInput) (*adminUserOutput, error) {
	if !store.ValidAccountID(in.ID) {
		return nil, noAdminUser(in.ID, store.ErrNotFound)
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	account, err := s.db.OperatorAccount(ctx, in.ID)
	if err != nil {
		return nil, noAdminUser(in.ID, err)
	}
	memberships, err := s.db.OperatorMemberships(ctx, "", account.ID, adminMembers)
	if err != nil {
		return nil, err
	}
	shown := viewAdminUser(account)
	for _, m := range memberships {
		shown.Orgs = append(shown.Orgs, adminUserOrg{ID: m.OrgID, Name: m.OrgName, Role: m.Role, Deleted: m.OrgDeleted})
	}
	return &adminUserOutput{CacheControl: notKept, Body: shown}, nil
}

// adminMembers is how many memberships are shown with an account or organization.
const adminMembers = 100

// noAdminUser says of an account that it is not there, if that is what err says.
func noAdminUser(id string, err error) error { return notThere(err, "There is no account %q.", id) }

// reasonBody says why an operator does something.
type reasonBody struct {
	Reason string `json:"reason" required:"true" minLength:"1" maxLength:"500" doc:"For the audit log; an organization reads it in its own" example:"Reported for abuse"`
}

type adminSuspendUserInput struct {
	ID   string `path:"id" example:"usr_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Body reasonBody
}

func (s *server) adminSuspendUser(ctx context.Context, in *adminSuspendUserInput) (*adminUserOutput, error) {
	if auth.FromContext(ctx).AccountID == in.ID {
		return nil, refuse("permission_denied", "Nobody suspends themself; another operator can.")
	}
	return s.setUserSuspended(ctx, in.ID, in.Body.Reason, true)
}

func (s *server) adminUnsuspendUser(ctx context.Context, in *adminSuspendUserInput) (*adminUserOutput, error) {
	return s.setUserSuspended(ctx, in.ID, in.Body.Reason, false)
}

func (s *server) setUserSuspended(ctx context.Context, id, reason string, suspended bool) (*adminUserOutput, error) {
	reason, err := checkReason(reason)
	if err != nil {
		return nil, err
	}
	if !store.ValidAccountID(id) {
		return nil, noAdminUser(id, store.ErrNotFound)
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	var shown adminUser
	err = s.db.Transact(ctx, func(tx *store.DB) error {
		before, err := tx.OperatorAccount(ctx, id)
		if err != nil {
			return err
		}
		after, err := tx.SuspendAccount(ctx, id, suspended)
		if err != nil {
			return err
		}
		shown = viewAdminUser(after)
		return s.record(ctx, tx, change{
			Action: suspension("account", suspended), Kind: "account", ID: id, Operator: true,
			Before: auditedUser(before, ""), After: auditedUser(after, reason),
		})
	})
	if err != nil {
		return nil, noAdminUser(id, err)
	}
	return &adminUserOutput{CacheControl: notKept, Body: shown}, nil
}

// auditedUser is what the log keeps of an account: nothing that would have to be
// erased with it.
func auditedUser(a *store.OperatorAccount, reason string) map[string]any {
	shown := map[string]any{"status": viewAdminUser(a).Status, "suspended_at": utc(a.SuspendedAt)}
	if reason != "" {
		shown["reason"] = reason
	}
	return shown
}

func suspension(of string, suspended bool) string {
	if suspended {
		return of + ".suspend"
	}
	return of + ".unsuspend"
}

// checkReason returns a reason without the space around it, or refuses one that says
// nothing or that no row can hold.
func checkReason(reason string) (string, error) {
	reason = strings.TrimSpace(reason)
	f := fault{Param: "reason", Code: "required", Message: "reason is required"}
	switch {
	case !isText(reason):
		f.Code, f.Message = "invalid", "reason must be UTF-8 without the character U+0000"
	case reason != "":
		return reason, nil
	}
	return "", &refusal{code: "validation_failed", detail: f.Message, faults: []fault{f}}
}

// notThere refuses with a detail where err is that there is no such row.
func notThere(err error, format, id string) error {
	if errors.Is(err, store.ErrNotFound) {
		return refuse("not_found", "%s", fmt.Sprintf(format, shorten(id, maxName)))
	}
	return err
}
