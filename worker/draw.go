package worker

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"runtime/debug"
	"time"

	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
)

// drawSafely makes a defect of ours the generation's failure rather than the
// process's.
func (r *run) drawSafely(ctx context.Context, index int) (v verdict) {
	defer func() {
		if p := recover(); p != nil {
			v = r.fault(index, r.panicked(p))
		}
	}()
	if err := r.draw(ctx, index); err != nil {
		return r.fault(index, err)
	}
	return verdict{index: index}
}

// draw makes one image and stores it. A complete answer without an image is
// asked for once more, with text forbidden. What an earlier run stored before it
// was cut off is found and not paid for again.
func (r *run) draw(ctx context.Context, index int) error {
	if found, err := r.resume(ctx, index); found || err != nil {
		return err
	}
	if !r.w.canKeep() {
		return errStorageAway
	}
	n, err := r.begin(ctx, index)
	if err != nil {
		return err
	}
	p := r.claim.Params
	req := providers.Request{
		Model: r.model.Upstream, Prompt: r.claim.Prompt, NegativePrompt: p.NegativePrompt, Style: p.Style,
		AspectRatio: p.AspectRatio, Resolution: p.Resolution, Seed: r.seed(index), Dir: r.w.opts.SpoolDir,
	}
	result, err := r.call(ctx, n, req)
	if providers.KindOf(err) == providers.KindNoImage {
		if n, err = r.announce(ctx, index); err != nil {
			return err
		}
		req.ImageOnly = true
		result, err = r.call(ctx, n, req)
	}
	if err != nil {
		return err
	}
	return r.keep(ctx, index, result.Image)
}

// begin returns the number of a run's first paid call for an image. The first
// claim has announced one for each.
func (r *run) begin(ctx context.Context, index int) (int, error) {
	if r.claim.Fence == 1 {
		return index + 1, nil
	}
	return r.announce(ctx, index)
}

// announce records a paid call that is about to be made. It is seen through
// even when the worker is being stopped, since the call may count as made.
func (r *run) announce(ctx context.Context, index int) (int, error) {
	return r.w.opts.DB.BeginAttempt(context.WithoutCancel(ctx), r.claim, index, r.route.Name(), r.model.Upstream)
}

// resume takes over what an earlier run made, and refuses to pay again where
// that would be against the generation's budget.
func (r *run) resume(ctx context.Context, index int) (found bool, err error) {
	if r.claim.Fence == 1 {
		return false, nil
	}
	picture, err := r.kept(index)
	if err == nil {
		return true, r.keep(ctx, index, picture)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	image, err := r.adopt(ctx, index)
	if err == nil {
		r.add(image)
		return true, nil
	}
	if !errors.Is(err, blobs.ErrNotFound) {
		return false, fmt.Errorf("%w: %w", errStorageAway, err)
	}
	switch {
	case r.paid(index) >= maxPaid:
		return false, &finalError{code: "provider_error", retryable: true,
			message: "the service lost the provider's answers; it does not ask again, since each may have been charged"}
	case !time.Now().Before(r.claim.DeadlineAt):
		return false, &finalError{code: "deadline_exceeded", retryable: true, message: "the deadline passed before the image was made"}
	}
	return false, nil
}

// seed gives each of several images a seed of its own, so that they differ.
func (r *run) seed(index int) *int32 {
	var base int32
	switch {
	case r.claim.Params.Seed != nil:
		base = *r.claim.Params.Seed
	case r.claim.N == 1:
		return nil
	default:
		hash := fnv.New32a()
		_, _ = hash.Write([]byte(r.claim.ID)) // never fails
		base = int32(hash.Sum32() >> 1)
	}
	seed := base + int32(index) // wraps, which is as good
	return &seed
}

// ask calls the provider. A panic in it leaves an unknown outcome.
func (r *run) ask(ctx context.Context, req providers.Request) (result *providers.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = r.panicked(p)
		}
	}()
	select {
	case r.w.calls <- struct{}{}:
		defer func() { <-r.w.calls }()
	case <-ctx.Done():
		return nil, &providers.Error{Kind: providers.KindCanceled, Provider: r.route.Name(), Err: ctx.Err()}
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) < callTime {
		// The run would be over before the slowest answer.
		return nil, &providers.Error{Kind: providers.KindDeadline, Provider: r.route.Name(), Message: "the run has too little time left"}
	}
	return r.route.Generate(ctx, req)
}

func (r *run) panicked(p any) error {
	r.w.opts.Logger.Error("panic while drawing", "generation", r.claim.ID, "panic", p, "stack", string(debug.Stack()))
	return &finalError{code: "internal_error", retryable: true, message: "the service failed to make this image"}
}

// call makes one paid call and notes how it ended.
func (r *run) call(ctx context.Context, n int, req providers.Request) (*providers.Result, error) {
	result, err := r.ask(ctx, req)
	outcome := &store.AttemptOutcome{
		GenerationID: r.claim.ID, N: n, Outcome: store.AttemptSucceeded, FinishedAt: time.Now().UTC(),
	}
	var usage providers.Usage
	var failed *providers.Error
	switch {
	case err == nil:
		usage, outcome.RequestID = result.Usage, providers.Shorten(result.RequestID, maxReference)
		outcome.CostMicros = int64(r.model.CostOf(req, usage))
	case errors.As(err, &failed):
		usage, outcome.Outcome, outcome.Code = failed.Usage, string(failed.Kind), providers.Shorten(failed.Code, maxReference)
		switch {
		case failed.Kind == providers.KindCanceled:
			outcome.Outcome = store.AttemptCanceled // by us: not the provider's doing
		case failed.Kind == providers.KindLocal:
			r.w.full.Store(true)
			outcome.Outcome = store.AttemptAmbiguous
		case failed.Ambiguous:
			outcome.Outcome = store.AttemptAmbiguous
		}
		if usage != (providers.Usage{}) {
			outcome.CostMicros = int64(r.model.CostOf(req, usage))
		}
	default:
		outcome.Outcome = store.AttemptAmbiguous
	}
	outcome.PromptTokens, outcome.ImageTokens, outcome.TextTokens = usage.PromptTokens, usage.ImageTokens, usage.TextTokens
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts = append(r.attempts, outcome)
	return result, err
}
