// Package jobs is how work enters the system: the arguments of every job and
// the functions that queue them, each in the transaction that makes them true.
package jobs

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"golang.org/x/sync/singleflight"

	"github.com/nanobanana/nanobanana/jobs/egress"
	"github.com/nanobanana/nanobanana/store"
)

// River queues. None belongs to a tenant.
const (
	QueueGenerate    = store.QueueGenerate
	QueueBatch       = store.QueueBatch
	QueueMaintenance = "maintenance" // nobody waits
)

// FetchCooldown is River's shortest time between two fetches of a queue. Its
// default of 100 ms caps throughput.
const FetchCooldown = 5 * time.Millisecond

// A Queue accepts work. It performs none.
type Queue struct {
	db      *store.DB
	river   *river.Client[pgx.Tx]
	submits *store.Committer[*submission, submitted]
	opening singleflight.Group // of organizations' periods
	opts    Options
}

// Options configure a Queue. DB is required.
type Options struct {
	DB *store.DB

	// LiveSimulated says that live keys run on the simulator too, because no
	// real provider is configured.
	LiveSimulated bool

	// Egress says which webhook_url a request may name. The zero value permits
	// public machines only.
	Egress egress.Policy

	// IdempotencyTTL is how long an idempotency key is kept at least; default 24 h.
	IdempotencyTTL time.Duration

	// Now is the clock; default time.Now.
	Now func() time.Time
}

// NewQueue returns a Queue. Close ends it.
func NewQueue(opts Options) (*Queue, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.IdempotencyTTL == 0 {
		opts.IdempotencyTTL = 24 * time.Hour
	}
	client, err := river.NewClient(riverpgxv5.New(opts.DB.Pool()), &river.Config{
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Schema: store.RiverSchema,
	})
	if err != nil {
		return nil, fmt.Errorf("make queue client: %w", err)
	}
	q := &Queue{db: opts.DB, river: client, opts: opts}
	// One lane: a second one halves the batches and gains nothing.
	q.submits = store.NewCommitter(store.CommitterOptions{}, q.submitBatch)
	return q, nil
}

// Close waits for submissions under way and refuses later ones.
func (q *Queue) Close() { q.submits.Close() }

// GenerateArgs ask a worker to run one generation. They carry the id alone:
// River rewrites its rows whole, and the generation's own row is the truth.
type GenerateArgs struct {
	GenerationID string `json:"id"`
}

// Kind names the job to River.
func (GenerateArgs) Kind() string { return store.TicketKind }

// InsertOpts are those of the tickets that the store makes.
func (GenerateArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueGenerate, MaxAttempts: store.TicketAttempts}
}
