package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/imaging"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
)

// generate runs generations. River's row is only a ticket: the run claims the
// generation's own row, and writes nothing once it has lost the claim.
type generate struct {
	river.WorkerDefaults[jobs.GenerateArgs]
	w *Worker
}

// A run is one claimed generation under way.
type run struct {
	w         *Worker
	claim     *store.Claim
	model     providers.Model
	chain     *providers.Chain
	announced providers.Call // the call that the first claim has recorded, of image 0

	earlier int      // images that earlier runs have made
	owed    int      // credits, for these
	lead    int      // the image whose place is the run's own
	only    bool     // no other image is missing
	aside   *storing // the picture that is stored while the run ends; nil: none
	ahead   bool     // its outcome was written meanwhile

	mu        sync.Mutex
	images    []*store.NewImage
	attempts  []*store.AttemptOutcome
	refused   []store.ImageError // all for which nobody is to be asked again
	unknown   map[int]int        // by image: calls of this run that ended nobody knows how
	modelUsed map[int]string     // by image: the model that made it
}

// NextRetry is for a run that could not begin or be written down: the database
// was away.
func (g *generate) NextRetry(job *river.Job[jobs.GenerateArgs]) time.Time {
	return time.Now().Add(g.w.opts.Backoff(min(job.Attempt, 10)))
}

// Work runs one generation. It returns nil for whatever the generation itself
// came to, a snooze to run it again, and an error that wraps the context's when
// the worker is being stopped.
func (g *generate) Work(ctx context.Context, job *river.Job[jobs.GenerateArgs]) error {
	began := time.Now()
	queueCtx := ctx // ends when the queue wants the run to end
	ctx, here, leave := g.w.roll.enter(ctx, job.ID)
	defer leave()
	// A claim is seen through even when the worker is being stopped: one that
	// is committed but not heard of would have to be taken for a lost run.
	claimed, err := g.w.claims.Do(context.WithoutCancel(ctx), store.Ticket{GenerationID: job.Args.GenerationID, RiverJobID: job.ID})
	if err != nil {
		return fmt.Errorf("claim %s: %w", job.Args.GenerationID, err)
	}
	claim := claimed.Claim
	if claim == nil {
		return g.expire(ctx, job.Args.GenerationID)
	}
	logger := g.w.opts.Logger.With("generation", claim.ID, "project", claim.ProjectID, "fence", claim.Fence)
	g.w.roll.claimed(here, claim)
	r := &run{w: g.w, claim: claim, announced: claimed.announced, unknown: map[int]int{}, modelUsed: map[int]string{}}
	verdicts, err := r.drawAll(ctx)
	if err != nil {
		return fmt.Errorf("run %s: %w", claim.ID, err)
	}
	outcome, again, own, err := r.end(ctx, verdicts)
	if own && outcome.Status.Terminal() {
		g.w.forget(claim.ID, claim.N)
	}
	status := outcome.Status
	if !own && err == nil {
		status = "superseded" // canceled, or claimed by another run
	}
	logger.Info("generation ran", "status", status, "code", code(outcome.Error), "images", len(outcome.Images),
		"calls", len(outcome.Attempts), "again_in", again, "ahead", r.ahead, "ms", time.Since(began).Milliseconds())
	switch {
	case err != nil && !errors.Is(context.Cause(ctx), errLost):
		return fmt.Errorf("finish %s: %w", claim.ID, err)
	case errors.Is(queueCtx.Err(), context.Canceled) && !outcome.Status.Terminal():
		// River takes the chain to the context's error for a stop or a cancel
		// of its own, and burns no attempt. The run goes behind what has come
		// since: in its old place the next of many workers that are stopped one
		// after another would take it at once, and cut its call off again.
		return fmt.Errorf("run of %s interrupted: %w", claim.ID, queueCtx.Err())
	case own && outcome.Status == store.StatusQueued:
		return river.JobSnooze(again)
	}
	return nil
}

// expire ends a generation that can not be claimed because it came too late. Its ticket
// stays until that is written.
func (g *generate) expire(ctx context.Context, id string) error {
	expired, err := g.w.opts.DB.ExpireGeneration(ctx, id)
	if expired {
		g.w.opts.Logger.Info("generation had not begun by its deadline", "generation", id)
	}
	return err
}

func code(e *store.GenerationError) string {
	if e == nil {
		return ""
	}
	return e.Code
}

// finish writes a run's outcome, again and again while the database does not
// take it: what has been paid for is not thrown away for that. It reports
// whether the run still had the claim. unsure is that an earlier try may have been
// written and its answer lost.
func (w *Worker) finish(ctx context.Context, outcome *store.Outcome, unsure bool) (bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishPatience)
	defer cancel()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		finished, err := w.finishes.Do(ctx, outcome)
		own := finished.Own
		if err == nil && !own && unsure {
			own, err = w.opts.DB.Finished(ctx, outcome)
		}
		if err == nil {
			w.courier.sendAtOnce(finished, nil)
			return own, nil
		}
		unsure = true
		w.opts.Logger.Warn("finish failed, trying again", "generation", outcome.GenerationID, "error", err)
		if store.IsRejected(err) {
			outcome = unwritable(outcome)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return false, err
		}
	}
}

// unwritable is an outcome without anything that came from outside. Something in
// the one it replaces is not to the database's liking, and never will be.
func unwritable(o *store.Outcome) *store.Outcome {
	failure := store.GenerationError{Code: "internal_error", Message: "the service could not record what came of this", Retryable: true}
	return &store.Outcome{GenerationID: o.GenerationID, Fence: o.Fence, Status: store.StatusFailed, Error: &failure, Orphans: true, Told: o.Told}
}

// drawAll makes the images that are still missing and returns a verdict for
// each of them. It fails only if it cannot find out which they are.
func (r *run) drawAll(ctx context.Context) ([]verdict, error) {
	missing, err := r.missing(ctx)
	if err != nil {
		return nil, err
	}
	verdicts := make([]verdict, len(missing))
	if err := r.prepare(); err != nil {
		for i, index := range missing {
			verdicts[i] = r.fault(index, err)
		}
		return verdicts, nil
	}
	if len(missing) > 0 {
		r.lead, r.only = missing[0], len(missing) == 1
	}
	r.refused = slices.Clone(r.claim.ImageErrors)
	var wg sync.WaitGroup
	for i, index := range missing {
		if i > 0 {
			wg.Go(func() { verdicts[i] = r.drawSafely(ctx, index) })
		}
	}
	if len(missing) > 0 {
		verdicts[0] = r.drawSafely(ctx, missing[0])
	}
	wg.Wait()
	return verdicts, nil
}

// missing returns the indexes that earlier runs have neither made nor given up.
func (r *run) missing(ctx context.Context) ([]int, error) {
	settled := map[int]bool{}
	for _, e := range r.claim.ImageErrors {
		settled[e.Index] = true
	}
	if r.claim.Fence > 1 {
		images, err := r.w.opts.DB.Images(context.WithoutCancel(ctx), r.claim.ProjectID, []*store.Generation{&r.claim.Generation})
		if err != nil {
			return nil, err
		}
		for _, image := range images {
			settled[image.Idx] = true
			r.owed += r.costOf(image.Credits)
		}
		r.earlier = len(images)
	}
	var missing []int
	for i := range r.claim.N {
		if !settled[i] {
			missing = append(missing, i)
		}
	}
	return missing, nil
}

// prepare chooses the model and the provider.
func (r *run) prepare() (err error) {
	model, ok := providers.Lookup(r.claim.ModelUsed)
	if !ok {
		return &finalError{code: "provider_error", message: fmt.Sprintf("model %q is no longer offered", r.claim.ModelUsed)}
	}
	if f := imaging.Format(r.claim.Params.Format); f != "" && !imaging.CanEncode(f) {
		return &finalError{code: "internal_error", message: fmt.Sprintf("this server can not write %s; ask for png or jpeg", f)}
	}
	r.model = model
	r.chain, err = r.w.chainFor(r.claim.Simulated)
	return err
}
