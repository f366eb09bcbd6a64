package api

import (
	"context"
	"strings"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
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
		if err := s.queue.DeleteOrg(ctx, by.tx, by.org.ID); err != nil {
			return err
		}
		return s.record(ctx, by.tx, change{
			Action: "org.delete", Kind: "organization", ID: by.org.ID, Before: viewOrg(by.org, ""),
		})
	})
}
