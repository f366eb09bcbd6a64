package api

import (
	"context"
	"errors"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// adminOrg is an organization as operators see it.
type adminOrg struct {
	ID            string     `json:"id" example:"org_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Object        string     `json:"object" enum:"organization"`
	Name          string     `json:"name"`
	Plan          string     `json:"plan"`
	RateLimit     *int       `json:"rate_limit" doc:"Generations an hour in place of the plan's; 0: any number"`
	RetentionDays *int       `json:"retention_days" doc:"How long images are kept; null: for good"`
	Status        string     `json:"status" enum:"active,suspended,deleted"`
	CreatedAt     time.Time  `json:"created_at"`
	SuspendedAt   *time.Time `json:"suspended_at"`
	DeletedAt     *time.Time `json:"deleted_at"`

	Warning string           `json:"warning,omitempty" doc:"Of a change of plan: what a subscription goes on charging for beside it"`
	Members []adminOrgMember `json:"members,omitempty" nullable:"false" doc:"Who belongs to it, the first 100; not in lists"`
}

type adminOrgMember struct {
	AccountID string    `json:"account_id"`
	Email     string    `json:"email"`
	Name      string    `json:"name"`
	Role      string    `json:"role"`
	CreatedAt time.Time `json:"created_at"`
}

func viewAdminOrg(o *store.Org) adminOrg {
	shown := adminOrg{
		ID: o.ID, Object: "organization", Name: o.Name, Plan: o.Plan, RateLimit: o.RateLimit, RetentionDays: o.RetentionDays,
		Status: store.StateActive, CreatedAt: o.CreatedAt.UTC(), SuspendedAt: utc(o.SuspendedAt), DeletedAt: utc(o.DeletedAt),
	}
	switch {
	case o.DeletedAt != nil:
		shown.Status = store.StateDeleted
	case o.SuspendedAt != nil:
		shown.Status = store.StateSuspended
	}
	return shown
}

type adminListOrgsInput struct {
	Name   string `query:"name" maxLength:"100" doc:"The beginning of the name, in any case"`
	ID     string `query:"id" maxLength:"100"`
	Plan   string `query:"plan" maxLength:"100"`
	Status string `query:"status" enum:"active,suspended,deleted"`
	PageInput
}

func (s *server) adminListOrgs(ctx context.Context, in *adminListOrgsInput) (*pageOutput[adminOrg], error) {
	selected, err := in.page("an organization", store.ValidOrgID)
	if err != nil {
		return nil, err
	}
	var rows []*store.Org
	err = s.search(ctx, tooSlow, func(ctx context.Context) error {
		rows, err = s.db.OperatorOrgs(ctx, store.OrgFilter{Page: selected, Name: in.Name, ID: in.ID, Plan: in.Plan, State: in.Status})
		return err
	})
	if err != nil {
		return nil, err
	}
	return pageOf(&in.PageInput, rows, func(o *store.Org) string { return o.ID }, viewAdminOrg), nil
}

type adminOrgInput struct {
	OrgID string `path:"org_id" example:"org_06f0r3k8cg7q1v2m4n6p8s9tb0"`
}

type adminOrgOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         adminOrg
}

func (s *server) adminGetOrg(ctx context.Context, in *adminOrgInput) (*adminOrgOutput, error) {
	if !store.ValidOrgID(in.OrgID) {
		return nil, noAdminOrg(in.OrgID, store.ErrNotFound)
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	org, err := s.db.OperatorOrg(ctx, in.OrgID)
	if err != nil {
		return nil, noAdminOrg(in.OrgID, err)
	}
	memberships, err := s.db.OperatorMemberships(ctx, org.ID, "", adminMembers)
	if err != nil {
		return nil, err
	}
	shown := viewAdminOrg(org)
	for _, m := range memberships {
		shown.Members = append(shown.Members, adminOrgMember{
			AccountID: m.AccountID, Email: m.Email, Name: m.AccountName, Role: m.Role, CreatedAt: m.CreatedAt.UTC(),
		})
	}
	return &adminOrgOutput{CacheControl: notKept, Body: shown}, nil
}

func noAdminOrg(id string, err error) error { return notThere(err, "There is no organization %q.", id) }

type adminUpdateOrgBody struct {
	Plan          *string        `json:"plan,omitempty" doc:"Its retention comes with it, unless retention_days is given too" example:"pro"`
	RateLimit     clearable[int] `json:"rate_limit,omitempty" minimum:"0" maximum:"1000000000" doc:"Generations an hour in place of the plan's; 0: any number; null: the plan's"`
	RetentionDays clearable[int] `json:"retention_days,omitempty" minimum:"1" maximum:"36500" doc:"How long images made from now on are kept; null: for good"`
	Reason        string         `json:"reason,omitempty" maxLength:"500" doc:"For the audit log; the organization reads it in its own"`
}

type adminUpdateOrgInput struct {
	OrgID string `path:"org_id" example:"org_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Body  adminUpdateOrgBody
}

// checkPlan refuses a plan that there is not.
func (s *server) checkPlan(ctx context.Context, name string) error {
	plans, err := s.db.Plans(ctx)
	if err != nil {
		return err
	}
	f := jobs.Fault{Param: "plan", Code: "unsupported_value", Message: "plan must be one of those there are"}
	for _, p := range plans {
		if p.Name == name {
			return nil
		}
		f.Allowed = append(f.Allowed, p.Name)
	}
	return &jobs.InvalidError{Faults: []jobs.Fault{f}}
}

func (s *server) adminUpdateOrg(ctx context.Context, in *adminUpdateOrgInput) (*adminOrgOutput, error) {
	asked := &in.Body
	if asked.Plan == nil && !asked.RateLimit.sent && !asked.RetentionDays.sent {
		return s.adminGetOrg(ctx, &adminOrgInput{OrgID: in.OrgID})
	}
	if asked.Plan != nil {
		if err := s.checkPlan(ctx, *asked.Plan); err != nil {
			return nil, err
		}
	}
	reason := ""
	if asked.Reason != "" {
		var err error
		if reason, err = checkReason(asked.Reason); err != nil {
			return nil, err
		}
	}
	var was, is *store.CreditAccount
	actor := auth.FromContext(ctx).ActorID()
	out, err := s.changeAdminOrg(ctx, in.OrgID, "org.override", reason, func(ctx context.Context, tx *store.DB, org store.Org) (*store.Org, error) {
		if asked.Plan != nil {
			var err error
			if was, is, err = tx.PutOnPlan(ctx, store.PlanChange{OrgID: org.ID, Plan: *asked.Plan, Reason: reason, Actor: actor}, s.opts.Now()); err != nil {
				return nil, err
			}
			changed, err := tx.OperatorOrg(ctx, org.ID)
			if err != nil {
				return nil, err
			}
			org.Plan, org.RetentionDays = changed.Plan, changed.RetentionDays
		}
		asked.RateLimit.apply(&org.RateLimit)
		asked.RetentionDays.apply(&org.RetentionDays)
		return tx.OverrideOrg(ctx, org)
	}, func(before, after map[string]any) {
		if was != is {
			before["metered"], after["metered"] = was.Metered, is.Metered
		}
	})
	if err != nil || asked.Plan == nil {
		return out, err
	}
	out.Body.Warning, err = s.chargedBeside(ctx, in.OrgID, *asked.Plan)
	return out, err
}

// chargedBeside warns of a subscription that goes on for another plan than one that an
// operator has chosen; "" if there is none.
func (s *server) chargedBeside(ctx context.Context, orgID, plan string) (string, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	sub, err := s.db.Subscription(ctx, orgID)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return sub.ChargedBeside(plan), nil
}

type adminSuspendOrgInput struct {
	OrgID string `path:"org_id" example:"org_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Body  reasonBody
}

func (s *server) adminSuspendOrg(ctx context.Context, in *adminSuspendOrgInput) (*adminOrgOutput, error) {
	if caller := auth.FromContext(ctx); caller.IsKey() && caller.OrgID == in.OrgID {
		return nil, refuse("permission_denied", "This key would be refused with all keys of its organization; use another's, or sign in.")
	}
	return s.setOrgSuspended(ctx, in, true)
}

func (s *server) adminUnsuspendOrg(ctx context.Context, in *adminSuspendOrgInput) (*adminOrgOutput, error) {
	return s.setOrgSuspended(ctx, in, false)
}

func (s *server) setOrgSuspended(ctx context.Context, in *adminSuspendOrgInput, suspended bool) (*adminOrgOutput, error) {
	reason, err := checkReason(in.Body.Reason)
	if err != nil {
		return nil, err
	}
	return s.changeAdminOrg(ctx, in.OrgID, suspension("org", suspended), reason, func(ctx context.Context, tx *store.DB, org store.Org) (*store.Org, error) {
		return tx.SuspendOrg(ctx, org.ID, suspended)
	}, nil)
}

// changeAdminOrg changes an organization and writes that to the log, which the
// organization reads too, with what more, if not nil, adds.
func (s *server) changeAdminOrg(
	ctx context.Context, id, action, reason string, apply func(context.Context, *store.DB, store.Org) (*store.Org, error), more func(before, after map[string]any),
) (*adminOrgOutput, error) {
	if !store.ValidOrgID(id) {
		return nil, noAdminOrg(id, store.ErrNotFound)
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	var shown adminOrg
	err := s.db.Transact(ctx, func(tx *store.DB) error {
		before, err := tx.OperatorOrg(ctx, id)
		if err != nil {
			return err
		}
		after, err := apply(ctx, tx, *before)
		if err != nil {
			return err
		}
		shown = viewAdminOrg(after)
		was, is := auditedOrg(before, ""), auditedOrg(after, reason)
		if more != nil {
			more(was, is)
		}
		return s.record(ctx, tx, change{Action: action, Kind: "organization", ID: id, OrgID: id, Operator: true, Before: was, After: is})
	})
	if err != nil {
		return nil, noAdminOrg(id, err)
	}
	return &adminOrgOutput{CacheControl: notKept, Body: shown}, nil
}

// auditedOrg is what the log keeps of an organization that an operator changes.
func auditedOrg(o *store.Org, reason string) map[string]any {
	shown := map[string]any{
		"plan": o.Plan, "rate_limit": o.RateLimit, "retention_days": o.RetentionDays, "suspended_at": utc(o.SuspendedAt),
	}
	if reason != "" {
		shown["reason"] = reason
	}
	return shown
}
