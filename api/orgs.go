package api

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// organization is one as its callers see it.
type organization struct {
	ID            string    `json:"id" example:"org_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Object        string    `json:"object" enum:"organization"`
	Name          string    `json:"name"`
	Plan          string    `json:"plan"`
	Role          *string   `json:"role" enum:"owner,admin,member,billing,read_only" doc:"The caller's; null for a key"`
	Suspended     bool      `json:"suspended"`
	RetentionDays *int      `json:"retention_days" doc:"How long images are kept; null: for good"`
	RateLimit     *int      `json:"rate_limit" doc:"Generations an hour in place of the plan's; 0: any number"`
	CreatedAt     time.Time `json:"created_at"`
}

// viewOrg shows an organization to someone with a role in it; empty for a key.
func viewOrg(o *store.Org, role string) organization {
	shown := organization{
		ID: o.ID, Object: "organization", Name: o.Name, Plan: o.Plan, Suspended: o.SuspendedAt != nil,
		RetentionDays: o.RetentionDays, RateLimit: o.RateLimit, CreatedAt: o.CreatedAt.UTC(),
	}
	if role != "" {
		shown.Role = &role
	}
	return shown
}

type orgInput struct {
	OrgID string `path:"org_id" example:"org_06f0r3k8cg7q1v2m4n6p8s9tb0"`
}

type orgOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         organization
}

type orgBody struct {
	Name string `json:"name" required:"true" maxLength:"100" example:"Banana Agency"`
}

type createOrgInput struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"1 to 255 visible ASCII characters. A second request with the same key gets the first one's organization, for a day."`
	Body           orgBody
}

func (s *server) createOrg(ctx context.Context, in *createOrgInput) (*created[organization], error) {
	name, err := checkName(in.Body.Name)
	if err != nil {
		return nil, err
	}
	caller, id := auth.FromContext(ctx), store.NewOrgID()
	key, err := s.creationKey(ctx, caller.AccountID, "orgs", id, name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	plan, err := s.signupPlan(ctx, s.db)
	if err != nil {
		return nil, err
	}
	var org *store.Org
	var before string
	err = s.db.Transact(ctx, func(tx *store.DB) error {
		if before, err = claimCreation(ctx, tx, key); err != nil || before != "" {
			return err
		}
		org, err = tx.CreateOwnedOrg(ctx, store.Org{ID: id, Name: name, Plan: plan.Name, RetentionDays: plan.RetentionDays}, caller.AccountID)
		if err != nil {
			return err
		}
		return s.record(ctx, tx, change{Action: "org.create", Kind: "organization", ID: id, OrgID: id, After: viewOrg(org, "")})
	})
	role := auth.RoleOwner
	if err == nil && before != "" {
		org, role, err = s.orgAgain(ctx, before, caller.AccountID)
	}
	switch {
	case errors.Is(err, store.ErrTooManyOrgs):
		return nil, refuse("limit_reached", "You own %d organizations, which is the most; delete one that is not needed.", store.MaxOwnedOrgs)
	case err != nil:
		return nil, err
	}
	return &created[organization]{Location: "/v1/orgs/" + org.ID, Replayed: replayed(before), CacheControl: notKept, Body: viewOrg(org, role)}, nil
}

// orgAgain returns an organization that an account has made, and its role there now.
func (s *server) orgAgain(ctx context.Context, id, accountID string) (*store.Org, string, error) {
	org, err := s.db.Org(ctx, id)
	if err != nil {
		return nil, "", err
	}
	m, err := s.db.Membership(ctx, id, accountID)
	if err != nil {
		return nil, "", err
	}
	return org, m.Role, nil
}

func (s *server) listOrgs(ctx context.Context, in *PageInput) (*pageOutput[organization], error) {
	selected, err := in.page("an organization", store.ValidOrgID)
	if err != nil {
		return nil, err
	}
	accountID := auth.FromContext(ctx).AccountID
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	rows, err := s.db.OrgsOfAccount(ctx, accountID, selected)
	if err != nil {
		return nil, err
	}
	return pageOf(in, rows, func(o *store.OrgOfAccount) string { return o.ID },
		func(o *store.OrgOfAccount) organization { return viewOrg(o.Org(), o.Role) }), nil
}

func (s *server) getOrg(ctx context.Context, _ *orgInput) (*orgOutput, error) {
	caller := auth.FromContext(ctx)
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	org, err := s.db.Org(ctx, caller.OrgID)
	if err != nil {
		return nil, err
	}
	return &orgOutput{CacheControl: notKept, Body: viewOrg(org, caller.Role)}, nil
}

type updateOrgInput struct {
	OrgID string `path:"org_id" example:"org_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Body  orgBody
}

func (s *server) updateOrg(ctx context.Context, in *updateOrgInput) (*orgOutput, error) {
	name, err := checkName(in.Body.Name)
	if err != nil {
		return nil, err
	}
	var shown organization
	err = s.changeOrg(ctx, auth.ScopeOrgWrite, func(ctx context.Context, by *orgChange) error {
		shown = viewOrg(by.org, by.caller.Role)
		if by.org.Name == name {
			return nil
		}
		after, err := by.tx.UpdateOrg(ctx, by.org.ID, name)
		if err != nil {
			return err
		}
		shown = viewOrg(after, by.caller.Role)
		return s.record(ctx, by.tx, change{
			Action: "org.update", Kind: "organization", ID: by.org.ID, Before: viewOrg(by.org, ""), After: viewOrg(after, ""),
		})
	})
	if err != nil {
		return nil, err
	}
	return &orgOutput{CacheControl: notKept, Body: shown}, nil
}

// maxNameLength is how many characters a name may have.
const maxNameLength = 100

// checkName returns a name of something without the space around it, or refuses one
// that can not be shown in one line.
func checkName(name string) (string, error) {
	name = strings.TrimSpace(name)
	f := jobs.Fault{Param: "name", Code: "invalid", Message: "name must be text in one line"}
	switch {
	case name == "":
		f.Code, f.Message = "required", "name must not be empty"
	case utf8.RuneCountInString(name) > maxNameLength:
		f.Code, f.Message = "too_long", "name may have at most 100 characters"
	case isText(name) && strings.IndexFunc(name, unprintable) < 0:
		return name, nil
	}
	return "", &jobs.InvalidError{Faults: []jobs.Fault{f}}
}

// unprintable reports whether a character breaks lines or hides what is written.
func unprintable(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }
