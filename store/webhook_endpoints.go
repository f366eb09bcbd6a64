package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// MaxWebhookEndpoints is how many endpoints a project may have in each mode.
const MaxWebhookEndpoints = 16

// Why an endpoint can not do what is asked of it.
var (
	ErrTooManyEndpoints = errors.New("the project has as many webhook endpoints of the mode as it may have")
	ErrEndpointDisabled = errors.New("the webhook endpoint is disabled")
	ErrEndpointDeleted  = errors.New("the webhook endpoint is deleted")
)

// A WebhookEndpoint is a URL of a customer's that is told of events.
type WebhookEndpoint struct {
	ID             string
	OrgID          string
	ProjectID      *string // nil: it is told of all of the organization's projects
	Test           bool    // it is told of what test keys ask, or of what live keys do
	URL            string
	Events         []string // types, or patterns of them
	Description    string
	APIVersion     string
	CreatedAt      time.Time
	DisabledAt     *time.Time
	DisabledReason *string    // asked, gone or failing
	FailingSince   *time.Time // the first failed attempt since the last that succeeded
}

// inScope selects the endpoints of a scope. Those of the whole organization are
// not a project's to see.
const inScope = `org_id = @org_id AND project_id = @project_id AND test = @test AND deleted_at IS NULL`

// ValidWebhookEndpointID reports whether id could be an endpoint's.
func ValidWebhookEndpointID(id string) bool {
	_, err := decodeID(id, prefixEndpoint+"_")
	return err == nil
}

const prefixEndpoint = "whep"

// NewWebhookEndpointID returns an id for an endpoint.
func NewWebhookEndpointID() string { return NewID(prefixEndpoint) }

// CreateWebhookEndpoint records an endpoint from its ID, URL, Events, Description,
// APIVersion and DisabledAt, which with a time stands for one that its owner wants
// disabled, and its first secret. It fails with ErrTooManyEndpoints if the scope
// has MaxWebhookEndpoints.
func (db *DB) CreateWebhookEndpoint(ctx context.Context, scope Scope, e WebhookEndpoint, secret SealedSecret) (*WebhookEndpoint, error) {
	args := scope.args(pgx.NamedArgs{
		"id": e.ID, "url": e.URL, "events": e.Events, "description": e.Description, "api_version": e.APIVersion,
		"enabled": e.DisabledAt == nil, "sealed": secret.Sealed, "last4": secret.Last4, "most": MaxWebhookEndpoints,
	})
	var made []*WebhookEndpoint
	var batch pgx.Batch
	// Two at the same time would both find room for one.
	batch.Queue(lockProjectSQL, args)
	batch.Queue(`
		WITH made AS (
			INSERT INTO webhook_endpoint (id, org_id, project_id, test, url, events, description, api_version, disabled_at, disabled_reason)
			SELECT @id, @org_id, @project_id, @test, @url, @events, @description, @api_version,
				CASE WHEN NOT @enabled THEN now() END, CASE WHEN NOT @enabled THEN 'asked' END
			WHERE @most > (
				SELECT count(*) FROM webhook_endpoint
				WHERE `+inScope+`)
			RETURNING `+columns[WebhookEndpoint]("")+`
		), signed AS (
			INSERT INTO webhook_secret (owner, n, org_id, sealed, last4)
			SELECT id, 1, org_id, @sealed, @last4 FROM made
		)
		SELECT * FROM made`, args).Query(func(rows pgx.Rows) (err error) {
		made, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[WebhookEndpoint])
		return err
	})
	err := db.q.SendBatch(ctx, &batch).Close()
	if err == nil && len(made) == 0 {
		err = ErrTooManyEndpoints
	}
	if err != nil {
		return nil, fmt.Errorf("create webhook endpoint: %w", err)
	}
	return made[0], nil
}

// lockProjectSQL makes transactions on what a project has wait for each other. It
// lets the foreign keys of others' inserts pass.
const lockProjectSQL = `SELECT FROM project WHERE id = @project_id AND org_id = @org_id FOR NO KEY UPDATE`

// A WebhookEndpointFilter selects endpoints. Zero fields select everything.
type WebhookEndpointFilter struct {
	After     string // start behind this id, in the order asked
	Before    string // end before this id, in the order asked
	Ascending bool   // oldest first; default newest first
	Limit     int
}

// WebhookEndpoints returns the page of a scope's endpoints that a filter selects.
func (db *DB) WebhookEndpoints(ctx context.Context, scope Scope, f WebhookEndpointFilter) ([]*WebhookEndpoint, error) {
	low, high := f.After, f.Before
	if !f.Ascending {
		low, high = f.Before, f.After
	}
	inner, outer := "ASC", "ASC"
	if !f.Ascending {
		outer = "DESC"
	}
	// With an edge at the end, the page is the one that ends there.
	if f.Ascending == (f.Before != "") {
		inner = "DESC"
	}
	page, err := many[WebhookEndpoint](ctx, db, `
		SELECT * FROM (
			SELECT `+columns[WebhookEndpoint]("")+` FROM webhook_endpoint
			WHERE `+inScope+` AND id > @low AND (@high = '' OR id < @high)
			ORDER BY id `+inner+`
			LIMIT @limit
		) AS page
		ORDER BY id `+outer,
		scope.args(pgx.NamedArgs{"low": low, "high": high, "limit": f.Limit}))
	if err != nil {
		return nil, fmt.Errorf("list webhook endpoints of %s: %w", scope.ProjectID, err)
	}
	return page, nil
}

// WebhookEndpoint returns one endpoint of a scope, or ErrNotFound. In a transaction it
// keeps others from changing it.
func (db *DB) WebhookEndpoint(ctx context.Context, scope Scope, id string) (*WebhookEndpoint, error) {
	e, err := one[WebhookEndpoint](ctx, db, `
		SELECT `+columns[WebhookEndpoint]("")+` FROM webhook_endpoint
		WHERE id = @id AND `+inScope+` `+db.forUpdate(),
		scope.args(pgx.NamedArgs{"id": id}))
	if err != nil {
		return nil, fmt.Errorf("webhook endpoint %s: %w", id, err)
	}
	return e, nil
}

// A WebhookEndpointChange is what to change of an endpoint; nil fields stay.
type WebhookEndpointChange struct {
	URL         *string // another one has not failed yet
	Events      []string
	Description *string
	Enabled     *bool // true forgets failures, too
}

// UpdateWebhookEndpoint changes an endpoint of a scope and returns it, or
// ErrNotFound. Disabling one that is disabled keeps the first time and reason.
func (db *DB) UpdateWebhookEndpoint(ctx context.Context, scope Scope, id string, change WebhookEndpointChange) (*WebhookEndpoint, error) {
	e, err := one[WebhookEndpoint](ctx, db, `
		UPDATE webhook_endpoint
		SET url = coalesce(@url, url), events = coalesce(@events, events), description = coalesce(@description, description),
			disabled_at = CASE @enabled::boolean WHEN true THEN NULL WHEN false THEN coalesce(disabled_at, now()) ELSE disabled_at END,
			disabled_reason = CASE @enabled::boolean WHEN true THEN NULL WHEN false THEN coalesce(disabled_reason, 'asked') ELSE disabled_reason END,
			failing_since = CASE WHEN @enabled::boolean OR @url <> url THEN NULL ELSE failing_since END,
			revision = revision + coalesce(@enabled::boolean OR @url <> url, false)::int
		WHERE id = @id AND `+inScope+`
		RETURNING `+columns[WebhookEndpoint](""),
		scope.args(pgx.NamedArgs{
			"id": id, "url": change.URL, "events": change.Events, "description": change.Description, "enabled": change.Enabled,
		}))
	if err != nil {
		return nil, fmt.Errorf("change webhook endpoint %s: %w", id, err)
	}
	return e, nil
}

// DeleteWebhookEndpoint ends an endpoint of a scope and destroys its secrets, or
// returns ErrNotFound. What is on its way to it is not sent any more.
func (db *DB) DeleteWebhookEndpoint(ctx context.Context, scope Scope, id string) error {
	tag, err := db.q.Exec(ctx, `
		WITH secrets AS (
			DELETE FROM webhook_secret
			WHERE org_id = @org_id AND owner = (SELECT id FROM webhook_endpoint WHERE id = @id AND `+inScope+`)
		)
		UPDATE webhook_endpoint
		SET deleted_at = now()
		WHERE id = @id AND `+inScope,
		scope.args(pgx.NamedArgs{"id": id}))
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("delete webhook endpoint %s: %w", id, err)
	}
	return nil
}
