package providers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// An Ask is one image to be made by whichever route can.
type Ask struct {
	Model   Model
	Request Request // Model and Timeout are set for each route
	// Unknown is how many calls with an unknown outcome, which may have been paid
	// for, the Ask goes on after. With 0 it ends with the first of them.
	Unknown int
	// Begin is told of every paid call before it is made, inside the limits of its
	// route. An error keeps the call from being made and is what Generate returns.
	Begin func(context.Context, Call) error
	// End is told how each call ended that Begin allowed, exactly once, also if the
	// provider panicked. The error, if any, is an *Error.
	End func(Call, *Result, error)
}

// A Call is one paid call to an upstream.
type Call struct {
	Route     string
	Provider  string // Provider.Name of the route
	API       string // Model.Provider that the route serves
	Upstream  string // the upstream's name of the model
	Model     Model  // that serves, maybe a substitute
	Request   Request
	Attempt   int       // 1 is the first call of its Ask
	StartedAt time.Time // when Begin was told, and for End when the call went out
}

// Generate makes one image with the first route that can. Where all that could are
// full, it waits up to 5 s for one of them, first come first served. The error is an
// *Error, unless it is one of Begin's.
//
// It has KindBusy if no route took a call, with Code "cooldown", "breaker_open",
// "full" or "no_route"; KindModelGone with Code "no_route" if none ever could, and
// "model_gone" if all have refused the model of late. After several failures it is
// the most telling of them: one with an unknown outcome, else that two answers had
// no image, else one of the upstream's faults, else one that only takes time.
// RetryAfter is how long no route will take a call, and 0 if one would now, unless
// it only takes time. After refused content or a refused request no other route is
// asked.
func (c *Chain) Generate(ctx context.Context, ask Ask) (*Result, error) {
	a := &asking{Ask: ask, candidates: c.candidates(ask.Model, ask.Request), asked: map[*route]bool{}}
	if len(a.candidates) == 0 {
		return nil, &Error{
			Kind: KindModelGone, Provider: ask.Model.Provider, Code: codeNoRoute, Message: "no route can serve this request",
		}
	}
	for _, cand := range a.candidates {
		if err := a.over(ctx); err != nil {
			return nil, err
		}
		if !cand.ready() || !c.queue.tryAcquire(cand.route) {
			continue
		}
		if l := a.fly(ctx, cand); l.ends() {
			return l.outcome()
		}
	}
	end := time.Now().Add(maxQueueWait)
	for full := a.full(); len(full) > 0; full = a.full() {
		cand, ok := c.queue.acquire(ctx, full, end)
		if !ok {
			break
		}
		a.asked[cand.route] = true // whether or not it takes a call now
		if l := a.fly(ctx, cand); l.ends() {
			return l.outcome()
		}
	}
	if err := a.over(ctx); err != nil {
		return nil, err
	}
	return nil, a.verdict()
}

// asking is the state of one Ask under way.
type asking struct {
	Ask
	candidates []candidate
	asked      map[*route]bool // a call was made, or is not to be tried again

	calls     int
	unknown   int    // calls that ended with an unknown outcome
	imageless int    // complete answers without an image
	barren    int    // routes left because of them
	worst     *Error // the most telling failure
}

// fly asks a route whose permit is held, and gives that back.
func (a *asking) fly(ctx context.Context, cand candidate) *leg {
	defer cand.route.chain.queue.release(cand.route)
	l := &leg{route: cand.route, asking: a, model: cand.model, ctx: ctx, request: a.Request}
	l.fly()
	if l.failure != nil {
		a.asked[cand.route] = true
		l.last = !a.goesOn(l.failure)
	}
	return l
}

// full lists the candidates that nothing but calls under way kept from being asked.
func (a *asking) full() []candidate {
	var full []candidate
	for _, cand := range a.candidates {
		if _, reason := cand.wait(); !a.asked[cand.route] && (reason == "" || reason == codeFull) {
			full = append(full, cand)
		}
	}
	return full
}

// later lists the candidates after a route that have not been asked.
func (a *asking) later(r *route) []candidate {
	i := slices.IndexFunc(a.candidates, func(c candidate) bool { return c.route == r })
	return slices.DeleteFunc(slices.Clone(a.candidates[i+1:]), func(c candidate) bool { return a.asked[c.route] })
}

// over is the error of an Ask whose own context ended between two calls, or nil.
// A call that may have been paid for tells more than that.
func (a *asking) over(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		return nil
	}
	if a.worst != nil && a.worst.Ambiguous {
		return a.conclude()
	}
	e := &Error{Kind: KindCanceled, Provider: a.candidates[0].route.provider, Message: "the request was cancelled between calls", Err: err}
	if errors.Is(err, context.DeadlineExceeded) {
		e.Kind, e.Message = KindDeadline, "the time for the request was over before a call"
	}
	if cause := context.Cause(ctx); !errors.Is(cause, err) {
		e.Err = fmt.Errorf("%w: %w", err, cause)
	}
	return e
}

// goesOn reports whether the next route may be asked after a failure, which it
// remembers. If not, worst is what to return.
func (a *asking) goesOn(e *Error) bool {
	a.remember(e)
	if e.Kind == KindNoImage {
		a.barren++
	}
	return treatmentOf(e.Kind).next && a.barren < 2 && a.unknown <= a.Unknown
}

// remember keeps the failure that tells most.
func (a *asking) remember(e *Error) {
	final := e.Kind == KindModeration || e.Kind == KindInvalid // about the request, whatever else went wrong
	if a.worst == nil || final || a.rank(e) < a.rank(a.worst) {
		a.worst = e
	}
}

// rank puts a call that may have been paid for above all others, and below it that
// the request has no image: after two such answers more would only cost more.
func (a *asking) rank(e *Error) int {
	switch {
	case e.Ambiguous:
		return 0
	case e.Kind == KindNoImage && a.imageless > 1:
		return 1
	}
	return treatmentOf(e.Kind).rank
}

// verdict is the error of an Ask that no route served.
func (a *asking) verdict() *Error {
	if a.worst != nil {
		return a.conclude()
	}
	e := &Error{Kind: KindBusy, Provider: a.candidates[0].route.provider, Message: "no route takes a call now"}
	wait, code := a.nearest()
	switch code {
	case codeDisabled:
		code, e.Message = codeNoRoute, "every route that could serve this is switched off"
	case codeGone:
		wait, e.Kind, e.Message = 0, KindModelGone, "every route that could serve this has refused the model of late"
	case "": // it was full a moment ago
		wait, code = fullWait, codeFull
	}
	e.Code, e.RetryAfter = code, jittered(wait)
	return e
}

// conclude is worst with the time until a route takes a call. What the upstream
// asked for has become part of that.
func (a *asking) conclude() *Error {
	e := *a.worst
	wait, code := a.nearest()
	switch {
	case code == codeGone, code == "" && !treatmentOf(e.Kind).pause:
		wait = 0
	case code == "":
		wait = fullWait
	}
	e.RetryAfter = jittered(wait)
	return &e
}

// nearest is after which wait a candidate takes a call, and what keeps it until
// then: nothing if one takes a call now. A model that is gone or a route that is
// switched off tells only where there is nothing else.
func (a *asking) nearest() (wait time.Duration, code string) {
	last := func(code string) int { return slices.Index([]string{codeGone, codeDisabled}, code) }
	for i, cand := range a.candidates {
		w, reason := cand.wait()
		if i == 0 || last(reason) < last(code) || last(reason) == last(code) && w < wait {
			wait, code = w, reason
		}
	}
	return wait, code
}
