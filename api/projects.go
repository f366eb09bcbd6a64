package api

import (
	"context"
	"errors"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// project is one as its organization sees it.
type project struct {
	ID             string     `json:"id" example:"proj_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Object         string     `json:"object" enum:"project"`
	OrganizationID string     `json:"organization_id"`
	Name           string     `json:"name"`
	Slug           *string    `json:"slug" doc:"Unique in the organization"`
	RetentionDays  *int       `json:"retention_days" doc:"How long images are kept; null: as long as the organization's plan says"`
	WebhookURL     *string    `json:"webhook_url" doc:"Is told of the generations that name no webhook_url"`
	WebhookEvents  []string   `json:"webhook_events" nullable:"false" doc:"What it is told"`
	RateLimit      *int       `json:"rate_limit" doc:"Generations an hour; null: the organization's limit alone"`
	ArchivedAt     *time.Time `json:"archived_at"`
	CreatedAt      time.Time  `json:"created_at"`
}

func viewProject(p *store.Project) project {
	shown := project{
		ID: p.ID, Object: "project", OrganizationID: p.OrgID, Name: p.Name, Slug: p.Slug, RetentionDays: p.RetentionDays,
		WebhookURL: p.WebhookURL, WebhookEvents: p.WebhookEvents, RateLimit: p.RateLimit,
		ArchivedAt: utc(p.ArchivedAt), CreatedAt: p.CreatedAt.UTC(),
	}
	if shown.WebhookEvents == nil {
		shown.WebhookEvents = []string{}
	}
	return shown
}

func (s *server) createProject(ctx context.Context, in *createProjectInput) (*created[project], error) {
	p, err := in.Body.project(s.opts.Egress)
	if err != nil {
		return nil, err
	}
	orgID := auth.FromContext(ctx).OrgID
	p.ID, p.OrgID = store.NewProjectID(), orgID
	key, err := s.creationKey(ctx, orgID, "projects", p.ID, p.Name, p.Slug, p.RetentionDays, p.WebhookURL, p.WebhookEvents, p.RateLimit)
	if err != nil {
		return nil, err
	}
	var before string
	err = s.changeOrg(ctx, auth.ScopeProjectsWrite, func(ctx context.Context, by *orgChange) error {
		if before, err = claimCreation(ctx, by.tx, key); err != nil {
			return err
		}
		if before != "" {
			p, err = by.tx.ProjectOf(ctx, by.org.ID, before)
			return err
		}
		if err := checkRetention(p, by.org); err != nil {
			return err
		}
		if p, err = by.tx.InsertProject(ctx, *p); err != nil {
			return err
		}
		return s.record(ctx, by.tx, change{Action: "project.create", Kind: "project", ID: p.ID, ProjectID: p.ID, After: auditProject(p)})
	})
	if err != nil {
		return nil, projectError(err)
	}
	return &created[project]{Location: "/v1/projects/" + p.ID, Replayed: replayed(before), CacheControl: notKept, Body: viewProject(p)}, nil
}

// projectError says what a project failed for.
func projectError(err error) error {
	switch {
	case errors.Is(err, store.ErrSlugTaken):
		return refuse("already_exists", "The organization has a project with this slug; choose another, or leave it out to have one made.")
	case errors.Is(err, store.ErrTooManyProjects):
		return refuse("limit_reached", "The organization has %d projects, which is the most; archive one that is not needed.", store.MaxProjects)
	case errors.Is(err, store.ErrProjectArchived):
		return refuse("project_archived", "")
	case errors.Is(err, store.ErrNotFound):
		return refuse("not_found", "The organization has no such project.")
	}
	return err
}

type listProjectsInput struct {
	PageInput
	Archived bool `query:"archived" doc:"List those that are archived in place of those that are not"`
}

func (s *server) listProjects(ctx context.Context, in *listProjectsInput) (*pageOutput[project], error) {
	selected, err := in.page("a project", store.ValidProjectID)
	if err != nil {
		return nil, err
	}
	orgID := auth.FromContext(ctx).OrgID
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	rows, err := s.db.Projects(ctx, orgID, in.Archived, selected)
	if err != nil {
		return nil, err
	}
	return pageOf(&in.PageInput, rows, func(p *store.Project) string { return p.ID }, viewProject), nil
}

type projectInput struct {
	ID string `path:"id" example:"proj_06f0r3k8cg7q1v2m4n6p8s9tb0"`
}

type projectOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         project
}

func (s *server) getProject(ctx context.Context, in *projectInput) (*projectOutput, error) {
	orgID := auth.FromContext(ctx).OrgID
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	p, err := projectOf(ctx, s.db, orgID, in.ID)
	if err != nil {
		return nil, projectError(err)
	}
	return &projectOutput{CacheControl: notKept, Body: viewProject(p)}, nil
}

// projectOf returns a project, and does not ask Postgres for what is no id of one.
func projectOf(ctx context.Context, db *store.DB, orgID, id string) (*store.Project, error) {
	if !store.ValidProjectID(id) {
		return nil, store.ErrNotFound
	}
	return db.ProjectOf(ctx, orgID, id)
}

func (s *server) updateProject(ctx context.Context, in *updateProjectInput) (*projectOutput, error) {
	var shown project
	err := s.changeProject(ctx, in.ID, func(ctx context.Context, by *orgChange, before *store.Project) error {
		if before.ArchivedAt != nil {
			return store.ErrProjectArchived
		}
		wanted := *before
		if err := in.Body.apply(&wanted, s.opts.Egress); err != nil {
			return err
		}
		// What the plan has come to forbid since stays as it is.
		if in.Body.RetentionDays.sent {
			if err := checkRetention(&wanted, by.org); err != nil {
				return err
			}
		}
		after, err := by.tx.UpdateProject(ctx, &wanted)
		if err != nil {
			return err
		}
		shown = viewProject(after)
		return s.record(ctx, by.tx, change{
			Action: "project.update", Kind: "project", ID: before.ID, ProjectID: before.ID, Before: auditProject(before), After: auditProject(after),
		})
	})
	if err != nil {
		return nil, err
	}
	return &projectOutput{CacheControl: notKept, Body: shown}, nil
}

// archiveProject takes a project out of use. Doing it again changes nothing.
func (s *server) archiveProject(ctx context.Context, in *projectInput) (*projectOutput, error) {
	var shown project
	err := s.changeProject(ctx, in.ID, func(ctx context.Context, by *orgChange, before *store.Project) error {
		shown = viewProject(before)
		if before.ArchivedAt != nil {
			return nil
		}
		revoked, err := by.tx.RevokeProjectKeys(ctx, by.org.ID, before.ID)
		if err != nil {
			return err
		}
		after, err := by.tx.ArchiveProject(ctx, by.org.ID, before.ID)
		if err != nil {
			return err
		}
		shown = viewProject(after)
		err = s.record(ctx, by.tx, change{
			Action: "project.archive", Kind: "project", ID: before.ID, ProjectID: before.ID, Before: auditProject(before), After: auditProject(after),
		})
		if err != nil {
			return err
		}
		return s.recordRevoked(ctx, by.tx, revoked)
	})
	if err != nil {
		return nil, err
	}
	return &projectOutput{CacheControl: notKept, Body: shown}, nil
}

// changeProject runs a change of a project of the caller's organization.
func (s *server) changeProject(ctx context.Context, id string, do func(context.Context, *orgChange, *store.Project) error) error {
	return projectError(s.changeOrg(ctx, auth.ScopeProjectsWrite, func(ctx context.Context, by *orgChange) error {
		before, err := projectOf(ctx, by.tx, by.org.ID, id)
		if err != nil {
			return err
		}
		return do(ctx, by, before)
	}))
}
