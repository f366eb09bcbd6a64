package api

import (
	"context"

	"github.com/nanobanana/nanobanana/api/auth"
)

// ownProject is the caller's project, as far as those who work in it need to know.
type ownProject struct {
	ID             string  `json:"id" example:"proj_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Object         string  `json:"object" enum:"project"`
	OrganizationID string  `json:"organization_id"`
	Name           string  `json:"name"`
	Slug           *string `json:"slug"`
	Plan           string  `json:"plan" doc:"Of the organization"`
	Test           bool    `json:"test" doc:"Whether the caller asks in test mode"`
	RetentionDays  *int    `json:"retention_days" doc:"How long images are kept; null: for good"`
	RateLimit      *int    `json:"rate_limit" doc:"Of the project: generations an hour; null: none of its own"`
}

type ownProjectOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         ownProject
}

// getOwnProject tells a key whose it is.
func (s *server) getOwnProject(ctx context.Context, _ *struct{}) (*ownProjectOutput, error) {
	caller := auth.FromContext(ctx)
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	p, err := s.db.ProjectOf(ctx, caller.OrgID, caller.ProjectID)
	if err != nil {
		return nil, err
	}
	org, err := s.db.Org(ctx, caller.OrgID)
	if err != nil {
		return nil, err
	}
	return &ownProjectOutput{CacheControl: notKept, Body: ownProject{
		ID: p.ID, Object: "project", OrganizationID: p.OrgID, Name: p.Name, Slug: p.Slug, Plan: org.Plan, Test: caller.Test,
		RetentionDays: shorter(p.RetentionDays, org.RetentionDays), RateLimit: p.RateLimit,
	}}, nil
}

// shorter returns the shorter of two times of retention; nil is for good.
func shorter(a, b *int) *int {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}
