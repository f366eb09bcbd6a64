package store

import (
	"context"
	"errors"
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

	// Credits is what is reserved for it; 0 for a free one. Those of one BatchID are
	// reserved together: all of them are let in, or none.
	Credits int    `json:"credits,omitempty"`
	BatchID string `json:"batch_id,omitempty"`

	// Set by InsertGenerations.
	Refusal      *Refusal   `json:"-"` // it was not recorded; nil: it was
	Held         bool       `json:"-"` // it waits for its organization's turn
	RiverJobID   *int64     `json:"-"` // its ticket; nil while it is held
	CreditMicros *int       `json:"-"` // what a credit costs, in millionths of a US dollar
	CreditPeriod *time.Time `json:"-"` // whose account they are taken from
}

// Row returns the generation as it stands once inserted.
func (n *NewGeneration) Row() *Generation {
	g := &Generation{
		ID: n.ID, OrgID: n.OrgID, ProjectID: n.ProjectID, APIKeyID: n.APIKeyID, Kind: n.Kind,
		Status: StatusQueued, Test: n.Test, Simulated: n.Simulated, Model: n.Model, ModelUsed: n.ModelUsed,
		Prompt: n.Prompt, Params: n.Params, N: n.N, Metadata: n.Metadata, Tags: n.Tags,
		RiverJobID: n.RiverJobID, CreatedAt: n.CreatedAt, DeadlineAt: n.DeadlineAt, Queue: n.Queue,
		WebhookURL: n.WebhookURL, WebhookEvents: n.WebhookEvents,
		CreditMicros: n.CreditMicros, CreditPeriod: n.CreditPeriod,
	}
	if n.Credits > 0 {
		g.Credits = &n.Credits
	}
	if n.BatchID != "" {
		g.BatchID = &n.BatchID
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
// held too: who comes first runs first. Those beyond the monthly limit of their key, or
// beyond what their organization has, are not recorded. It sets what NewGeneration says.
// Accounts of periods that have none yet are opened, and what waited for them is
// submitted by itself: where that fails and others are recorded, Refusal.Err says so.
func (db *DB) InsertGenerations(ctx context.Context, rows []*NewGeneration) error {
	const most = 3 // a change of plans may come in between
	pending := rows
	for range most {
		_, err := db.SubmitGenerations(ctx, nil, pending)
		if err == nil {
			if pending = awaitPeriods(pending); len(pending) == 0 {
				return nil
			}
			err = db.openPeriodsOf(ctx, pending)
		}
		if err != nil {
			return refuseAll(pending, rows, err)
		}
	}
	return refuseAll(pending, rows, errors.New("submit generations: the periods of their organizations keep changing"))
}

// awaitPeriods are those whose periods have no account yet.
func awaitPeriods(rows []*NewGeneration) (some []*NewGeneration) {
	for _, n := range rows {
		if n.refused(RefusedPeriod) {
			some = append(some, n)
		}
	}
	return some
}

// refuseAll tells some of the generations why they could not be submitted. Where they
// are all, it returns that.
func refuseAll(some, all []*NewGeneration, err error) error {
	if len(some) == len(all) {
		return err
	}
	for _, n := range some {
		n.Refusal = &Refusal{Err: err}
	}
	return nil
}

// SubmitGenerations takes the keys as ClaimIdempotencyKeys does and inserts the
// generations as InsertGenerations does, but for those whose key someone holds
// already: it returns these keys, as they are held. All of it happens or none. The
// key of a generation that is refused is not taken. It opens no period: what needs one
// is refused with RefusedPeriod, so that nobody waits for another's organization. Those
// that are refused for the limit of a key which did not need all of it in the end are
// submitted once more, by themselves: where that fails, Refusal.Err says so, and the
// others are recorded. In a transaction there must be no such keys, as accounts are
// locked before admission.
//
// It takes one round trip with no BEGIN before and no COMMIT after it. Submissions
// of one organization wait for each other at its row of admission, and a process
// that is frozen between two round trips would hold up all of them.
func (db *DB) SubmitGenerations(ctx context.Context, keys []*IdempotencyKey, rows []*NewGeneration) ([]*IdempotencyKey, error) {
	others, err := db.submitGenerations(ctx, keys, rows)
	if err != nil {
		return nil, fmt.Errorf("submit generations: %w", err)
	}
	// What a key's limit let in and credits did not leaves room for those behind it.
	for again := rows; ; {
		if again = makeRoom(again); len(again) == 0 {
			return others, nil
		}
		more, err := db.submitGenerations(ctx, keysOf(keys, again), again)
		if err != nil {
			// The others are recorded.
			for _, row := range again {
				row.Refusal = &Refusal{Err: fmt.Errorf("submit generation: %w", err)}
			}
			return others, nil
		}
		others = append(others, more...)
	}
}

// makeRoom are the generations refused for their key's limit, if others that it let in
// were refused for credits, or for now.
func makeRoom(rows []*NewGeneration) (again []*NewGeneration) {
	room := false
	for _, n := range rows {
		room = room || n.KeyMonthly != nil && (n.refused(RefusedCredits) || n.refused(RefusedBudget) || n.refused(RefusedPeriod))
		if n.refused(RefusedKey) {
			again = append(again, n)
		}
	}
	if !room {
		return nil
	}
	return again
}

func (n *NewGeneration) refused(why string) bool { return n.Refusal != nil && n.Refusal.Why == why }

// keysOf are the keys of some of the generations.
func keysOf(keys []*IdempotencyKey, rows []*NewGeneration) []*IdempotencyKey {
	return slices.DeleteFunc(slices.Clone(keys), func(k *IdempotencyKey) bool {
		return !slices.ContainsFunc(rows, func(n *NewGeneration) bool { return n.ID == k.GenerationID })
	})
}

func (db *DB) submitGenerations(ctx context.Context, keys []*IdempotencyKey, rows []*NewGeneration) ([]*IdempotencyKey, error) {
	args, err := jsonArgs(map[string]any{"rows": rows, "keys": keys})
	if err != nil {
		return nil, err
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
	batch.Queue(sql, hot(withDeliveries(db.admissionArgs(args)))).Query(func(rows pgx.Rows) error {
		placed, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[placedGeneration])
		return err
	})
	if limited {
		batch.Queue(giveBackUsageSQL, pgx.NamedArgs{"rows": args["rows"], "keys": args["keys"]})
	}
	err = db.q.SendBatch(ctx, &batch).Close()
	if isLockTimeout(err) && len(keys) > 0 && len(held) == 0 {
		err = ErrKeyBusy
	}
	if err != nil {
		return nil, err
	}
	place(rows, placed)
	return othersKeys(keys, held), nil
}

// place tells generations what their insertion made of them.
func place(rows []*NewGeneration, placed []*placedGeneration) {
	of := make(map[string]*placedGeneration, len(placed))
	for _, p := range placed {
		of[p.ID] = p
	}
	for _, row := range rows {
		row.Refusal = nil
		switch p := of[row.ID]; {
		case p == nil:
		case p.Why == "":
			row.RiverJobID, row.WebhookURL, row.WebhookEvents = p.Ticket, p.WebhookURL, p.WebhookEvents
			row.CreditMicros, row.CreditPeriod = p.CreditMicros, p.CreditPeriod
		default:
			row.Refusal = p.refusal()
		}
		row.Held = row.RiverJobID == nil
	}
}

// placedGeneration is a generation that was recorded or, with Why, one that was not.
type placedGeneration struct {
	ID            string
	Ticket        *int64
	WebhookURL    *string
	WebhookEvents []string
	CreditMicros  *int
	CreditPeriod  *time.Time

	Why        string
	Needed     int64
	Available  int64
	SpendLimit *int64
	Plan       *string
	ResetsAt   *time.Time
}

func (p *placedGeneration) refusal() *Refusal {
	r := &Refusal{Why: p.Why, Needed: p.Needed, Available: p.Available, SpendLimit: p.SpendLimit, ResetsAt: p.ResetsAt}
	if p.Plan != nil {
		r.Plan = *p.Plan
	}
	return r
}

// What all submissions run, and what those with a monthly limit among them do.
var (
	insertGenerationsSQL = insertGenerations("", "SELECT NULL AS id, NULL AS batch_id LIMIT 0")
	insertLimitedSQL     = insertGenerations(takeUsage, "SELECT id, batch_id FROM refused")
)

// insertGenerations returns the statement. limits are CTEs that come before all that
// is locked, and refused is a query of those that they refuse, with id and batch_id.
func insertGenerations(limits, refused string) string {
	return `
		WITH taken AS MATERIALIZED (` + takenSQL + `
		), ` + limits + reserveCredits(refused) + `new AS MATERIALIZED (
			SELECT *, row_number() OVER (PARTITION BY org_id, queue ORDER BY id) AS place
			FROM (
				SELECT id, org_id, project_id, api_key_id, kind, test, simulated, model, model_used,
					prompt, params, n, metadata, tags, created_at, deadline_at, coalesce(queue, 'generate') AS queue, credits, batch_id,
					coalesce(asked.webhook_url, usual.webhook_url) AS webhook_url,
					CASE WHEN asked.webhook_url IS NULL THEN usual.webhook_events ELSE asked.webhook_events END AS webhook_events
				FROM json_populate_recordset(NULL::generation, @rows) AS asked
				LEFT JOIN LATERAL (
					SELECT project.webhook_url, project.webhook_events FROM project
					WHERE project.id = asked.project_id AND asked.webhook_url IS NULL
					LIMIT 1 -- which keeps it a look-up for each
				) AS usual ON true
			) AS r
			WHERE id NOT IN (SELECT generation_id FROM taken) AND id NOT IN (SELECT id FROM denied)
		), fleet AS MATERIALIZED (` + fleetSQL + `
		), wanted AS MATERIALIZED (
			SELECT w.org_id, w.queue, w.n, ` + capSQL + ` AS cap, ` + prioritySQL + ` AS priority
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
			SELECT new.*, place <= wanted.n - counted.held AS runs, priority, reserved.credit_micros, bill.period AS credit_period
			FROM new JOIN wanted USING (org_id, queue) JOIN counted USING (org_id, queue)
			LEFT JOIN bill ON bill.id = new.id LEFT JOIN reserved ON (reserved.org_id, reserved.period) = (bill.org_id, bill.period)
		), ticket AS (` + insertTickets("placed WHERE runs", queuedNow) + `
		), inserted AS (
			INSERT INTO generation (
				id, org_id, project_id, api_key_id, kind, status, test, simulated, model, model_used,
				prompt, params, n, metadata, tags, created_at, deadline_at, queue, held_at, river_job_id, webhook_url, webhook_events,
				credits, credit_micros, credit_period, batch_id)
			SELECT
				p.id, org_id, project_id, api_key_id, kind, 'queued', test, simulated, model, model_used,
				prompt, params, n, metadata, tags, created_at, deadline_at, p.queue,
				CASE WHEN NOT runs THEN created_at END, ticket.id, webhook_url, webhook_events,
				credits, credit_micros, credit_period, batch_id
			FROM placed AS p LEFT JOIN ticket ON ticket.generation_id = p.id
			RETURNING id, org_id, project_id, test, webhook_url, webhook_events, river_job_id, credit_micros, credit_period
		), ` + recordEvents(generationEvents("inserted", "'"+EventGenerationQueued+"'", "'"+stepQueued+"'"), "counted") + `, announced AS (` + announceTickets("ticket") + `
		)
		SELECT inserted.id, inserted.river_job_id AS ticket, inserted.webhook_url, inserted.webhook_events, credit_micros, credit_period,
			'' AS why, 0::bigint AS needed, 0::bigint AS available, NULL::bigint AS spend_limit, NULL::text AS plan, NULL::timestamptz AS resets_at
		FROM inserted, announced, errands_announced
		UNION ALL
		SELECT id, NULL, NULL, NULL, NULL, NULL, why, needed, available, spend_limit, plan, resets_at FROM denied`
}
