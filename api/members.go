package api

import (
	"context"
	"errors"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// membership is what someone is in an organization.
type membership struct {
	Object         string    `json:"object" enum:"membership"`
	OrganizationID string    `json:"organization_id"`
	AccountID      string    `json:"account_id" example:"usr_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Email          string    `json:"email"`
	Name           string    `json:"name"`
	Role           string    `json:"role" enum:"owner,admin,member,billing,read_only"`
	CreatedAt      time.Time `json:"created_at"`
}

func viewMembership(m *store.Membership) membership {
	return membership{
		Object: "membership", OrganizationID: m.OrgID, AccountID: m.AccountID, Email: m.Email, Name: m.Name, Role: m.Role,
		CreatedAt: m.CreatedAt.UTC(),
	}
}

// auditMembership is what the audit log says of a membership: the account stands for
// its name and address, which would have to be erased.
func auditMembership(m *store.Membership) map[string]any {
	return map[string]any{"account_id": m.AccountID, "role": m.Role}
}

type listMembersInput struct {
	OrgID string `path:"org_id" example:"org_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	PageInput
}

func (s *server) listMembers(ctx context.Context, in *listMembersInput) (*pageOutput[membership], error) {
	selected, err := in.page("an account", store.ValidAccountID)
	if err != nil {
		return nil, err
	}
	orgID := auth.FromContext(ctx).OrgID
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	rows, err := s.db.Memberships(ctx, orgID, selected)
	if err != nil {
		return nil, err
	}
	return pageOf(&in.PageInput, rows, func(m *store.Membership) string { return m.AccountID }, viewMembership), nil
}

type memberInput struct {
	OrgID     string `path:"org_id" example:"org_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	AccountID string `path:"account_id" example:"usr_06f0r3k8cg7q1v2m4n6p8s9tb0"`
}

type updateMemberInput struct {
	OrgID     string `path:"org_id" example:"org_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	AccountID string `path:"account_id" example:"usr_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Body      struct {
		Role string `json:"role" required:"true" enum:"owner,admin,member,billing,read_only"`
	}
}

type memberOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         membership
}

func (s *server) updateMember(ctx context.Context, in *updateMemberInput) (*memberOutput, error) {
	var shown membership
	err := s.changeMember(ctx, in.AccountID, auth.ScopeMembersWrite, func(ctx context.Context, by *orgChange, before *store.Membership) error {
		shown = viewMembership(before)
		role := in.Body.Role
		if err := by.needOwner(before.Role, role); err != nil || before.Role == role {
			return err
		}
		if err := by.tx.UpdateMembership(ctx, before, role); err != nil {
			return err
		}
		shown.Role = role
		after := auditMembership(before)
		after["role"] = role
		return s.record(ctx, by.tx, change{
			Action: "membership.update", Kind: "membership", ID: before.AccountID, Before: auditMembership(before), After: after,
		})
	})
	if err != nil {
		return nil, err
	}
	return &memberOutput{CacheControl: notKept, Body: shown}, nil
}

// deleteMember takes someone out of the organization. Anyone may leave.
func (s *server) deleteMember(ctx context.Context, in *memberInput) (*struct{}, error) {
	scope := auth.ScopeMembersWrite
	if caller := auth.FromContext(ctx); caller.Kind == auth.KindAccount && caller.AccountID == in.AccountID {
		scope = ""
	}
	return nil, s.changeMember(ctx, in.AccountID, scope, func(ctx context.Context, by *orgChange, before *store.Membership) error {
		if err := by.needOwner(before.Role); err != nil {
			return err
		}
		if err := by.tx.DeleteMembership(ctx, before); err != nil {
			return err
		}
		return s.record(ctx, by.tx, change{
			Action: "membership.delete", Kind: "membership", ID: before.AccountID, Before: auditMembership(before),
		})
	})
}

// changeMember runs a change of one of the members of the caller's organization.
func (s *server) changeMember(ctx context.Context, accountID, scope string, do func(context.Context, *orgChange, *store.Membership) error) error {
	err := s.changeOrg(ctx, scope, func(ctx context.Context, by *orgChange) error {
		if !store.ValidAccountID(accountID) {
			return store.ErrNotFound
		}
		before, err := by.tx.Membership(ctx, by.org.ID, accountID)
		if err != nil {
			return err
		}
		return do(ctx, by, before)
	})
	switch {
	case errors.Is(err, store.ErrLastOwner):
		return refuse("last_owner", "")
	case errors.Is(err, store.ErrNotFound):
		return refuse("not_found", "The organization has no member %q.", shorten(accountID, maxName))
	}
	return err
}
