package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/nanobanana/nanobanana/store"
)

var (
	// ErrIdempotencyKeyReused reports a key that made something else before.
	ErrIdempotencyKeyReused = errors.New("the idempotency key was used for a different request")
	// ErrIdempotencyInFlight reports a key whose first request is still being accepted.
	ErrIdempotencyInFlight = errors.New("a request with this idempotency key is being accepted")
)

// RouteGenerations is what the idempotency keys of generations are kept under.
const RouteGenerations = "generations"

// A Submission is a request by an authenticated caller.
type Submission struct {
	OrgID     string
	ProjectID string
	APIKeyID  string
	Test      bool // asked with a test key
	Request   GenerationRequest

	// KeyMonthly is how many generations the key may ask for in a calendar month
	// (UTC); nil: any number.
	KeyMonthly *int
	KeyUsage   string // what they are counted under (store.APIKey.Usage); default APIKeyID

	// Downgrades says that the organization's budget may lower the quality of its
	// pictures.
	Downgrades bool

	// IdempotencyKey, if not empty, makes repeated submissions one.
	IdempotencyKey string
}

// Accepted is a submission's generation, which an earlier one with the same
// idempotency key may have made.
type Accepted struct {
	Generation *store.Generation
	Replayed   bool
}

// submission is a validated Submission on its way into a shared transaction.
type submission struct {
	row *store.NewGeneration
	key *store.IdempotencyKey // nil without one
}

// SubmitGeneration records a generation and queues its run, with the claim of
// its idempotency key, in one transaction: all of it happens or none of it.
// Concurrent submissions share commits; each has an outcome of its own. The
// error may be an *InvalidError, a *QuotaError or a *CreditsError.
func (q *Queue) SubmitGeneration(ctx context.Context, s Submission) (*Accepted, error) {
	row, err := q.priced(ctx, &s)
	if err != nil {
		return nil, fmt.Errorf("submit generation: %w", err)
	}
	accepted, err := q.submitOpening(ctx, &submission{row: row, key: q.idempotencyKey(s, row, row.CreatedAt)})
	if err != nil {
		return nil, fmt.Errorf("submit generation: %w", err)
	}
	return accepted, nil
}

// newGeneration makes the row of a submission, if it is valid.
func (q *Queue) newGeneration(s *Submission) (*store.NewGeneration, error) {
	plan, faults := s.Request.resolve(q.opts.Egress)
	if len(faults) > 0 {
		return nil, &InvalidError{Faults: faults}
	}
	now := q.opts.Now().UTC().Truncate(time.Microsecond) // as Postgres keeps it
	row := &store.NewGeneration{
		ID:         store.NewGenerationID(),
		OrgID:      s.OrgID,
		ProjectID:  s.ProjectID,
		APIKeyID:   s.APIKeyID,
		Kind:       store.KindGenerate,
		Test:       s.Test,
		Simulated:  s.Test || q.opts.LiveSimulated,
		Model:      plan.model,
		ModelUsed:  plan.modelUsed,
		Prompt:     s.Request.Prompt,
		Params:     plan.params,
		N:          plan.n,
		Metadata:   s.Request.Metadata,
		Tags:       s.Request.Tags,
		CreatedAt:  now,
		DeadlineAt: now.Add(plan.deadline),
		Queue:      plan.queue,

		WebhookURL:    plan.webhookURL,
		WebhookEvents: plan.webhookEvents,

		KeyMonthly: s.KeyMonthly,
		KeyUsage:   s.KeyUsage,
	}
	if !s.Test {
		row.Credits = plan.n * plan.creditsEach
	}
	return row, nil
}

func (q *Queue) idempotencyKey(s Submission, row *store.NewGeneration, now time.Time) *store.IdempotencyKey {
	if s.IdempotencyKey == "" {
		return nil
	}
	return &store.IdempotencyKey{
		ProjectID:    s.ProjectID,
		Test:         s.Test,
		Route:        RouteGenerations,
		Key:          s.IdempotencyKey,
		OrgID:        s.OrgID,
		Fingerprint:  s.Request.fingerprint(),
		GenerationID: row.ID,
		ExpiresAt:    now.Add(q.opts.IdempotencyTTL),
	}
}

// submitted is what came of one submission of a batch.
type submitted struct {
	accepted *Accepted
	err      error
}

// submitBatch commits submissions together. Where a key is being taken by a
// transaction that does not end, the submissions with that key fail, and the
// others are committed without them.
func (q *Queue) submitBatch(ctx context.Context, batch []*submission) ([]submitted, error) {
	all := make([]int, len(batch))
	for i := range batch {
		all[i] = i
	}
	results := make([]submitted, len(batch))
	err := q.submitSome(ctx, batch, all, results)
	if !errors.Is(err, store.ErrKeyBusy) {
		return results, err
	}
	for _, group := range byKey(batch) {
		err := q.submitSome(ctx, batch, group, results)
		if err != nil && !errors.Is(err, store.ErrKeyBusy) {
			return nil, err
		}
		for _, i := range group {
			if err != nil {
				results[i] = submitted{err: ErrIdempotencyInFlight}
			}
		}
	}
	return results, nil
}

// byKey groups a batch: those without a key first, then those of each key.
func byKey(batch []*submission) [][]int {
	groups := [][]int{nil}
	place := map[ident]int{}
	for i, s := range batch {
		if s.key == nil {
			groups[0] = append(groups[0], i)
			continue
		}
		g, ok := place[keyOf(s)]
		if !ok {
			g = len(groups)
			place[keyOf(s)] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], i)
	}
	return groups
}

// submitSome commits the submissions with the given places in one transaction,
// and writes what came of them to the same places of results.
func (q *Queue) submitSome(ctx context.Context, batch []*submission, places []int, results []submitted) error {
	if len(places) == 0 {
		return nil
	}
	some := make([]*submission, len(places))
	for i, place := range places {
		some[i] = batch[place]
	}
	holders := map[ident]*store.IdempotencyKey{}
	var keys []*store.IdempotencyKey
	var rows []*store.NewGeneration
	for _, s := range some {
		if s.key != nil {
			if holders[keyOf(s)] != nil {
				continue
			}
			holders[keyOf(s)] = s.key
			keys = append(keys, s.key)
		}
		rows = append(rows, s.row)
	}
	held, err := q.db.SubmitGenerations(ctx, keys, rows)
	if err != nil {
		return err
	}
	for _, k := range held {
		holders[ident{project: k.ProjectID, route: k.Route, key: k.Key, test: k.Test}] = k
	}
	refused := map[string]*store.NewGeneration{}
	for _, row := range rows {
		if row.Refusal != nil {
			refused[row.ID] = row
		}
	}
	// What follows fails for one submission alone: the others are committed.
	for i, s := range some {
		first := s.row
		if s.key != nil {
			first = refused[holders[keyOf(s)].GenerationID]
		}
		if first != nil && first.Refusal != nil {
			results[places[i]] = submitted{err: refusalOf(s, first)}
			continue
		}
		if s.key != nil && holders[keyOf(s)].GenerationID != s.row.ID {
			results[places[i]] = q.replay(ctx, s, holders[keyOf(s)])
			continue
		}
		results[places[i]] = submitted{accepted: &Accepted{Generation: s.row.Row()}}
	}
	return nil
}

// ident is what makes two idempotency keys the same.
type ident struct {
	project, route, key string
	test                bool
}

func keyOf(s *submission) ident {
	return ident{project: s.key.ProjectID, route: s.key.Route, key: s.key.Key, test: s.key.Test}
}

// replay gives a submission that came second the generation of the first, if it
// asks for the same.
func (q *Queue) replay(ctx context.Context, s *submission, holder *store.IdempotencyKey) submitted {
	if !bytes.Equal(holder.Fingerprint, s.key.Fingerprint) {
		return submitted{err: ErrIdempotencyKeyReused}
	}
	g, err := q.db.Generation(ctx, s.row.ProjectID, holder.GenerationID)
	if err != nil {
		return submitted{err: err}
	}
	return submitted{accepted: &Accepted{Generation: g, Replayed: true}}
}

// CancelGeneration ends a live generation of a project and stops the run that
// is under way. An ended one is returned as it is.
func (q *Queue) CancelGeneration(ctx context.Context, projectID, id string) (*store.Generation, error) {
	if !store.ValidGenerationID(id) {
		return nil, fmt.Errorf("cancel generation: %w", store.ErrNotFound)
	}
	return cancelGeneration(ctx, q.river, q.db, projectID, id)
}

func cancelGeneration(ctx context.Context, client *river.Client[pgx.Tx], db *store.DB, projectID, id string) (*store.Generation, error) {
	var g *store.Generation
	err := db.Transact(ctx, func(tx *store.DB) error {
		var ended bool
		var err error
		g, ended, err = tx.CancelGeneration(ctx, projectID, id)
		if err != nil || !ended {
			return err
		}
		if g.RiverJobID == nil {
			return nil // it was held
		}
		_, err = client.JobCancelTx(ctx, tx.Tx(), *g.RiverJobID)
		if errors.Is(err, rivertype.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cancel generation: %w", err)
	}
	return g, nil
}

// RemoveGeneration cancels a generation of a project if it is live and takes
// the customer's data out of it; the blobs follow within the hour. It returns
// store.ErrNotFound for an unknown one.
func (q *Queue) RemoveGeneration(ctx context.Context, projectID, id string) error {
	if !store.ValidGenerationID(id) {
		return fmt.Errorf("remove generation: %w", store.ErrNotFound)
	}
	return RemoveGeneration(ctx, q.river, q.db, projectID, id)
}

// RemoveGeneration does so with a River client and a database of the caller's own,
// which has to know the caps of the plans.
func RemoveGeneration(ctx context.Context, client *river.Client[pgx.Tx], db *store.DB, projectID, id string) error {
	if _, err := cancelGeneration(ctx, client, db, projectID, id); err != nil {
		return err
	}
	return db.RemoveGeneration(ctx, projectID, id)
}
