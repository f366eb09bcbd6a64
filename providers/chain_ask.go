package providers

import (
	"context"
	"errors"
	"fmt"
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

// Generate makes one image with the first route that can. The error is an *Error,
// unless it is one of Begin's.
//
// It has KindBusy if no route took a call, with Code "cooldown", "breaker_open",
// "full" or "no_route" and the shortest wait in RetryAfter; KindModelGone with
// Code "no_route" if none ever could. After several failures it is the most
// telling of them: one with an unknown outcome, else one of the upstream's faults,
// else one that only takes time. After refused content or a refused request no
// other route is asked.
func (c *Chain) Generate(ctx context.Context, ask Ask) (*Result, error) {
	a := &asking{Ask: ask, candidates: c.candidates(ask.Model, ask.Request)}
	if len(a.candidates) == 0 {
		return nil, &Error{
			Kind: KindModelGone, Provider: ask.Model.Provider, Code: codeNoRoute, Message: "no route can serve this request",
		}
	}
	for _, cand := range a.candidates {
		if err := a.over(ctx); err != nil {
			return nil, err
		}
		l := cand.route.run(ctx, a, cand.model)
		switch {
		case l.refused != nil:
			return nil, l.refused
		case l.result != nil:
			return l.result, nil
		case l.failure == nil:
			continue // the route took no call
		}
		if !a.goesOn(l.failure) {
			return nil, a.worst
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

	calls     int
	unknown   int    // calls that ended with an unknown outcome
	imageless int    // complete answers without an image
	barren    int    // routes left because of them
	worst     *Error // the most telling failure
}

// over is the error of an Ask whose own context ended between two calls, or nil.
// A call that may have been paid for tells more than that.
func (a *asking) over(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		return nil
	}
	if a.worst != nil && a.worst.Ambiguous {
		return a.worst
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
	t := treatmentOf(e.Kind)
	final := e.Kind == KindModeration || e.Kind == KindInvalid // about the request, whatever else went wrong
	if a.worst == nil || final || rank(e) < rank(a.worst) {
		a.worst = e
	}
	if e.Kind == KindNoImage {
		a.barren++
	}
	return t.next && a.barren < 2 && a.unknown <= a.Unknown
}

// verdict is the error of an Ask that no route served.
func (a *asking) verdict() *Error {
	wait, code, blocked := a.nearest()
	switch {
	case a.worst == nil && !blocked:
		return &Error{
			Kind: KindBusy, Provider: a.candidates[0].route.provider, Code: codeNoRoute,
			Message: "every route that could serve this is switched off", RetryAfter: jittered(noRouteWait),
		}
	case a.worst == nil:
		return &Error{
			Kind: KindBusy, Provider: a.candidates[0].route.provider, Code: code,
			Message: "no route takes a call now", RetryAfter: jittered(wait),
		}
	case blocked && treatmentOf(a.worst.Kind).pause:
		e := *a.worst
		e.RetryAfter = jittered(wait)
		return &e
	}
	return a.worst
}

// nearest finds the candidate that takes a call soonest: after which wait, and
// what keeps it. One that was full a moment ago counts as full. It is false if
// all are switched off.
func (a *asking) nearest() (wait time.Duration, code string, ok bool) {
	for _, cand := range a.candidates {
		w, reason := cand.route.wait()
		if reason == "" {
			w, reason = fullWait, codeFull
		}
		if reason != codeDisabled && (!ok || w < wait) {
			wait, code, ok = w, reason, true
		}
	}
	return wait, code, ok
}
