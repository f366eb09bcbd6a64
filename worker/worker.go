// Package worker performs queued jobs: it calls the image providers, stores
// what they make, and finishes each generation in one transaction.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/imaging"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/egress"
	"github.com/nanobanana/nanobanana/jobs/mail"
	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
)

// Timeouts of a run.
const (
	// jobTimeout bounds one run: a slow image, its retry and its upload.
	jobTimeout = 8 * time.Minute
	// callTime is longer than the slowest call: none begins with less left.
	callTime = 200 * time.Second
	// finishPatience is how long a run's outcome waits for the database.
	finishPatience = 2 * time.Minute
	// rescueAfter is when River itself takes a run for dead: no run goes on so long.
	rescueAfter = jobTimeout + finishPatience + time.Minute
)

// Options configure a Worker. DB, QueueDB, Blobs, Simulator, Keyring and View are
// required.
type Options struct {
	DB      *store.DB // the application's connections
	QueueDB *store.DB // River's own connections to the same database
	Blobs   blobs.Store

	// Simulator makes what is asked with test keys, and what the front door has
	// marked as simulated. Each run has a chain of its own: the faults that one
	// customer asks for are nobody else's.
	Simulator providers.ChainOptions
	// Live makes the rest. Without routes such generations wait, and fail in
	// the end, for a worker that has some.
	Live providers.ChainOptions

	// Webhooks are signed with Keyring, tell what View shows with addresses below
	// BaseURL, and reach what Egress permits.
	Keyring *webhook.Keyring
	View    *view.Viewer
	BaseURL string
	Egress  egress.Policy

	// Mail takes mail to people, whose links lead below BaseURL. Default: a line in
	// Logger for each, without its link.
	Mail mail.Sender
	// KeepMailLinks keeps what the links of sent mails prove, for the page that shows
	// them to whoever develops the service.
	KeepMailLinks bool

	// Billing asks Stripe; nil: nobody is billed, and nothing that Stripe tells is read.
	Billing *billing.Client

	Imaging     *imaging.Converter // default: a budget of 256 MiB
	SpoolDir    string             // where images wait for storage; default os.TempDir
	Concurrency int                // interactive generations at the same time, and as many of their further images; default 50

	// BatchConcurrency is the same for batches, which have slots of their own;
	// default Concurrency.
	BatchConcurrency int

	// SpendAlert is what providers may cost in a day (UTC), of all organizations
	// together, in millionths of a US dollar, before operators are told of it; 0: they
	// are not.
	SpendAlert int64

	// FinishHold is how long an outcome that is written while its picture is being
	// stored waits for that, and others for it; default 50 ms.
	FinishHold time.Duration

	ID     string // of this process; default host name, process and a random part
	Logger *slog.Logger

	// DrainTimeout is how long Stop lets runs finish before it hands them
	// back to the queue; default 25 s.
	DrainTimeout time.Duration
	// Backoff is the wait after the nth failed run; default 1 s doubling to 30 s.
	Backoff func(n int) time.Duration
	// Ahead is how far the time that the webhooks' schedule and the periods of what is
	// billed go by is ahead of the database's; default not at all.
	Ahead func() time.Duration
}

func (o Options) withDefaults() Options {
	if o.SpoolDir == "" {
		o.SpoolDir = os.TempDir()
	}
	if o.Concurrency == 0 {
		o.Concurrency = 50
	}
	if o.BatchConcurrency == 0 {
		o.BatchConcurrency = o.Concurrency
	}
	if o.ID == "" {
		host, _ := os.Hostname() // a name for people; the random part tells workers apart
		o.ID = fmt.Sprintf("%s-%d-%s", host, os.Getpid(), uuid.NewString()[:8])
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Mail == nil {
		o.Mail = mail.Log{Logger: o.Logger}
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = 25 * time.Second
	}
	if o.Backoff == nil {
		o.Backoff = func(n int) time.Duration { return min(time.Second<<(n-1), 30*time.Second) }
	}
	if o.Ahead == nil {
		o.Ahead = func() time.Duration { return 0 }
	}
	if o.Imaging == nil {
		o.Imaging = imaging.NewConverter(imaging.ConverterOptions{Limits: limits})
	}
	return o
}

// A Worker works every kind of job.
type Worker struct {
	opts     Options
	river    *river.Client[pgx.Tx]
	live     *providers.Chain         // nil without routes
	news     news                     // of live's routes, for the fleet
	further  map[string]chan struct{} // by queue: bounds images beyond the first of each run
	unstored atomic.Int32             // pictures paid for that storage does not take now
	full     atomic.Bool              // the spool directory had no room for a picture
	stopping atomic.Bool              // work that nobody waits for is to be put off
	first    atomic.Bool              // of the living workers: what one is enough for is its own
	roll     roll
	progress progress
	ends     ends
	ahead    *store.Ahead
	pulse    pulse
	courier  *courier
	ending   context.CancelFunc // of the heartbeat and the watch
	ended    sync.WaitGroup
	claims   *store.Committer[store.Ticket, claimed]
	finishes *store.Committer[*store.Outcome, store.Finish]
}

// New returns a Worker. Start makes it work.
func New(opts Options) (*Worker, error) {
	opts = opts.withDefaults()
	w := &Worker{
		opts: opts, roll: roll{tickets: map[int64]*active{}}, news: news{wake: make(chan struct{}, 1)},
		progress: progress{runs: map[string]advance{}},
		further: map[string]chan struct{}{
			jobs.QueueGenerate: make(chan struct{}, opts.Concurrency),
			jobs.QueueBatch:    make(chan struct{}, opts.BatchConcurrency),
		},
	}
	if err := w.makeChains(); err != nil {
		return nil, fmt.Errorf("make worker: %w", err)
	}
	client, err := river.NewClient(riverpgxv5.New(opts.QueueDB.Pool()), w.riverConfig())
	if err != nil {
		return nil, fmt.Errorf("make worker: %w", err)
	}
	w.river = client
	w.courier = newCourier(w)
	w.ahead = opts.DB.NewAhead(store.AheadOptions{Hold: opts.FinishHold})
	w.claims = store.NewCommitter(store.CommitterOptions{MaxBatch: 128}, w.claimBatch)
	w.finishes = store.NewCommitter(store.CommitterOptions{MaxBatch: 128}, w.finishBatch)
	return w, nil
}

// riverConfig is how the queue's client runs.
func (w *Worker) riverConfig() *river.Config {
	return &river.Config{
		ID:                          w.opts.ID,
		Logger:                      slog.New(quiet{w.opts.Logger.Handler()}),
		Schema:                      store.RiverSchema,
		Workers:                     w.kinds(),
		ErrorHandler:                failures{w},
		PeriodicJobs:                schedule(),
		FetchCooldown:               jobs.FetchCooldown,
		FetchPollInterval:           500 * time.Millisecond,
		JobTimeout:                  jobTimeout,
		RescueStuckJobsAfter:        rescueAfter,
		SoftStopTimeout:             w.opts.DrainTimeout,
		CompletedJobRetentionPeriod: time.Hour,
		CancelledJobRetentionPeriod: 24 * time.Hour,
		DiscardedJobRetentionPeriod: 30 * 24 * time.Hour,
		ReindexerIndexNames:         []string{"river_job_prioritized_fetching_index", "river_job_state_and_finalized_at_index"},
		Queues: map[string]river.QueueConfig{
			jobs.QueueGenerate:    {MaxWorkers: w.opts.Concurrency},
			jobs.QueueBatch:       {MaxWorkers: w.opts.BatchConcurrency},
			jobs.QueueWebhook:     {MaxWorkers: deliverSlots},
			jobs.QueueMaintenance: {MaxWorkers: 2},
			jobs.QueueMedia:       {MaxWorkers: 1},
			jobs.QueueMail:        {MaxWorkers: mailSlots},
			jobs.QueueBilling:     {MaxWorkers: 2},
		},
	}
}

// kinds are the kinds of jobs, each with what works it.
func (w *Worker) kinds() *river.Workers {
	workers := river.NewWorkers()
	river.AddWorker(workers, &generate{w: w})
	river.AddWorker(workers, &deliver{w: w})
	river.AddWorker(workers, &deriveImages{w: w})
	river.AddWorker(workers, &eraseOrg{w: w})
	river.AddWorker(workers, &eraseOrgs{w: w})
	river.AddWorker(workers, &expireEvents{w: w})
	river.AddWorker(workers, &expireImages{w: w})
	river.AddWorker(workers, &expireMails{w: w})
	river.AddWorker(workers, &expireSessions{w: w})
	river.AddWorker(workers, &expireRequests{w: w})
	river.AddWorker(workers, &expireBilling{w: w})
	river.AddWorker(workers, &handleStripeEvent{w: w})
	river.AddWorker(workers, &lapseKeys{w: w})
	river.AddWorker(workers, &reconcile{w: w})
	river.AddWorker(workers, &reportUsage{w: w})
	river.AddWorker(workers, &sendMail{w: w})
	river.AddWorker(workers, &syncBilling{w: w})
	river.AddWorker(workers, &warnKeys{w: w})
	river.AddWorker(workers, &warnSpending{w: w})
	river.AddWorker(workers, &checkSpending{w: w})
	return workers
}

// claimed is a claim and the call that was announced with it.
type claimed struct {
	*store.Claim
	announced providers.Call
}

// claimBatch claims the tickets' generations together, and announces for the first
// image of a first claim the call that would be made now.
func (w *Worker) claimBatch(ctx context.Context, tickets []store.Ticket) ([]claimed, error) {
	announced := w.firstCalls()
	by := store.Claimer{Worker: w.opts.ID, Calls: map[string]store.NewAttempt{}}
	for key, call := range announced {
		by.Calls[key] = store.NewAttempt{Route: call.Route, Provider: call.Provider, Model: call.Upstream}
	}
	claims, err := w.opts.DB.ClaimGenerations(ctx, by, tickets)
	if err != nil {
		return nil, err
	}
	out := make([]claimed, len(claims))
	for i, c := range claims {
		out[i].Claim = c
		if c != nil {
			out[i].announced = announced[store.CallKey(c.Simulated, c.ModelUsed)]
		}
	}
	return out, nil
}

// finishBatch writes outcomes together.
func (w *Worker) finishBatch(ctx context.Context, outcomes []*store.Outcome) ([]store.Finish, error) {
	return w.opts.DB.FinishGenerations(ctx, w.sender(), outcomes)
}

// sender is this worker as the one that attempts at once what it causes to be sent.
func (w *Worker) sender() store.Sender {
	return store.Sender{Worker: w.opts.ID, Net: netAfter + w.opts.Ahead()}
}

// ID names this worker in the rows it writes.
func (w *Worker) ID() string { return w.opts.ID }

// Start begins to work, once it has seen that pictures can be kept: what can not
// be stored must not be bought. The work goes on until Stop.
func (w *Worker) Start(ctx context.Context) error {
	if err := w.opts.Blobs.Check(ctx); err != nil {
		return fmt.Errorf("check image storage: %w", err)
	}
	if err := w.probeSpool(); err != nil {
		return fmt.Errorf("check spool directory: %w", err)
	}
	conn := w.opts.DB.NewPulse()
	// Whoever takes a ticket must be known, or nobody would miss it.
	if err := w.beatOnce(ctx, conn); err != nil {
		return fmt.Errorf("start worker: %w", err)
	}
	beating, end := context.WithCancel(context.WithoutCancel(ctx))
	w.ending = end
	w.ended.Go(func() { w.keepBeating(beating, conn) })
	w.ended.Go(func() { w.keepWatch(beating) })
	w.ended.Go(func() { w.keepReleasing(beating) })
	w.ended.Go(func() { w.tellFleet(beating) })
	w.ended.Go(func() { w.tellProgress(beating) })
	if w.inPlace() {
		w.rehearseNow(ctx)
	}
	if err := w.river.Start(context.WithoutCancel(ctx)); err != nil {
		w.ahead.Close(ctx)
		end()
		w.ended.Wait()
		return fmt.Errorf("start worker: %w", err)
	}
	return nil
}

// Stop takes no more jobs, lets those under way finish for DrainTimeout, hands
// the rest back to the queue, and returns when all have ended or ctx has.
func (w *Worker) Stop(ctx context.Context) error {
	w.stopping.Store(true)
	w.courier.places.close() // what waits there is for others to send
	err := w.river.Stop(ctx)
	w.claims.Close()
	w.finishes.Close()
	w.ahead.Close(ctx)
	w.courier.close(ctx)
	// The heart beats to the last, or others would take over what still runs.
	if w.ending != nil {
		w.ending()
		w.ended.Wait()
		w.tellRest(ctx)
	}
	if err == nil {
		err = w.signOff(ctx)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("stop worker: %w", err)
	}
	return nil
}

// signOff leaves nothing behind that others would have to find out about.
func (w *Worker) signOff(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_, err := w.opts.DB.HurryErrands(ctx, []string{w.opts.ID}, netAfter+w.opts.Ahead())
	return errors.Join(err, w.opts.DB.RemoveWorker(ctx, w.opts.ID))
}

// quiet passes River's warnings and errors on and drops its chatter, and what it
// complains of only because it is being stopped.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && q.Handler.Enabled(ctx, level)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	stopping := false
	r.Attrs(func(a slog.Attr) bool {
		stopping = strings.Contains(a.Value.String(), context.Canceled.Error())
		return !stopping
	})
	if stopping {
		return nil
	}
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }

func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }
