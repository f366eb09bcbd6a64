package api

import (
	"context"
	"strings"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

type deleteOrgInput struct {
	OrgID string `path:"org_id" example:"org_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Body  struct {
		Name string `json:"name" required:"true" maxLength:"100" doc:"The organization's name, to show that you mean it"`
	}
}

// deleteOrg ends the organization at once and has what it held erased soon.
func (s *server) deleteOrg(ctx context.Context, in *deleteOrgInput) (*struct{}, error) {
	return nil, s.changeOrg(ctx, auth.ScopeOrgDelete, func(ctx context.Context, by *orgChange) error {
		if strings.TrimSpace(in.Body.Name) != by.org.Name {
			return &jobs.InvalidError{Faults: []jobs.Fault{{
				Param: "name", Code: "conflict", Message: "name is not the organization's; send it as GET /v1/orgs/" + by.org.ID + " shows it",
			}}}
		}
		return s.endOrg(ctx, by.tx, by.org.ID, viewOrg(by.org, ""))
	})
}

// endOrg deletes an organization, and writes that to the audit log with the keys that
// it revokes.
func (s *server) endOrg(ctx context.Context, tx *store.DB, orgID string, before any) error {
	revoked, err := tx.RevokeOrgKeys(ctx, orgID)
	if err != nil {
		return err
	}
	if err := s.queue.DeleteOrg(ctx, tx, orgID); err != nil {
		return err
	}
	c := change{Action: "org.delete", Kind: "organization", ID: orgID, OrgID: orgID, Before: before}
	if err := s.record(ctx, tx, c); err != nil {
		return err
	}
	return s.recordRevoked(ctx, tx, revoked)
}
