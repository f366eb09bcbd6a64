package worker

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"time"

	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
)

// drawSafely makes a defect of ours the generation's failure rather than the
// process's.
func (r *run) drawSafely(ctx context.Context, index int) (v verdict) {
	began := time.Now()
	defer func() {
		if p := recover(); p != nil {
			v = r.fault(index, r.panicked(p))
		}
	}()
	if err := r.draw(ctx, index); err != nil {
		v = r.fault(index, err)
		if !v.again {
			r.refuse(v)
		}
		return v
	}
	if r.aside == nil { // else it is yet to be stored, and is the last
		r.w.progress.made(r, began)
	}
	return verdict{index: index}
}

// refuse notes an image that nobody is to be asked for again.
func (r *run) refuse(v verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = append(r.refused, store.ImageError{Index: v.index, Error: *v.failure})
}

// draw makes one image and stores it. What an earlier run stored before it was
// cut off is found and not paid for again.
func (r *run) draw(ctx context.Context, index int) error {
	if found, err := r.resume(ctx, index); found || err != nil {
		return err
	}
	if !r.w.canKeep() {
		return errStorageAway
	}
	if index != r.lead {
		further := r.w.further[r.claim.Queue]
		select {
		case further <- struct{}{}:
			defer func() { <-further }()
		case <-ctx.Done():
			return &providers.Error{Kind: providers.KindCanceled, Provider: r.model.Provider, Err: ctx.Err()}
		}
	}
	if r.only {
		r.w.rehearseEnd()
	}
	calling := &calling{r: r, index: index}
	result, err := r.chain.Generate(ctx, providers.Ask{
		Model: r.model, Request: r.request(index), Unknown: max(0, maxPaid-1-r.paid(index)),
		Begin: calling.begin, End: calling.end,
	})
	if err != nil {
		return err
	}
	if r.storeAside(ctx, index, result.Image) {
		return nil
	}
	return r.keep(ctx, index, result.Image)
}

// request is what is asked of whichever route serves the image.
func (r *run) request(index int) providers.Request {
	p := r.claim.Params
	req := providers.Request{
		Prompt: r.claim.Prompt, NegativePrompt: p.NegativePrompt, Style: p.Style,
		AspectRatio: p.AspectRatio, Resolution: p.Resolution, Quality: p.Quality, Background: p.Background,
		Seed: r.seed(index), Dir: r.w.opts.SpoolDir,
	}
	if req.Width, req.Height = p.Width, p.Height; req.Width == 0 { // of an older version
		req.Width, req.Height = r.model.Pixels(p.AspectRatio, p.Resolution)
	}
	return req
}

// resume takes over what an earlier run made, and refuses to pay again where
// that would be against the generation's budget.
func (r *run) resume(ctx context.Context, index int) (found bool, err error) {
	if r.claim.Fence == 1 {
		return false, nil
	}
	picture, err := r.kept(index)
	if err == nil {
		if err := r.recall(ctx, index); err != nil {
			return false, err
		}
		return true, r.keep(ctx, index, picture)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	image, err := r.adopt(ctx, index)
	if err == nil {
		if err := r.recall(ctx, index); err != nil {
			return false, err
		}
		r.add(image)
		return true, nil
	}
	if !errors.Is(err, blobs.ErrNotFound) {
		return false, fmt.Errorf("%w: %w", errStorageAway, err)
	}
	switch {
	case r.paid(index) >= maxPaid:
		return false, &finalError{code: "provider_error", retryable: true, message: lostAnswers}
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
