package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// A NewGeneration is what a submission knows of a generation.
type NewGeneration struct {
	ID         string            `json:"id"`
	OrgID      string            `json:"org_id"`
	ProjectID  string            `json:"project_id"`
	APIKeyID   string            `json:"api_key_id"`
	Kind       string            `json:"kind"`
	Test       bool              `json:"test"`
	Simulated  bool              `json:"simulated"`
	Model      string            `json:"model"`
	ModelUsed  string            `json:"model_used"`
	Prompt     string            `json:"prompt"`
	Params     Params            `json:"params"`
	N          int               `json:"n"`
	Metadata   map[string]string `json:"metadata"`
	Tags       []string          `json:"tags"`
	CreatedAt  time.Time         `json:"created_at"`
	DeadlineAt time.Time         `json:"deadline_at"`
	Queue      string            `json:"queue,omitempty"` // default QueueGenerate

	// Without a URL, InsertGenerations sets both to the project's.
	WebhookURL    *string  `json:"webhook_url"`
	WebhookEvents []string `json:"webhook_events"`

	// KeyMonthly is how many generations the key may ask for in a calendar month
	// (UTC); nil: any number.
	KeyMonthly *int   `json:"key_monthly,omitempty"`
	KeyUsage   string `json:"key_usage,omitempty"` // what they are counted under (APIKey.Usage); default APIKeyID

	// Set by InsertGenerations.
	Refused    bool   `json:"-"` // by KeyMonthly: it was not recorded
	Held       bool   `json:"-"` // it waits for its organization's turn
	RiverJobID *int64 `json:"-"` // its ticket; nil while it is held
}

// Row returns the generation as it stands once inserted.
func (n *NewGeneration) Row() *Generation {
	g := &Generation{
		ID: n.ID, OrgID: n.OrgID, ProjectID: n.ProjectID, APIKeyID: n.APIKeyID, Kind: n.Kind,
		Status: StatusQueued, Test: n.Test, Simulated: n.Simulated, Model: n.Model, ModelUsed: n.ModelUsed,
		Prompt: n.Prompt, Params: n.Params, N: n.N, Metadata: n.Metadata, Tags: n.Tags,
		RiverJobID: n.RiverJobID, CreatedAt: n.CreatedAt, DeadlineAt: n.DeadlineAt, Queue: n.Queue,
		WebhookURL: n.WebhookURL, WebhookEvents: n.WebhookEvents,
	}
	if n.Queue == "" {
		g.Queue = QueueGenerate
	}
	if n.Held {
		g.HeldAt = &g.CreatedAt
	}
	return g
}

// InsertGenerations records queued generations in one statement, and queues a run
// of each as far as its organization's cap allows; the others are held until
// earlier ones have ended. An organization that has held ones gets the new ones
// held too: who comes first runs first. Those beyond the monthly limit of their key are
// not recorded. It sets Refused, Held and RiverJobID.
func (db *DB) InsertGenerations(ctx context.Context, rows []*NewGeneration) error {
	_, err := db.SubmitGenerations(ctx, nil, rows)
	return err
}

// SubmitGenerations takes the keys as ClaimIdempotencyKeys does and inserts the
// generations as InsertGenerations does, but for those whose key someone holds
// already: it returns these keys, as they are held. All of it happens or none. The
// key of a generation that is refused is not taken.
//
// It takes one round trip with no BEGIN before and no COMMIT after it. Submissions
// of one organization wait for each other at its row of admission, and a process
// that is frozen between two round trips would hold up all of them.
func (db *DB) SubmitGenerations(ctx context.Context, keys []*IdempotencyKey, rows []*NewGeneration) ([]*IdempotencyKey, error) {
	args, err := jsonArgs(map[string]any{"rows": rows, "keys": keys})
	if err != nil {
		return nil, fmt.Errorf("submit generations: %w", err)
	}
	var held []*IdempotencyKey
	var placed []*placedGeneration
	var batch pgx.Batch
	if len(keys) > 0 {
		claimKeys(&batch, args["keys"].(string), &held)
	}
	sql, limited := insertGenerationsSQL, haveMonthly(rows)
	if limited {
		sql = insertLimitedSQL
	}
	batch.Queue(sql, pgx.NamedArgs(withDeliveries(db.admissionArgs(args)))).Query(func(rows pgx.Rows) error {
		placed, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[placedGeneration])
		return err
	})
	if limited && len(keys) > 0 {
		batch.Queue(freeRefusedKeysSQL, pgx.NamedArgs{"keys": args["keys"]})
	}
	err = db.q.SendBatch(ctx, &batch).Close()
	if isLockTimeout(err) && len(keys) > 0 && len(held) == 0 {
		err = ErrKeyBusy
	}
	if err != nil {
		return nil, fmt.Errorf("submit generations: %w", err)
	}
	others := othersKeys(keys, held)
	place(rows, placed)
	if limited {
		markRefused(rows, keys, others, placed)
	}
	return others, nil
}

// place tells generations what their insertion made of them.
func place(rows []*NewGeneration, placed []*placedGeneration) {
	of := make(map[string]*placedGeneration, len(placed))
	for _, p := range placed {
		of[p.ID] = p
	}
	for _, row := range rows {
		if p := of[row.ID]; p != nil {
			row.RiverJobID, row.WebhookURL, row.WebhookEvents = p.Ticket, p.WebhookURL, p.WebhookEvents
		}
		row.Held = row.RiverJobID == nil
	}
}

// markRefused tells the generations that were neither placed nor made before that
// their key's limit is reached.
func markRefused(rows []*NewGeneration, keys, others []*IdempotencyKey, placed []*placedGeneration) {
	decided := make(map[string]bool, len(rows))
	for _, p := range placed {
		decided[p.ID] = true
	}
	for _, k := range keys {
		decided[k.GenerationID] = decided[k.GenerationID] || slices.ContainsFunc(others, k.meets)
	}
	for _, row := range rows {
		row.Refused = !decided[row.ID]
	}
}

type placedGeneration struct {
	ID            string
	Ticket        *int64
	WebhookURL    *string
	WebhookEvents []string
}

// What all submissions run, and what those with a monthly limit among them do.
var (
	insertGenerationsSQL = insertGenerations("", "")
	insertLimitedSQL     = insertGenerations(takeUsage, " AND id NOT IN (SELECT id FROM refused)")
)

// insertGenerations returns the statement. limits are CTEs that come before all that
// is locked, and accepted is a condition on generations that may read them.
func insertGenerations(limits, accepted string) string {
	return `
		WITH taken AS MATERIALIZED (
			-- A look-up for each: a join would read a young table whole.
			SELECT generation_id
			FROM json_to_recordset(@keys) AS mine (project_id text, test boolean, route text, key text, generation_id text)
			WHERE generation_id <> (
				SELECT generation_id FROM idempotency_key AS k
				WHERE (k.project_id, k.test, k.route, k.key) = (mine.project_id, mine.test, mine.route, mine.key))
		), ` + limits + `new AS MATERIALIZED (
			SELECT *, row_number() OVER (PARTITION BY org_id, queue ORDER BY id) AS place
			FROM (
				SELECT id, org_id, project_id, api_key_id, kind, test, simulated, model, model_used,
					prompt, params, n, metadata, tags, created_at, deadline_at, coalesce(queue, 'generate') AS queue,
					coalesce(asked.webhook_url, usual.webhook_url) AS webhook_url,
					CASE WHEN asked.webhook_url IS NULL THEN usual.webhook_events ELSE asked.webhook_events END AS webhook_events
				FROM json_populate_recordset(NULL::generation, @rows) AS asked
				LEFT JOIN LATERAL (
					SELECT project.webhook_url, project.webhook_events FROM project
					WHERE project.id = asked.project_id AND asked.webhook_url IS NULL
					LIMIT 1 -- which keeps it a look-up for each
				) AS usual ON true
			) AS r
			WHERE id NOT IN (SELECT generation_id FROM taken)` + accepted + `
		), fleet AS MATERIALIZED (` + fleetSQL + `
		), wanted AS MATERIALIZED (
			SELECT w.org_id, w.queue, w.n, ` + capSQL + ` AS cap
			FROM (SELECT org_id, queue, count(*)::int AS n FROM new GROUP BY org_id, queue) AS w
			LEFT JOIN fleet ON fleet.queue = w.queue
			LEFT JOIN org ON org.id = w.org_id
		), counted AS (
			INSERT INTO admission AS a (org_id, queue, running, held)
			SELECT org_id, queue, least(n, cap), n - least(n, cap)
			FROM wanted
			ORDER BY org_id, queue
			ON CONFLICT (org_id, queue) DO UPDATE
			SET (running, held) = (
				SELECT a.running + m.may, a.held + w.n - m.may
				FROM wanted AS w, LATERAL (
					SELECT CASE WHEN a.held > 0 THEN 0 ELSE greatest(0, least(w.n, w.cap - a.running)) END AS may
				) AS m
				WHERE (w.org_id, w.queue) = (a.org_id, a.queue)
			)
			RETURNING org_id, queue, held
		), placed AS MATERIALIZED (
			-- What this statement has held is at most what is held now.
			SELECT new.*, place <= wanted.n - counted.held AS runs
			FROM new JOIN wanted USING (org_id, queue) JOIN counted USING (org_id, queue)
		), ticket AS (` + insertTickets("placed WHERE runs") + `
		), inserted AS (
			INSERT INTO generation (
				id, org_id, project_id, api_key_id, kind, status, test, simulated, model, model_used,
				prompt, params, n, metadata, tags, created_at, deadline_at, queue, held_at, river_job_id, webhook_url, webhook_events)
			SELECT
				p.id, org_id, project_id, api_key_id, kind, 'queued', test, simulated, model, model_used,
				prompt, params, n, metadata, tags, created_at, deadline_at, p.queue,
				CASE WHEN NOT runs THEN created_at END, ticket.id, webhook_url, webhook_events
			FROM placed AS p LEFT JOIN ticket ON ticket.generation_id = p.id
			RETURNING id, org_id, project_id, test, webhook_url, webhook_events, river_job_id
		), ` + recordEvents(generationEvents("inserted", "'"+EventGenerationQueued+"'", "'"+stepQueued+"'"), "counted") + `, announced AS (` + announceTickets("ticket") + `
		)
		SELECT inserted.id, inserted.river_job_id AS ticket, inserted.webhook_url, inserted.webhook_events
		FROM inserted, announced, errands_announced`
}
