package providers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/common"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/failsafe-go/failsafe-go/timeout"
)

// maxRetries is how many repetitions any kinds of failure add up to on a route.
const maxRetries = 2

// A leg is the part of an Ask that one route serves. How its calls ended is kept
// here, and not taken from failsafe, whose policies put their own errors, such as
// that of a timeout, in the place of a finished result.
type leg struct {
	route   *route
	asking  *asking
	model   Model
	ctx     context.Context // of the Ask
	request Request

	passage *passage // of the call under way
	short   bool     // the call has less time than is usual, since the Ask ends
	result  *Result
	failure *Error // of the last call; nil if none was made
	refused error  // Begin's
	last    bool   // no other route may be asked after the failure

	retries map[Kind]int
	repeat  bool          // the last failure may be repeated here
	delay   time.Duration // before that
}

// fly makes the calls: retry(gate and breaker(attempt timeout(call))). The bulkhead
// around it is held by run.
func (l *leg) fly() {
	retry := retrypolicy.NewBuilder[*Result]().
		WithMaxRetries(maxRetries).
		ReturnLastFailure(). // the alternative prints the whole result
		HandleIf(func(*Result, error) bool { return l.repeat }).
		WithDelayFunc(func(failsafe.ExecutionAttempt[*Result]) time.Duration { return l.delay }).
		WithBudget(l.route.budget).
		Build()
	limit := timeout.New[*Result](l.route.timeout(l.model, l.request.Resolution))
	// What it returns is known from the last call, or is a refusal to make one.
	_, _ = failsafe.With[*Result](retry, (*door)(l), limit).WithContext(l.ctx).GetWithExecution(l.call)
}

// A door is the policy that takes each call of a leg through its route's gate and
// breaker.
type door leg

// ToExecutor implements failsafe.Policy.
func (d *door) ToExecutor(*Result) any { return d }

// Apply implements what failsafe asks of an executor.
func (d *door) Apply(inner func(failsafe.Execution[*Result]) *common.PolicyResult[*Result]) func(failsafe.Execution[*Result]) *common.PolicyResult[*Result] {
	l := (*leg)(d)
	return func(exec failsafe.Execution[*Result]) *common.PolicyResult[*Result] {
		l.repeat = false
		if l.passage = l.route.enter(l, l.elsewhere); l.passage == nil {
			return &common.PolicyResult[*Result]{Error: &Error{Kind: KindBusy, Provider: l.route.provider}, Done: true}
		}
		proved, failure := markNothing, (*Error)(nil)
		defer func() { l.route.leave(l, proved, failure) }() // also if Begin or End panics
		out := inner(exec)
		proved, failure = l.proof()
		return out
	}
}

// ends reports whether no other route is asked.
func (l *leg) ends() bool { return l.refused != nil || l.result != nil || l.last }

// outcome is what the Ask comes to if the leg ends it.
func (l *leg) outcome() (*Result, error) {
	switch {
	case l.refused != nil:
		return nil, l.refused
	case l.result != nil:
		return l.result, nil
	}
	return nil, l.asking.conclude()
}

// elsewhere reports whether a later route would take the call for the same model.
func (l *leg) elsewhere() bool {
	for _, cand := range l.asking.later(l.route) {
		if cand.model.Name == l.model.Name && cand.ready() {
			return true
		}
	}
	return false
}

// proof is what the last call proves about the route.
func (l *leg) proof() (mark, *Error) {
	switch {
	case l.result != nil:
		return markHealth, nil
	case l.refused != nil:
		return markNothing, nil
	case l.short && l.failure.Kind == KindTimeout && l.failure.Status == 0:
		return markNothing, l.failure
	}
	return treatmentOf(l.failure.Kind).mark, l.failure
}

// call makes one call, between Begin and End.
func (l *leg) call(exec failsafe.Execution[*Result]) (*Result, error) {
	call := l.route.newCall(l.model, l.request)
	call.Attempt = l.asking.calls + 1
	if begin := l.asking.Begin; begin != nil {
		if l.refused = begin(l.ctx, call); l.refused != nil {
			return nil, l.refused
		}
	}
	l.asking.calls++
	call.StartedAt = l.route.chain.opts.Now()
	end, limited := l.ctx.Deadline()
	l.short = limited && time.Until(end) < call.Request.Timeout
	l.route.start(l.passage, call.StartedAt)
	passage := l.passage
	result, failure := l.ask(onSent(exec.Context(), func() { l.route.sent(passage) }), call)
	if failure == nil {
		l.result = result
		if l.asking.End != nil {
			l.asking.End(call, result, nil)
		}
		return result, nil
	}
	l.failure = failure
	l.plan(failure)
	if l.asking.End != nil {
		l.asking.End(call, nil, failure)
	}
	return nil, failure
}

// ask calls the provider. A panic in it leaves an unknown outcome.
func (l *leg) ask(ctx context.Context, call Call) (result *Result, failure *Error) {
	defer func() {
		if p := recover(); p != nil {
			l.route.chain.opts.Logger.Error("panic in a provider",
				"route", call.Route, "panic", p, "stack", string(debug.Stack()))
			result, failure = nil, &Error{
				Kind: KindServer, Provider: call.Provider, Code: CodePanic, Message: "panic in the provider", Ambiguous: true,
				Err: fmt.Errorf("panic: %v", p),
			}
		}
	}()
	result, err := l.route.opts.Provider.Generate(ctx, call.Request)
	switch {
	case err == nil && result == nil:
		return nil, &Error{Kind: KindServer, Provider: call.Provider, Message: "the provider returned nothing", Ambiguous: true}
	case err == nil:
		result.Route, result.Model = call.Route, call.Model.Name
		return result, nil
	}
	failure = asError(err, call.Provider)
	if failure.Kind == KindCanceled && ctx.Err() != nil && l.ctx.Err() == nil {
		// The attempt's timeout cancels, and cannot say why.
		failure.Kind, failure.Message = KindTimeout, "no answer in time"
	}
	return nil, failure
}

// plan decides whether the same route is asked again, and after how long.
func (l *leg) plan(e *Error) {
	if e.Kind == KindNoImage {
		l.asking.imageless++
		if l.asking.imageless > 1 {
			l.asking.remember(e) // whatever follows here
		}
		l.request.ImageOnly = true
		l.asking.Request.ImageOnly = true
	}
	if e.Ambiguous {
		l.asking.unknown++
	}
	done := l.retries[e.Kind]
	if l.retries == nil {
		l.retries = map[Kind]int{}
	}
	l.retries[e.Kind]++
	opts := l.route.chain.opts
	l.delay = e.RetryAfter + rand.N(min(opts.Cap, opts.Base<<done)+1) //nolint:gosec // spreads retries, keeps no secret
	switch {
	case e.Ambiguous, done >= treatmentOf(e.Kind).retries, e.RetryAfter > opts.MaxInline:
	case e.Kind == KindRate && e.RetryAfter == 0:
	case e.Kind == KindNoImage && l.asking.imageless > 1:
	case !l.inTime():
	default:
		l.repeat = true
	}
	if e.Kind == KindNoImage {
		l.delay = 0
	}
}

// inTime reports whether the Ask lasts beyond the delay.
func (l *leg) inTime() bool {
	end, ok := l.ctx.Deadline()
	return !ok || time.Until(end) > l.delay
}
