package api

import (
	"context"
	"errors"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// invitation is one as the organization sees it.
type invitation struct {
	ID             string    `json:"id" example:"inv_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Object         string    `json:"object" enum:"invitation"`
	OrganizationID string    `json:"organization_id"`
	Email          string    `json:"email"`
	Role           string    `json:"role" enum:"owner,admin,member,billing,read_only"`
	InvitedBy      string    `json:"invited_by" doc:"An account or a key"`
	CreatedAt      time.Time `json:"created_at"`
	ExpiresAt      time.Time `json:"expires_at"`
}

func viewInvitation(inv *store.Invitation) invitation {
	return invitation{
		ID: inv.ID, Object: "invitation", OrganizationID: inv.OrgID, Email: inv.Email, Role: inv.Role, InvitedBy: inv.InvitedBy,
		CreatedAt: inv.CreatedAt.UTC(), ExpiresAt: inv.ExpiresAt.UTC(),
	}
}

// auditInvitation is what the audit log says of an invitation: its id stands for the
// address, which would have to be erased.
func auditInvitation(inv *store.Invitation) map[string]any {
	return map[string]any{"id": inv.ID, "role": inv.Role, "invited_by": inv.InvitedBy, "expires_at": inv.ExpiresAt.UTC()}
}

type createInvitationInput struct {
	OrgID          string `path:"org_id" example:"org_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	IdempotencyKey string `header:"Idempotency-Key" doc:"1 to 255 visible ASCII characters. A second request with the same key gets the first one's invitation, for a day."`
	Body           struct {
		Email string `json:"email" required:"true" maxLength:"254" example:"ada@example.com"`
		Role  string `json:"role" required:"true" enum:"owner,admin,member,billing,read_only" doc:"What they will be"`
	}
}

func (s *server) createInvitation(ctx context.Context, in *createInvitationInput) (*created[invitation], error) {
	var faults faultList
	email := faults.email("email", in.Body.Email)
	if err := faults.err(); err != nil {
		return nil, err
	}
	caller := auth.FromContext(ctx)
	token, hash := newLinkToken()
	inv := &store.Invitation{
		ID: store.NewInvitationID(), OrgID: caller.OrgID, Email: email, EmailKey: store.EmailKey(email), Role: in.Body.Role,
		Hash: hash, InvitedBy: caller.ActorID(), CreatedAt: s.now(),
	}
	key, err := s.creationKey(ctx, caller.OrgID, "invitations", inv.ID, email, inv.Role)
	if err != nil {
		return nil, err
	}
	var before string
	err = s.changeOrg(ctx, auth.ScopeMembersWrite, func(ctx context.Context, by *orgChange) error {
		if before, err = claimCreation(ctx, by.tx, key); err != nil {
			return err
		}
		if before != "" {
			inv, err = by.tx.OpenInvitation(ctx, by.org.ID, before, s.now())
			return err
		}
		if err := by.mayInvite(inv.Role); err != nil {
			return err
		}
		if inv, err = by.tx.CreateInvitation(ctx, *inv); err != nil {
			return err
		}
		return s.sendInvitation(ctx, by, inv, token, "invitation.create")
	})
	if err != nil {
		return nil, invitationError(err)
	}
	return &created[invitation]{
		Location: "/v1/orgs/" + inv.OrgID + "/invitations/" + inv.ID, Replayed: replayed(before), CacheControl: notKept, Body: viewInvitation(inv),
	}, nil
}

// now is the present as Postgres keeps it.
func (s *server) now() time.Time { return s.opts.Now().UTC().Truncate(time.Microsecond) }

// mayInvite refuses a caller who may not invite someone to a role, or whose address
// may be another's.
func (by *orgChange) mayInvite(role string) error {
	if err := by.needOwner(role); err != nil {
		return err
	}
	if by.member != nil && by.member.VerifiedAt == nil {
		return refuse("email_unverified", "Follow the link that was mailed to your address before you invite others.")
	}
	return nil
}

// sendInvitation mails an invitation and writes it to the audit log.
func (s *server) sendInvitation(ctx context.Context, by *orgChange, inv *store.Invitation, token, action string) error {
	inviter := by.org.Name
	if by.member != nil {
		inviter = by.member.Name
		if inviter == "" {
			inviter = by.member.Email
		}
	}
	err := s.queue.Send(ctx, by.tx, jobs.NewMail{
		Kind: jobs.MailInvitation, To: inv.Email, OrgID: inv.OrgID,
		Data:  map[string]string{"organization": by.org.Name, "role": inv.Role, "inviter": inviter, "inviter_id": by.caller.ActorID()},
		Token: token, Seal: s.sealLink, ExpiresAt: inv.ExpiresAt,
	})
	if err != nil {
		return err
	}
	return s.record(ctx, by.tx, change{Action: action, Kind: "invitation", ID: inv.ID, After: auditInvitation(inv)})
}

// invitationError says what an invitation failed for.
func invitationError(err error) error {
	switch {
	case errors.Is(err, store.ErrMember):
		return refuse("already_exists", "Whoever has this address belongs to the organization already.")
	case errors.Is(err, store.ErrInvited):
		return refuse("already_exists", "This address has an open invitation; POST /v1/orgs/{org_id}/invitations/{id}/resend mails it again.")
	case errors.Is(err, store.ErrTooManyInvitations):
		return refuse("limit_reached", "The organization has %d open invitations, which is the most; revoke one or wait until one is accepted.", store.MaxOpenInvitations)
	case errors.Is(err, store.ErrInvitingTooOften):
		return refuse("limit_reached", "The organization has made %d invitations within a day, which is the most; wait.", store.MaxDailyInvitations)
	case errors.Is(err, store.ErrTooManyMembers):
		return refuse("limit_reached", "The organization has %d members, which is the most.", store.MaxMembers)
	case errors.Is(err, store.ErrNotFound):
		return refuse("not_found", "The organization has no such open invitation.")
	}
	return err
}

type listInvitationsInput struct {
	OrgID string `path:"org_id" example:"org_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	PageInput
}

func (s *server) listInvitations(ctx context.Context, in *listInvitationsInput) (*pageOutput[invitation], error) {
	selected, err := in.page("an invitation", store.ValidInvitationID)
	if err != nil {
		return nil, err
	}
	orgID := auth.FromContext(ctx).OrgID
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	rows, err := s.db.OpenInvitations(ctx, orgID, s.now(), selected)
	if err != nil {
		return nil, err
	}
	return pageOf(&in.PageInput, rows, func(inv *store.Invitation) string { return inv.ID }, viewInvitation), nil
}

type invitationInput struct {
	OrgID string `path:"org_id" example:"org_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	ID    string `path:"id" example:"inv_06f0r3k8cg7q1v2m4n6p8s9tb0"`
}

type invitationOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         invitation
}

// resendInvitation mails an invitation with another link: the former one is no good
// any more. Whoever does so has invited.
func (s *server) resendInvitation(ctx context.Context, in *invitationInput) (*invitationOutput, error) {
	token, hash := newLinkToken()
	var shown invitation
	err := s.changeInvitation(ctx, in.ID, func(ctx context.Context, by *orgChange, before *store.Invitation) error {
		if err := by.mayInvite(before.Role); err != nil {
			return err
		}
		mailed := before.ExpiresAt.Add(-store.InvitationTTL)
		if s.now().Before(mailed.Add(store.InvitationPause)) {
			return refuse("rate_limited", "This invitation was mailed within the last minute; wait before you send it again.")
		}
		inv, err := by.tx.RenewInvitation(ctx, by.org.ID, before.ID, by.caller.ActorID(), hash, s.now())
		if err != nil {
			return err
		}
		shown = viewInvitation(inv)
		return s.sendInvitation(ctx, by, inv, token, "invitation.resend")
	})
	if err != nil {
		return nil, err
	}
	return &invitationOutput{CacheControl: notKept, Body: shown}, nil
}

func (s *server) revokeInvitation(ctx context.Context, in *invitationInput) (*struct{}, error) {
	return nil, s.changeInvitation(ctx, in.ID, func(ctx context.Context, by *orgChange, before *store.Invitation) error {
		if err := by.needOwner(before.Role); err != nil {
			return err
		}
		if _, err := by.tx.RevokeInvitation(ctx, by.org.ID, before.ID, s.now()); err != nil {
			return err
		}
		return s.record(ctx, by.tx, change{Action: "invitation.revoke", Kind: "invitation", ID: before.ID, Before: auditInvitation(before)})
	})
}

// changeInvitation runs a change of an open invitation of the caller's organization.
func (s *server) changeInvitation(ctx context.Context, id string, do func(context.Context, *orgChange, *store.Invitation) error) error {
	err := s.changeOrg(ctx, auth.ScopeMembersWrite, func(ctx context.Context, by *orgChange) error {
		if !store.ValidInvitationID(id) {
			return store.ErrNotFound
		}
		before, err := by.tx.OpenInvitation(ctx, by.org.ID, id, s.now())
		if err != nil {
			return err
		}
		return do(ctx, by, before)
	})
	return invitationError(err)
}
