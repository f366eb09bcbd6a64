package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
)

// Budgets of a generation.
const (
	maxTries     = 5   // runs that ended in a fault which counts
	maxPaid      = 2   // calls for one image that were paid, or may have been, and left none
	maxReference = 128 // bytes of an upstream's code or id
)

// errNoProvider says that this worker can not make what the front door promised.
var errNoProvider = errors.New("this worker has no provider for live keys: set the accounts or NANOBANANA_ROUTES for it as for the front door")

const lostAnswers = "the service lost the provider's answers; it does not ask again, since each may have been charged"

// errStorageAway says that pictures already paid for can not be stored.
var errStorageAway = errors.New("storage is away")

// A finalError fails its image whatever is tried.
type finalError struct {
	code, message string
	retryable     bool // asking anew may succeed
}

func (e *finalError) Error() string { return e.message }

// A verdict is what came of one image: made if failure is nil.
type verdict struct {
	index   int
	failure *store.GenerationError
	again   bool          // try it in a later run, while the budget lasts
	after   time.Duration // wait at least so long; 0 leaves it to the backoff
	counts  bool          // the run uses up a try
}

// rule says what an upstream failure of a kind means for the job.
type rule struct {
	code    string // of the generation's error, if it comes to that
	message string // for the customer
	again   bool
	counts  bool
}

// rules is the whole table. A kind that is not in it is treated as a fault of
// the upstream's server.
var rules = map[providers.Kind]rule{
	providers.KindInvalid:    {code: "provider_error", message: "the provider did not accept this request"},
	providers.KindModeration: {code: "content_moderated", message: "the provider refused the content"},
	providers.KindNoImage:    {code: "provider_error", message: "the provider answered twice without an image; rephrasing the prompt may help"},
	providers.KindRate:       {code: "provider_quota", message: "the provider's rate limit did not clear in time", again: true},
	providers.KindQuota:      {code: "provider_quota", message: "the provider's quota is used up", again: true},
	providers.KindOverload:   {code: "provider_error", message: "the provider was overloaded each time it was asked", again: true, counts: true},
	providers.KindServer:     {code: "provider_error", message: "the provider failed each time it was asked", again: true, counts: true},
	providers.KindNetwork:    {code: "provider_error", message: "the provider could not be reached or broke off its answer", again: true, counts: true},
	providers.KindTimeout:    {code: "provider_timeout", message: "the provider did not answer in time", again: true, counts: true},
	providers.KindAuth:       {code: "provider_error", message: "the service's account with the provider was refused", again: true, counts: true},
	providers.KindModelGone:  {code: "provider_error", message: "the provider no longer offers the model", again: true, counts: true},
	providers.KindDeadline:   {code: "provider_timeout", message: "too little time was left to ask the provider", again: true},
	providers.KindLocal:      {code: "storage_error", message: "the service had no room for the image", again: true, counts: true},
	providers.KindBusy:       {code: "provider_error", message: "no provider could take the request in time", again: true},
	providers.KindCanceled:   {code: "internal_error", message: "the run was interrupted", again: true},
}

// fault gives the verdict on an image that was not made.
func (r *run) fault(index int, err error) verdict {
	var final *finalError
	var upstream *providers.Error
	switch {
	case errors.As(err, &final):
		return verdict{index: index, failure: &store.GenerationError{Code: final.code, Message: final.message, Retryable: final.retryable}}
	case errors.As(err, &upstream) && upstream.Code == providers.CodePanic:
		return verdict{index: index, failure: &store.GenerationError{Code: "internal_error", Message: "the service failed to make this image", Retryable: true}}
	case errors.As(err, &upstream):
		return upstreamFault(index, upstream)
	case errors.Is(err, store.ErrFenced):
		return verdict{index: index, again: true, failure: &store.GenerationError{
			Code: "internal_error", Message: "another run has taken over", Retryable: true}}
	case errors.Is(err, context.Canceled): // a stop, or the claim is gone
		return verdict{index: index, again: true, failure: &store.GenerationError{
			Code: "internal_error", Message: "the run was interrupted", Retryable: true}}
	case errors.Is(err, errSilent):
		return verdict{index: index, again: true, failure: &store.GenerationError{
			Code: "internal_error", Message: "the service lost its database for a while", Retryable: true}}
	case errors.Is(err, errNoProvider):
		r.w.opts.Logger.Warn("generation left to another worker", "generation", r.claim.ID, "error", err)
		return verdict{index: index, again: true, failure: &store.GenerationError{
			Code: "provider_error", Message: "no provider is configured for live keys", Retryable: true}}
	case errors.Is(err, errKept), errors.Is(err, errStorageAway):
		return verdict{index: index, again: true, failure: &store.GenerationError{
			Code: "storage_error", Message: "the image could not be stored in time", Retryable: true}}
	}
	r.w.opts.Logger.Error("run failed", "generation", r.claim.ID, "index", index, "error", err)
	return verdict{index: index, again: true, counts: true, failure: &store.GenerationError{
		Code: "internal_error", Message: "the service failed to make this image", Retryable: true}}
}

func upstreamFault(index int, e *providers.Error) verdict {
	known, ok := rules[e.Kind]
	switch {
	case e.Kind == providers.KindBusy && e.Code == "cooldown":
		known = rules[providers.KindRate] // it is all that the routes wait for
	case e.Kind == providers.KindModelGone && e.Code == "no_route":
		known = rule{code: "provider_error", message: "none of the service's providers can make this"}
	case !ok:
		known = rules[providers.KindServer]
	}
	v := verdict{
		index: index, again: known.again, counts: known.counts, after: e.RetryAfter,
		failure: &store.GenerationError{
			Code: known.code, Message: known.message, Retryable: known.again,
			Provider: e.Provider, Reason: providers.Shorten(e.Code, maxReference), Stage: e.Stage,
		},
	}
	return v
}

// judge turns the verdicts on a run's images into the outcome of the run, and
// says when to run again if it is not final. An image that may yet be made
// keeps the generation alive while its budget and deadline last.
func (r *run) judge(ctx context.Context, verdicts []verdict) (*store.Outcome, time.Duration) {
	o := &store.Outcome{
		GenerationID: r.claim.ID, Fence: r.claim.Fence, Told: r.claim.Told,
		Images: r.images, Attempts: slices.Clone(r.attempts), ImageErrors: r.claim.ImageErrors,
	}
	r.unmade(o)
	stopped := errors.Is(ctx.Err(), context.Canceled)
	for _, v := range verdicts {
		o.CountsTry = o.CountsTry || v.counts && !stopped
	}
	tries := r.claim.Tries
	if o.CountsTry {
		tries++
	}
	again := false
	var after time.Duration
	for _, v := range verdicts {
		if v.failure == nil {
			continue
		}
		wait := r.wait(v, stopped)
		if v.again && tries < maxTries && !r.spent(v.index) && r.inTime(wait) {
			again, after = true, max(after, wait)
			continue
		}
		if v.again && r.spent(v.index) && v.failure.Code == "internal_error" {
			// It is not for the interruption that nobody asks again.
			v.failure.Code, v.failure.Message = "provider_error", lostAnswers
		}
		o.ImageErrors = append(o.ImageErrors, store.ImageError{Index: v.index, Error: *v.failure})
	}
	r.settle(o, again)
	if o.Status == store.StatusSucceeded {
		o.ModelUsed, o.Charge = r.servedBy(), r.charge()
	}
	return o, after
}

// wait is how long to wait before the image is tried again, and a little more, so
// that not all come back at once. What the upstream or its routes ask for holds
// as it is, but for a short pause at least; otherwise the wait grows with each run
// that failed.
func (r *run) wait(v verdict, stopped bool) time.Duration {
	var wait time.Duration
	switch backoff := r.w.opts.Backoff; {
	case stopped:
		return 0 // handed back as it is
	case v.counts:
		wait = max(v.after, backoff(min(r.claim.Tries+1, 10)))
	case v.after > 0:
		wait = max(v.after, backoff(1))
	default:
		wait = backoff(min(r.claim.Fence, 10))
	}
	return wait + rand.N(wait/5+1) //nolint:gosec // spreads retries, keeps no secret
}

// paid counts the earlier calls for an image that were paid, or may have been, and
// left none.
func (r *run) paid(index int) int {
	count := 0
	for _, i := range r.claim.Paid {
		if i == index {
			count++
		}
	}
	return count
}

// spent reports whether as many calls for an image as may be were paid, or may
// have been, and left none: this run's, whose outcome is unknown, and earlier ones.
// Without one in this run the next looks for what earlier ones left.
func (r *run) spent(index int) bool {
	return r.unknown[index] > 0 && r.paid(index)+r.unknown[index] >= maxPaid
}

// inTime reports whether a run after the wait can still begin before the
// deadline.
func (r *run) inTime(wait time.Duration) bool {
	return time.Now().Add(wait).Before(r.claim.DeadlineAt)
}

// settle chooses the state.
func (r *run) settle(o *store.Outcome, again bool) {
	switch {
	case again:
		o.Status = store.StatusQueued
		o.Error = nil
	case r.earlier+len(o.Images) > 0:
		o.Status = store.StatusSucceeded
	default:
		o.Status = store.StatusFailed
		o.Error = &o.ImageErrors[0].Error
	}
	// A run that loses its claim between storing and finishing leaves blobs.
	o.Orphans = o.Status.Terminal() && len(o.ImageErrors) > 0
}

// servedBy is the model that made the first of this run's images.
func (r *run) servedBy() string {
	for i := range r.claim.N {
		if name := r.modelUsed[i]; name != "" {
			return name
		}
	}
	return ""
}

// unmade settles the call that the first claim has announced, if the run never
// made it: it did not happen if the run made none at all.
func (r *run) unmade(o *store.Outcome) {
	if r.claim.Fence > 1 {
		return // a later run announces each call by itself
	}
	for _, a := range r.attempts {
		if a.N == 1 {
			return
		}
	}
	if o.Unmade = len(r.attempts) == 0; !o.Unmade {
		o.Attempts = append(o.Attempts, &store.AttemptOutcome{
			GenerationID: r.claim.ID, N: 1, Outcome: store.AttemptCanceled, FinishedAt: time.Now().UTC(),
		})
	}
}
