package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
)

// errSilent says that this worker has not been heard of: others may have taken
// its runs over, so that it must buy nothing more for them.
var errSilent = errors.New("the heartbeat does not reach the database")

// A calling records the paid calls for one image.
type calling struct {
	r     *run
	index int
	n     int  // number of the call under way
	made  bool // one has begun in this run
}

// begin records a paid call before it is made. The first claim has announced that
// of the first image; only if it takes another route is that said first. Once the
// run has lost its claim, or may be about to, it makes no more calls.
func (c *calling) begin(ctx context.Context, call providers.Call) error {
	r := c.r
	if !r.w.pulse.alive(time.Now()) {
		return errSilent
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) < callTime {
		// The run would be over before the slowest answer.
		return &providers.Error{Kind: providers.KindDeadline, Provider: call.Provider, Message: "the run has too little time left"}
	}
	if ctx.Err() != nil {
		return &providers.Error{Kind: providers.KindCanceled, Provider: call.Provider, Err: ctx.Err()}
	}
	// The record is seen through even when the worker is being stopped, since
	// the call may count as made.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	attempt := store.NewAttempt{ImageIndex: c.index, Route: call.Route, Provider: call.Provider, Model: call.Upstream}
	first := !c.made && c.index == 0 && r.claim.Fence == 1
	c.made = true
	if first {
		c.n = 1
		if a := r.announced; a.Route == call.Route && a.Upstream == call.Upstream {
			return nil
		}
		return away(r.w.opts.DB.RerouteAttempt(ctx, r.claim, c.n, attempt))
	}
	var err error
	ended, refused := r.soFar()
	c.n, err = r.w.opts.DB.BeginAttempt(ctx, r.claim, attempt, ended, refused)
	if err == nil && !r.w.pulse.alive(time.Now()) {
		return errSilent // frozen meanwhile
	}
	return away(err)
}

// recordTime is how long a call waits for its record.
const recordTime = 10 * time.Second

// away makes a database that can not be reached no fault of the run.
func away(err error) error {
	if store.IsUnavailable(err) {
		return fmt.Errorf("%w: %w", errSilent, err)
	}
	return err
}

// soFar lists the calls of the run whose outcome is known, and why the images are
// missing that nobody is to be asked for again.
func (r *run) soFar() ([]*store.AttemptOutcome, []store.ImageError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.attempts), slices.Clone(r.refused)
}

// end notes how the call ended, for the run's outcome.
func (c *calling) end(call providers.Call, result *providers.Result, err error) {
	r := c.r
	outcome := &store.AttemptOutcome{
		GenerationID: r.claim.ID, N: c.n, Outcome: store.AttemptSucceeded,
		StartedAt: call.StartedAt.UTC(), FinishedAt: time.Now().UTC(),
	}
	var usage providers.Usage
	var failed *providers.Error
	switch {
	case err == nil:
		usage, outcome.RequestID = result.Usage, providers.Shorten(result.RequestID, maxReference)
		outcome.CostMicros = int64(call.Model.CostOf(call.Request, usage))
	case errors.As(err, &failed):
		usage, outcome.Outcome, outcome.Code = failed.Usage, string(failed.Kind), providers.Shorten(failed.Code, maxReference)
		switch {
		case failed.Kind == providers.KindCanceled && !failed.Ambiguous:
			outcome.Outcome = store.AttemptCanceled // by us, before it was sent
		case failed.Kind == providers.KindLocal:
			r.w.full.Store(true)
			outcome.Outcome = store.AttemptAmbiguous
		case failed.Ambiguous:
			outcome.Outcome = store.AttemptAmbiguous
		}
		if usage != (providers.Usage{}) {
			outcome.CostMicros = int64(call.Model.CostOf(call.Request, usage))
		}
	default:
		outcome.Outcome = store.AttemptAmbiguous
	}
	outcome.PromptTokens, outcome.ImageTokens, outcome.TextTokens = usage.PromptTokens, usage.ImageTokens, usage.TextTokens
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts = append(r.attempts, outcome)
	if outcome.Outcome == store.AttemptAmbiguous {
		r.unknown[c.index]++
	}
	if err == nil {
		r.modelUsed[c.index] = call.Model.Name
	}
}

func (r *run) panicked(p any) error {
	r.w.opts.Logger.Error("panic while drawing", "generation", r.claim.ID, "panic", p, "stack", string(debug.Stack()))
	return &finalError{code: "internal_error", retryable: true, message: "the service failed to make this image"}
}
