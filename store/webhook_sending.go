package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Sending is everything that one attempt of a delivery needs.
type Sending struct {
	Errand
	OrgID     string
	ProjectID string
	Tries     int // attempts before this one since it was last queued
	Event     Event

	URL      string // empty where the customer has taken it back
	Revision int    // of the endpoint
	Stopped  bool   // the endpoint is disabled or deleted: nothing is sent
	Failing  bool   // the endpoint's latest attempt failed

	Secrets [][]byte // sealed, those that have not expired, newest first

	// Of the generation that the event is of, if any.
	Generation *Generation
	Images     []*Image
	Calls      []*Attempt
	Told       int // attempts to tell its webhook_url so far
}

// Scope is that of the key which caused the event.
func (s *Sending) Scope() Scope {
	return Scope{OrgID: s.OrgID, ProjectID: s.ProjectID, Test: s.Event.Test}
}

// SecretOwner is whose secrets sign the delivery: the endpoint's own, or for a
// webhook_url those of the project and mode.
func (s *Sending) SecretOwner() string {
	if s.EndpointID == EndpointRequest {
		return s.Scope().SecretOwner()
	}
	return s.EndpointID
}

// sendingRow is what one row tells of a Sending.
type sendingRow struct {
	EndpointID     string
	EventID        string
	Ticket         int64
	OrgID          string
	ProjectID      string
	Tries          int
	Sequence       int64
	Type           string
	Test           bool
	EventCreatedAt time.Time
	Data           []byte
	URL            *string
	Revision       int
	Stopped        bool
	Failing        bool
	Secrets        [][]byte
	Told           int
}

// The lists are selected, so that Postgres does not know how long they are when it
// plans. Of a short list it would find a plan for it cheaper than one for all, and
// make a new one each time, which takes far longer than the look-ups. The one for
// all is good for any table: it has nothing but look-ups, each by itself.

// errandsNamed are the errands that were read before.
const errandsNamed = `
			SELECT * FROM unnest((SELECT @endpoints::text[]), (SELECT @events::text[]), (SELECT @tickets::bigint[]))
				AS t (endpoint_id, event_id, ticket)`

// errandsOf are the errands of events that this transaction has recorded, and that
// are to be sent at once.
const errandsOf = `
			SELECT p.endpoint_id, t.event_id, w.ticket
			FROM unnest((SELECT @events::text[])) AS t (event_id),
			LATERAL (SELECT org_id, project_id FROM event WHERE id = t.event_id OFFSET 0) AS e,
			LATERAL (
				SELECT id AS endpoint_id FROM webhook_endpoint AS p WHERE p.project_id = e.project_id AND p.deleted_at IS NULL
				UNION ALL
				SELECT id FROM webhook_endpoint AS p WHERE p.org_id = e.org_id AND p.project_id IS NULL AND p.deleted_at IS NULL
				UNION ALL
				SELECT '` + EndpointRequest + `'
			) AS p,
			LATERAL (
				SELECT ticket FROM webhook_delivery
				WHERE endpoint_id = p.endpoint_id AND event_id = t.event_id AND sender IS NOT NULL
				OFFSET 0
			) AS w`

// toldSQL counts the attempts to tell the webhook_url of the generation that d is of, if
// it is of one.
// The endpoint is selected, so that the primary key is read and not the index of a
// project's deliveries to it, of which an event's place is not known.
const toldSQL = `
				SELECT coalesce(sum(w.attempts), 0)::int
				FROM unnest(string_to_array('` + stepQueued + stepStarted + stepProgress + stepEnded + `', NULL)) AS step, LATERAL (
					SELECT attempts FROM webhook_delivery
					WHERE endpoint_id = (SELECT @request::text) AND event_id = left(d.event_id, -1) || step
					OFFSET 0
				) AS w`

// sendingsSQL reads the deliveries that errands, a query, names.
func sendingsSQL(errands string) string {
	return `
		SELECT d.endpoint_id, d.event_id, d.ticket, d.org_id, d.project_id, d.tries,
			e.sequence, e.type, e.test, e.created_at AS event_created_at, e.data,
			p.url, coalesce(p.revision, 0) AS revision, coalesce(p.disabled_at IS NOT NULL OR p.deleted_at IS NOT NULL, false) AS stopped,
			coalesce(p.failing_since IS NOT NULL, false) AS failing,
			ARRAY(
				SELECT sealed FROM webhook_secret
				WHERE owner = CASE d.endpoint_id
						WHEN '` + EndpointRequest + `' THEN d.project_id || CASE WHEN e.test THEN '` + ofTestKeys + `' ELSE '' END
						ELSE d.endpoint_id END
					AND (expires_at IS NULL OR expires_at > now())
				ORDER BY n DESC
			) AS secrets, (` + toldSQL + `) AS told
		FROM (` + errands + `
		) AS t
		CROSS JOIN LATERAL (
			SELECT * FROM webhook_delivery AS w
			WHERE w.endpoint_id = t.endpoint_id AND w.event_id = t.event_id AND w.ticket = t.ticket AND w.state = 'pending'
			OFFSET 0
		) AS d
		CROSS JOIN LATERAL (SELECT * FROM event WHERE id = d.event_id OFFSET 0) AS e
		LEFT JOIN LATERAL (SELECT * FROM webhook_endpoint WHERE id = d.endpoint_id OFFSET 0) AS p ON true`
}

// A generation's images are neighbours in the primary key. Each range is looked up
// by itself: for a join of a few the whole table would be read, since no plan knows
// how short they are.
var sendingImagesSQL = `
		SELECT i.*
		FROM unnest((SELECT @first_images::text[]), (SELECT @last_images::text[])) AS r (low, high), LATERAL (
			SELECT ` + imageColumns + ` FROM image
			WHERE id BETWEEN r.low AND r.high
			LIMIT ` + strconv.Itoa(MaxImages) + `
		) AS i
		ORDER BY i.id`

var sendingGenerationsSQL = `
		SELECT g.*
		FROM unnest((SELECT @generations::text[])) AS t (id), LATERAL (
			SELECT ` + generationColumns + ` FROM generation WHERE generation.id = t.id OFFSET 0
		) AS g`

var sendingCallsSQL = `
		SELECT a.*
		FROM unnest((SELECT @generations::text[])) AS t (id), LATERAL (
			SELECT ` + columns[Attempt]("") + ` FROM attempt WHERE attempt.generation_id = t.id OFFSET 0
		) AS a
		ORDER BY a.generation_id, a.n`

// sendingRows are what Sendings are put together from.
type sendingRows struct {
	rows        []*sendingRow
	generations []*Generation
	images      []*Image
	calls       []*Attempt
}

var sendingsNamed, sendingsOf = sendingsSQL(errandsNamed), sendingsSQL(errandsOf)

// queue adds the queries that read them: deliveries is one of the two above.
func (r *sendingRows) queue(batch *pgx.Batch, deliveries string, args pgx.NamedArgs) {
	queueMany(batch, deliveries, args, &r.rows)
	queueMany(batch, sendingGenerationsSQL, args, &r.generations)
	queueMany(batch, sendingImagesSQL, args, &r.images)
	queueMany(batch, sendingCallsSQL, args, &r.calls)
}

// Sendings reads what attempts of deliveries need, of any project, in one round
// trip. The result has one entry per errand, nil for one that is over: its
// delivery has ended, or another ticket is to attempt it.
func (db *DB) Sendings(ctx context.Context, errands []Errand) ([]*Sending, error) {
	var r sendingRows
	var batch pgx.Batch
	r.queue(&batch, sendingsNamed, errandArgs(errands))
	if err := db.q.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, fmt.Errorf("read deliveries: %w", err)
	}
	return r.sendings(errands), nil
}

// queueMany adds a hot query whose rows are collected into list.
func queueMany[T any](batch *pgx.Batch, sql string, args pgx.NamedArgs, list *[]*T) {
	batch.Queue(sql, hot(args)).Query(func(rows pgx.Rows) (err error) {
		*list, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[T])
		return err
	})
}

// errandArgs are the errands by columns, and the ids of their generations.
func errandArgs(errands []Errand) pgx.NamedArgs {
	n := len(errands)
	endpoints, events, tickets := make([]string, n), make([]string, n), make([]int64, n)
	generations, first, last := []string{}, []string{}, []string{}
	seen := map[string]bool{}
	for i, e := range errands {
		endpoints[i], events[i], tickets[i] = e.EndpointID, e.EventID, e.Ticket
		if id, ok := GenerationOfEvent(e.EventID); ok && !seen[id] {
			seen[id] = true
			generations = append(generations, id)
			first, last = append(first, ImageID(id, 0)), append(last, ImageID(id, MaxImages-1))
		}
	}
	return pgx.NamedArgs{
		"endpoints": endpoints, "events": events, "tickets": tickets,
		"generations": generations, "first_images": first, "last_images": last, "request": EndpointRequest,
	}
}

// sendings puts together what belongs together, in the order of the errands.
func (r *sendingRows) sendings(errands []Errand) []*Sending {
	byID := make(map[string]*Generation, len(r.generations))
	for _, g := range r.generations {
		byID[g.ID] = g
	}
	imagesOf, callsOf := map[string][]*Image{}, map[string][]*Attempt{}
	for _, i := range r.images {
		imagesOf[i.GenerationID] = append(imagesOf[i.GenerationID], i)
	}
	for _, c := range r.calls {
		callsOf[c.GenerationID] = append(callsOf[c.GenerationID], c)
	}
	found := make(map[Errand]*Sending, len(r.rows))
	for _, row := range r.rows {
		s := row.sending()
		if id, ok := GenerationOfEvent(row.EventID); ok && byID[id] != nil && byID[id].ProjectID == row.ProjectID {
			s.Generation, s.Images, s.Calls = byID[id], imagesOf[id], callsOf[id]
			if s.EndpointID == EndpointRequest && s.Generation.WebhookURL != nil {
				s.URL = *s.Generation.WebhookURL
			}
		}
		found[s.Errand] = s
	}
	list := make([]*Sending, len(errands))
	for i, e := range errands {
		list[i] = found[e]
		delete(found, e) // the same errand twice is one
	}
	return list
}

func (r *sendingRow) sending() *Sending {
	s := &Sending{
		Errand: Errand{EndpointID: r.EndpointID, EventID: r.EventID, Ticket: r.Ticket},
		OrgID:  r.OrgID, ProjectID: r.ProjectID, Tries: r.Tries,
		Event: Event{
			ID: r.EventID, OrgID: r.OrgID, ProjectID: r.ProjectID, Sequence: r.Sequence, Type: r.Type, Test: r.Test,
			CreatedAt: r.EventCreatedAt, Data: r.Data,
		},
		Revision: r.Revision, Stopped: r.Stopped, Failing: r.Failing, Secrets: r.Secrets, Told: r.Told,
	}
	if r.URL != nil {
		s.URL = *r.URL
	}
	return s
}
