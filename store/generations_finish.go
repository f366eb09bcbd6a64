package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// An Outcome is what a run of a generation came to. Status is terminal, or
// StatusQueued for a run that is to be repeated: what it has made is kept.
type Outcome struct {
	GenerationID string            `json:"id"`
	Fence        int               `json:"fence"`
	Status       Status            `json:"status"`
	Error        *GenerationError  `json:"error"`
	ImageErrors  []ImageError      `json:"image_errors"`
	CountsTry    bool              `json:"counts_try"` // the run ended in a fault that uses up a try
	Orphans      bool              `json:"orphans"`    // it may have stored blobs that have no row
	ModelUsed    string            `json:"model_used"` // of the catalogue, where a substitute made the images
	Unmade       bool              `json:"unmade"`     // the call that the first claim announced was never made, nor any other
	Charge       *int              `json:"charge"`     // credits at most, of all its images; nil: their shares of the reserved
	Told         bool              `json:"-"`          // customers are told of it as far as the claim knows: what that takes is read at once
	Images       []*NewImage       `json:"-"`
	Attempts     []*AttemptOutcome `json:"-"`
}

// A NewImage is a stored image of a run.
type NewImage struct {
	ID           string `json:"id"`
	GenerationID string `json:"generation_id"`
	Index        int    `json:"idx"`
	BlobKey      string `json:"blob_key"`
	MediaType    string `json:"media_type"`
	Bytes        int64  `json:"bytes"`
	Width        int    `json:"width"`
	Height       int    `json:"height"`
	SHA256       Bytes  `json:"sha256"`

	// What was stored beside the image, as Image has it. An image without a
	// ThumbHash is due for ClaimDerivations.
	Thumbhash      *Bytes  `json:"thumbhash"`
	ThumbnailType  *string `json:"thumbnail_type"`
	OriginalType   *string `json:"original_type"`
	OriginalBytes  *int64  `json:"original_bytes"`
	OriginalSHA256 *Bytes  `json:"original_sha256"`

	Credits *int `json:"credits"` // as Image has it
}

var finishSQL = `
		WITH outcome AS (
			SELECT * FROM json_to_recordset(@outcomes) AS o (
				id text, fence int, status text, error jsonb, image_errors jsonb, counts_try boolean, orphans boolean,
				model_used text, unmade boolean, charge int)
		), finished AS (
			UPDATE generation AS g
			SET status = o.status,
				error = o.error,
				image_errors = o.image_errors,
				model_used = coalesce(nullif(o.model_used, ''), g.model_used),
				tries = g.tries + o.counts_try::int,
				attempts = g.attempts - CASE WHEN o.unmade THEN (
					SELECT count(*) FROM attempt AS a WHERE a.generation_id = g.id AND a.outcome IS NULL
				)::int ELSE 0 END,
				finished_at = CASE WHEN o.status <> 'queued' THEN now() END,
				purge_at = CASE WHEN o.orphans THEN now() + @purge_after ELSE g.purge_at END,
				charged = CASE WHEN o.status <> 'queued' THEN ` + chargedSQL("g", "o.status", "o.image_errors", "o.charge") + ` END
			FROM outcome AS o
			WHERE g.id = o.id AND g.fence = o.fence AND g.status = 'processing'
			RETURNING ` + endedColumns + `, g.queue, g.held_at, g.test, g.webhook_url, g.webhook_events, o.unmade
		), stored AS (
			INSERT INTO image (id, generation_id, org_id, project_id, idx, blob_key, media_type,
				bytes, width, height, sha256, created_at, expires_at,
				thumbhash, thumbnail_type, original_type, original_bytes, original_sha256, credits, derive_at)
			SELECT i.id, f.id, f.org_id, f.project_id, i.idx, i.blob_key, i.media_type,
				i.bytes, i.width, i.height, i.sha256, now(), now() + make_interval(days => least(org.retention_days, (
					-- A look-up: a join would read a young table whole.
					SELECT retention_days FROM project WHERE project.id = f.project_id))),
				i.thumbhash, i.thumbnail_type, i.original_type, i.original_bytes, i.original_sha256, i.credits,
				CASE WHEN i.thumbhash IS NULL THEN now() END
			FROM json_populate_recordset(NULL::image, @images) AS i
			JOIN finished AS f ON f.id = i.generation_id
			JOIN org ON org.id = f.org_id
			ON CONFLICT (id) DO NOTHING
		), ended AS (` + endAttempts("finished") + `
		), unmade AS (
			DELETE FROM attempt AS a
			USING finished AS f
			WHERE f.unmade AND a.generation_id = f.id AND a.outcome IS NULL
		), unheard AS (
			UPDATE attempt AS a
			SET outcome = 'ambiguous', finished_at = now()
			FROM finished AS f
			WHERE f.status <> 'queued' AND NOT f.unmade AND a.generation_id = f.id AND a.outcome IS NULL
				AND (a.generation_id, a.n) NOT IN (SELECT generation_id, n FROM json_populate_recordset(NULL::attempt, @attempts))
		), ` + settleCredits("SELECT * FROM finished WHERE status <> 'queued'", true) + `, freed AS (` + leaveSQL("finished WHERE status <> 'queued' AND "+accountsLocked) + `
		), ` + recordEvents(generationEvents("finished WHERE status <> 'queued'", "'generation.' || status", "'"+stepEnded+"'"), "freed") + `, told AS (
			SELECT pg_notify(@channel, string_agg(id, ',')) FROM finished
			WHERE status <> 'queued' HAVING count(*) > 0
		)
		SELECT finished.id, delivery.endpoint_id, delivery.event_id, delivery.ticket,
			EXISTS (SELECT FROM freed WHERE held > 0) AS held
		FROM finished
		LEFT JOIN delivery ON at_once AND delivery.event_id = ` + eventOf("finished.id", "'"+stepEnded+"'") + `
		LEFT JOIN told ON true, errands_announced`

// FinishGenerations writes the outcomes of several runs, all or none: states,
// images, attempts, the news of it with its deliveries, and the runs of those whose
// turn it now is: an organization's next held ones take the places of its ended
// ones. It refuses two outcomes of one generation: only one of them can be the
// rightful one's.
func (db *DB) FinishGenerations(ctx context.Context, by Sender, outcomes []*Outcome) ([]Finish, error) {
	var batch pgx.Batch // one transaction, one round trip
	f, err := queueFinish(&batch, by, outcomes)
	if err != nil {
		return nil, fmt.Errorf("finish generations: %w", err)
	}
	batch.Queue(admitNextSQL, hot(db.admitNextArgs(terminal(outcomes))))
	if err := db.q.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, fmt.Errorf("finish generations: %w", err)
	}
	return f.finishes(), nil
}

// A finishing is a batch that writes outcomes, and what it returns.
type finishing struct {
	outcomes []*Outcome
	finished []finishedRow
	reads    sendingRows
}

// queueFinish adds what writes outcomes to a batch. What admits the generations whose
// turn it is then is to follow.
func queueFinish(batch *pgx.Batch, by Sender, outcomes []*Outcome) (*finishing, error) {
	args, err := finishArgs(outcomes)
	if err != nil {
		return nil, err
	}
	f := &finishing{outcomes: outcomes}
	batch.Queue(finishSQL, hot(withDeliveriesBy(args, by))).Query(func(rows pgx.Rows) error {
		f.finished, err = pgx.CollectRows(rows, pgx.RowToStructByName[finishedRow])
		return err
	})
	if events := toldEvents(outcomes); len(events) > 0 {
		f.reads.queue(batch, sendingsOf, errandArgs(events))
	}
	return f, nil
}

// finishes tells what came of each outcome, once the batch has been sent.
func (f *finishing) finishes() []Finish {
	finishes := matches(f.outcomes, f.finished)
	f.reads.share(finishes)
	return finishes
}

// share gives each finish what its errands take.
func (r *sendingRows) share(finishes []Finish) {
	var all []Errand
	for _, f := range finishes {
		all = append(all, f.Errands...)
	}
	sendings := r.sendings(all)
	for i := range finishes {
		n := len(finishes[i].Errands)
		finishes[i].Sendings, sendings = sendings[:n:n], sendings[n:]
	}
}

// toldEvents are the ends that customers are told of, as errands without an
// endpoint.
func toldEvents(outcomes []*Outcome) (events []Errand) {
	for _, o := range outcomes {
		if o.Told && o.Status.Terminal() {
			ids := eventIDs(o.GenerationID)
			events = append(events, Errand{EventID: ids[len(ids)-1]})
		}
	}
	return events
}

func finishArgs(outcomes []*Outcome) (pgx.NamedArgs, error) {
	var images []*NewImage
	var attempts []*AttemptOutcome
	seen := make(map[string]bool, len(outcomes))
	for _, o := range outcomes {
		if seen[o.GenerationID] {
			return nil, fmt.Errorf("two outcomes of %s", o.GenerationID)
		}
		seen[o.GenerationID] = true
		images = append(images, o.Images...)
		attempts = append(attempts, o.Attempts...)
	}
	args, err := jsonArgs(map[string]any{"outcomes": outcomes, "images": images, "attempts": attempts})
	if err != nil {
		return nil, err
	}
	args["channel"], args["purge_after"] = channelGeneration, PurgeAfter
	return args, nil
}

// Finished reports whether a generation stands as an outcome left it, for a
// caller that did not hear whether its outcome was written.
func (db *DB) Finished(ctx context.Context, o *Outcome) (bool, error) {
	rows, err := db.q.Query(ctx, `
		SELECT FROM generation
		WHERE id = @id AND fence = @fence AND status = @status`,
		pgx.NamedArgs{"id": o.GenerationID, "fence": o.Fence, "status": string(o.Status)})
	if err != nil {
		return false, fmt.Errorf("look up outcome of %s: %w", o.GenerationID, err)
	}
	found := rows.Next()
	rows.Close()
	if err := rows.Err(); err != nil {
		return false, fmt.Errorf("look up outcome of %s: %w", o.GenerationID, err)
	}
	return found, nil
}

// terminal returns the generations that are to end.
func terminal(outcomes []*Outcome) []string {
	var ids []string
	for _, o := range outcomes {
		if o.Status.Terminal() {
			ids = append(ids, o.GenerationID)
		}
	}
	return ids
}

// A Finish is what came of writing an outcome.
type Finish struct {
	// Own reports whether the run still had the right to write. Where it had not,
	// nothing was written.
	Own bool
	// Errands are the deliveries that the sender is to attempt at once, and Sendings
	// what that takes, as far as it was read: nil where it was not.
	Errands  []Errand
	Sendings []*Sending
}

// finishedRow is a generation that was written, once for each of its errands.
type finishedRow struct {
	ID         string
	EndpointID *string
	EventID    *string
	Ticket     *int64
	Held       bool // others of the ended ones' organizations wait for their turn
}

// matches tells for each outcome what came of it.
func matches(outcomes []*Outcome, finished []finishedRow) []Finish {
	of := make(map[string]Finish, len(outcomes))
	for _, row := range finished {
		f := of[row.ID]
		f.Own = true
		if row.Ticket != nil {
			f.Errands = append(f.Errands, Errand{EndpointID: *row.EndpointID, EventID: *row.EventID, Ticket: *row.Ticket})
		}
		of[row.ID] = f
	}
	own := make([]Finish, len(outcomes))
	for i, o := range outcomes {
		own[i] = of[o.GenerationID]
	}
	return own
}

// PurgeAfter is how long after the end of a run its blobs without a row are
// looked for. It is longer than any run goes on unnoticed.
const PurgeAfter = 15 * time.Minute

// jsonArgs encodes each value for json_to_recordset; a nil slice is no rows.
func jsonArgs(values map[string]any) (pgx.NamedArgs, error) {
	args := pgx.NamedArgs{}
	for name, value := range values {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		if string(text) == "null" {
			text = []byte("[]")
		}
		args[name] = string(text)
	}
	return args, nil
}
