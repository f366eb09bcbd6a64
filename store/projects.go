package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Project keeps one client's or application's work apart from the others of
// its organization.
type Project struct {
	ID        string
	OrgID     string
	Name      string
	CreatedAt time.Time
}

// CreateProject records a project of an organization.
func (db *DB) CreateProject(ctx context.Context, orgID, name string) (*Project, error) {
	project, err := one[Project](ctx, db, `
		INSERT INTO project (id, org_id, name)
		VALUES (@id, @org_id, @name)
		RETURNING `+columns[Project](""),
		pgx.NamedArgs{"id": NewID("proj"), "org_id": orgID, "name": name})
	if err != nil {
		return nil, fmt.Errorf("create project %s: %w", name, err)
	}
	return project, nil
}

// FirstProject returns the oldest project of the database, which `dev` and the
// operator's commands take when none is named, or ErrNotFound.
func (db *DB) FirstProject(ctx context.Context) (*Project, error) {
	project, err := one[Project](ctx, db, `
		SELECT `+columns[Project]("")+` FROM project
		ORDER BY id
		LIMIT 1`, nil)
	if err != nil {
		return nil, fmt.Errorf("first project: %w", err)
	}
	return project, nil
}

// Project returns a project by its id, for operators, or ErrNotFound.
func (db *DB) Project(ctx context.Context, id string) (*Project, error) {
	project, err := one[Project](ctx, db, `
		SELECT `+columns[Project]("")+` FROM project
		WHERE id = @id`,
		pgx.NamedArgs{"id": id})
	if err != nil {
		return nil, fmt.Errorf("project %s: %w", id, err)
	}
	return project, nil
}

// CreateFirstProject records the organization and project of a new
// installation, on the plan given, unless another process has just done so.
func (db *DB) CreateFirstProject(ctx context.Context, plan string, retentionDays *int) (*Project, error) {
	var project *Project
	err := db.Transact(ctx, func(tx *DB) error {
		// Two processes that start on an empty database make one project.
		if _, err := tx.tx.Exec(ctx, `LOCK TABLE project IN EXCLUSIVE MODE`); err != nil {
			return err
		}
		var err error
		if project, err = tx.FirstProject(ctx); !errors.Is(err, ErrNotFound) {
			return err
		}
		org, err := tx.CreateOrg(ctx, "First organization", plan, retentionDays)
		if err != nil {
			return err
		}
		project, err = tx.CreateProject(ctx, org.ID, "First project")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create first project: %w", err)
	}
	return project, nil
}

// ErrAmbiguous reports that several rows match where one was meant.
var ErrAmbiguous = errors.New("ambiguous")

// A Reach is what someone who works in a project has to be told of it.
type Reach struct {
	ProjectID        string
	ProjectRateLimit *int
	Plan             string
	OrgRateLimit     *int
	OrgSuspendedAt   *time.Time
}

// ProjectReach returns a project of an organization that is not archived; an empty
// id is the only one there is. It fails with ErrNotFound or ErrAmbiguous.
func (db *DB) ProjectReach(ctx context.Context, orgID, id string) (*Reach, error) {
	found, err := many[Reach](ctx, db, `
		SELECT project.id AS project_id, project.rate_limit AS project_rate_limit,
			org.plan, org.rate_limit AS org_rate_limit, org.suspended_at AS org_suspended_at
		FROM project JOIN org ON org.id = project.org_id
		WHERE project.org_id = @org_id AND project.id = coalesce(nullif(@id, ''), project.id)
			AND project.archived_at IS NULL AND org.deleted_at IS NULL
		LIMIT 2`,
		pgx.NamedArgs{"org_id": orgID, "id": id})
	switch {
	case err != nil:
	case len(found) == 0 && id != "":
		err = ErrNotFound
	case len(found) != 1:
		err = ErrAmbiguous
	}
	if err != nil {
		return nil, fmt.Errorf("project %s of %s: %w", id, orgID, err)
	}
	return found[0], nil
}
