package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// MaxProjects is how many projects an organization may have, without archived ones.
const MaxProjects = 200

// MaxSlug is how many characters a slug may have.
const MaxSlug = 63

// Why a project can not be made or changed.
var (
	ErrTooManyProjects = errors.New("the organization has as many projects as it may have")
	ErrSlugTaken       = errors.New("the organization has a project with this slug")
	ErrProjectArchived = errors.New("the project is archived")
)

const prefixProject = "proj"

// ValidProjectID reports whether id could be a project's.
func ValidProjectID(id string) bool { return validID(id, prefixProject) }

// NewProjectID returns an id for a project.
func NewProjectID() string { return NewID(prefixProject) }

// A Project keeps one client's or application's work apart from the others of
// its organization.
type Project struct {
	ID            string
	OrgID         string
	Name          string
	CreatedAt     time.Time
	Slug          *string // unique among those that are not archived; nil: of before there were any
	RetentionDays *int    // nil, or more than the organization's: the organization's
	WebhookURL    *string // is told of generations that name none
	WebhookEvents []string
	RateLimit     *int // generations an hour; nil: the organization's alone
	ArchivedAt    *time.Time
}

// CreateProject records a project of an organization that has room for it, with a
// slug made from its name.
func (db *DB) CreateProject(ctx context.Context, orgID, name string) (*Project, error) {
	return db.InsertProject(ctx, Project{ID: NewProjectID(), OrgID: orgID, Name: name})
}

// InsertProject records a project from all but its CreatedAt and ArchivedAt. Without
// a Slug it gets one made from its name that is free. It fails with ErrNotFound if
// there is no such organization, with ErrTooManyProjects or ErrSlugTaken.
func (db *DB) InsertProject(ctx context.Context, p Project) (*Project, error) {
	args := pgx.NamedArgs{
		"id": p.ID, "org_id": p.OrgID, "name": p.Name, "slug": p.Slug, "made_slug": Slug(p.Name),
		"retention_days": p.RetentionDays, "webhook_url": p.WebhookURL, "webhook_events": p.WebhookEvents,
		"rate_limit": p.RateLimit, "most": MaxProjects, "max_slug": MaxSlug,
	}
	var made []*Project
	var found bool
	var batch pgx.Batch
	// Two at the same time would both find room for one, and the same slug free.
	batch.Queue(`SELECT FROM org WHERE id = @org_id AND deleted_at IS NULL FOR NO KEY UPDATE`, args).Query(func(rows pgx.Rows) error {
		found = rows.Next()
		rows.Close()
		return rows.Err()
	})
	batch.Queue(`
		INSERT INTO project (id, org_id, name, slug, retention_days, webhook_url, webhook_events, rate_limit)
		SELECT @id, org.id, @name, coalesce(@slug, (
				SELECT candidate
				FROM generate_series(1, @most::int + 1) AS n, LATERAL (
					SELECT CASE WHEN n = 1 THEN @made_slug ELSE left(@made_slug, @max_slug::int - 4) || '-' || n END AS candidate
				) AS c
				WHERE candidate NOT IN (
					SELECT slug FROM project WHERE org_id = org.id AND archived_at IS NULL AND slug IS NOT NULL)
				ORDER BY n
				LIMIT 1
			)), @retention_days, @webhook_url, @webhook_events, @rate_limit
		FROM org
		WHERE org.id = @org_id AND org.deleted_at IS NULL AND @most::int > (
			SELECT count(*) FROM project WHERE org_id = org.id AND archived_at IS NULL)
		RETURNING `+columns[Project]("project"), args).Query(func(rows pgx.Rows) (err error) {
		made, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[Project])
		return err
	})
	err := slugError(db.q.SendBatch(ctx, &batch).Close())
	switch {
	case err != nil:
	case !found:
		err = ErrNotFound
	case len(made) == 0:
		err = ErrTooManyProjects
	}
	if err != nil {
		return nil, fmt.Errorf("create project %s: %w", p.Name, err)
	}
	return made[0], nil
}

// slugError tells a slug that is taken from what else may fail.
func slugError(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == codeUnique && pg.ConstraintName == "project_slug" {
		return ErrSlugTaken
	}
	return err
}

const codeUnique = "23505"

// Slug makes a slug of a name: its ASCII letters and digits, in lower case, with one
// dash for what is between them. A name with fewer than three of them is a project.
func Slug(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		isPart := r >= 'a' && r <= 'z' || r >= '0' && r <= '9'
		switch {
		case b.Len() == MaxSlug:
		case isPart:
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	slug := strings.Trim(b.String(), "-")
	if len(slug) < 3 {
		return "project"
	}
	return slug
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

// ProjectOf returns a project of an organization, archived or not, or ErrNotFound.
func (db *DB) ProjectOf(ctx context.Context, orgID, id string) (*Project, error) {
	project, err := one[Project](ctx, db, `
		SELECT `+columns[Project]("")+` FROM project
		WHERE org_id = @org_id AND id = @id`,
		pgx.NamedArgs{"org_id": orgID, "id": id})
	if err != nil {
		return nil, fmt.Errorf("project %s of %s: %w", id, orgID, err)
	}
	return project, nil
}

// Projects returns the page of an organization's projects: those that are archived,
// or those that are not.
func (db *DB) Projects(ctx context.Context, orgID string, archived bool, page Page) ([]*Project, error) {
	list, err := paged[Project](ctx, db, `
		SELECT `+columns[Project]("")+` FROM project
		WHERE org_id = @org_id AND (archived_at IS NOT NULL) = @archived`,
		"id", page, pgx.NamedArgs{"org_id": orgID, "archived": archived})
	if err != nil {
		return nil, fmt.Errorf("list projects of %s: %w", orgID, err)
	}
	return list, nil
}

// UpdateProject writes a project of an organization as it is to be: its Name, Slug,
// RetentionDays, WebhookURL, WebhookEvents and RateLimit. Every process asks again
// what binds its keys. It fails with ErrNotFound, ErrProjectArchived or ErrSlugTaken.
// It must run in a transaction that holds LockOrg and has read the project since.
func (db *DB) UpdateProject(ctx context.Context, p *Project) (*Project, error) {
	project, err := one[Project](ctx, db, `
		UPDATE project
		SET name = @name, slug = @slug, retention_days = @retention_days, webhook_url = @webhook_url,
			webhook_events = @webhook_events, rate_limit = @rate_limit
		WHERE org_id = @org_id AND id = @id AND archived_at IS NULL
		RETURNING `+columns[Project](""),
		pgx.NamedArgs{
			"org_id": p.OrgID, "id": p.ID, "name": p.Name, "slug": p.Slug, "retention_days": p.RetentionDays,
			"webhook_url": p.WebhookURL, "webhook_events": p.WebhookEvents, "rate_limit": p.RateLimit,
		})
	if errors.Is(err, ErrNotFound) && p.ArchivedAt != nil {
		err = ErrProjectArchived
	}
	if err != nil {
		return nil, fmt.Errorf("change project %s: %w", p.ID, slugError(err))
	}
	return project, db.ForgetKeys(ctx, p.ID) // they know its limit
}

// ArchiveProject takes a project out of use: its keys are revoked on every process,
// its webhook endpoints disabled, and generations have no webhook by default any
// more. What was accepted goes on, and what was made stays. It fails with
// ErrNotFound, or with ErrProjectArchived if it is. It must run in a transaction.
func (db *DB) ArchiveProject(ctx context.Context, orgID, id string) (*Project, error) {
	args := pgx.NamedArgs{"org_id": orgID, "id": id}
	project, err := one[Project](ctx, db, `
		UPDATE project
		SET archived_at = now(), webhook_url = NULL, webhook_events = NULL
		WHERE org_id = @org_id AND id = @id AND archived_at IS NULL
		RETURNING `+columns[Project](""), args)
	if errors.Is(err, ErrNotFound) {
		if _, found := db.ProjectOf(ctx, orgID, id); found == nil {
			err = ErrProjectArchived
		}
	}
	if err != nil {
		return nil, fmt.Errorf("archive project %s: %w", id, err)
	}
	if _, err := db.RevokeProjectKeys(ctx, orgID, id); err != nil {
		return nil, fmt.Errorf("archive project %s: %w", id, err)
	}
	if _, err := db.q.Exec(ctx, `
		UPDATE webhook_endpoint SET disabled_at = now(), disabled_reason = 'asked'
		WHERE org_id = @org_id AND project_id = @id AND disabled_at IS NULL AND deleted_at IS NULL`, args); err != nil {
		return nil, fmt.Errorf("archive project %s: %w", id, err)
	}
	return project, nil
}

// CreateFirstProject records the organization and project of a new
// installation, on the plan given, unless another process has just done so.
func (db *DB) CreateFirstProject(ctx context.Context, plan string, retentionDays *int) (*Project, error) {
	var project *Project
	err := db.Transact(ctx, func(tx *DB) (err error) {
		project, _, err = tx.MakeFirstProject(ctx, plan, retentionDays)
		return err
	})
	return project, err
}

// MakeFirstProject does so in a transaction, and returns the organization if it has
// made it.
func (db *DB) MakeFirstProject(ctx context.Context, plan string, retentionDays *int) (project *Project, made *Org, err error) {
	// Two processes that start on an empty database make one project.
	_, err = db.q.Exec(ctx, `LOCK TABLE project IN EXCLUSIVE MODE`)
	if err == nil {
		project, err = db.FirstProject(ctx)
	}
	if errors.Is(err, ErrNotFound) {
		if made, err = db.CreateOrg(ctx, "First organization", plan, retentionDays); err == nil {
			project, err = db.CreateProject(ctx, made.ID, "First project")
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("create first project: %w", err)
	}
	return project, made, nil
}

// ErrAmbiguous reports that several rows match where one was meant.
var ErrAmbiguous = errors.New("ambiguous")

// A Reach is what someone who works in a project has to be told of it.
type Reach struct {
	ProjectID        string
	ProjectRateLimit *int
	ArchivedAt       *time.Time
	Plan             string
	OrgRateLimit     *int
	OrgSuspendedAt   *time.Time
	Downgrades       bool // the organization's budget may lower the quality of its pictures
}

// ProjectReach returns a project of an organization; an empty id is the only one that
// is not archived. It fails with ErrNotFound or ErrAmbiguous.
func (db *DB) ProjectReach(ctx context.Context, orgID, id string) (*Reach, error) {
	if id != "" && !ValidProjectID(id) {
		return nil, fmt.Errorf("project %q of %s: %w", id, orgID, ErrNotFound)
	}
	found, err := many[Reach](ctx, db, `
		SELECT project.id AS project_id, project.rate_limit AS project_rate_limit, project.archived_at,
			org.plan, org.rate_limit AS org_rate_limit, org.suspended_at AS org_suspended_at,
			EXISTS (SELECT FROM budget AS b WHERE b.org_id = org.id AND b.downgrade_at IS NOT NULL) AS downgrades
		FROM project JOIN org ON org.id = project.org_id
		WHERE project.org_id = @org_id AND org.deleted_at IS NULL
			AND (project.id = @id OR @id = '' AND project.archived_at IS NULL)
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
