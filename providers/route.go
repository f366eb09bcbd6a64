package providers

import (
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/budget"
	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

// Limits of every route.
const (
	defaultConcurrency = 100
	breakerFailures    = 5   // of the last breakerWindow calls open the breaker
	breakerWindow      = 10  // calls
	retryShare         = 0.2 // of what is under way may be repetitions
	freeRetries        = 3   // at a time are never refused, so that a quiet process can repeat
)

// A route is one way to an upstream and what this process knows of it.
type route struct {
	chain    *Chain
	opts     RouteOptions
	provider string // Provider.Name

	bulkhead bulkhead.Bulkhead[*Result]
	budget   budget.Budget

	mu       sync.Mutex // guards all below, and the order of what happens to the breaker
	breaker  circuitbreaker.CircuitBreaker[*Result]
	changed  chan struct{} // closed and replaced when a waiting call should look again
	inFlight map[*passage]struct{}
	admitted int              // holders of the bulkhead's permits
	probing  bool             // the half-open breaker's one call is under way
	provenAt time.Time        // it last served; zero after a failure
	failures int              // in a row, none longer than provenFor after the one before
	failedAt time.Time        // the last of them
	pagedAt  time.Time        // a person was last called
	gone     map[string]*gone // by upstream's name of the model

	enabled  bool // by the operator
	cooldown pause
	open     pause
	stats    stats
}

// A pause is a time in which a route takes no call.
type pause struct {
	until  time.Time
	reason string
	// own marks what this process found out and no one has confirmed: until then
	// what others know cannot end it.
	own bool
}

func (p pause) left(now time.Time) time.Duration { return max(0, p.until.Sub(now)) }

func newRoute(c *Chain, o RouteOptions) *route {
	if o.Concurrency <= 0 {
		o.Concurrency = defaultConcurrency
	}
	return &route{
		chain: c, opts: o, provider: o.Provider.Name(),
		bulkhead: bulkhead.New[*Result](uint(o.Concurrency)),
		budget:   budget.NewBuilder().WithMaxRate(retryShare).WithMinConcurrency(freeRetries).Build(),
		breaker: circuitbreaker.NewBuilder[*Result]().
			WithFailureThresholdRatio(breakerFailures, breakerWindow).
			WithSuccessThreshold(1). // a single probe at a time
			WithDelay(c.opts.OpenFor).WithJitterFactor(0.1).Build(),
		changed:  make(chan struct{}),
		inFlight: map[*passage]struct{}{},
		gone:     map[string]*gone{},
		enabled:  true,
	}
}

// newCall is the call that the route makes for a request.
func (r *route) newCall(m Model, req Request) Call {
	if price, ok := r.opts.Prices[m.Name]; ok {
		m.Price = price
	}
	req = m.Fitted(req)
	req.Timeout = r.timeout(m, req.Resolution)
	return Call{
		Route: r.opts.Name, Provider: r.provider, API: r.opts.API, Upstream: m.Upstream,
		Model: m, Request: req, Attempt: 1, StartedAt: r.chain.opts.Now(),
	}
}

// timeout is the longest that a call may take.
func (r *route) timeout(m Model, resolution string) time.Duration {
	if res, ok := m.Resolution(resolution); ok {
		resolution = res.Name
	}
	if limit := r.opts.Timeouts[resolution]; limit > 0 {
		return limit
	}
	switch resolution {
	case "4K":
		return 180 * time.Second
	case "2K":
		return 120 * time.Second
	}
	return 90 * time.Second
}

// wait is how long the route will not take a call for a model, and why. The reason
// is "" if it takes one now, if perhaps after a moment at the gate.
func (r *route) wait(upstream string) (time.Duration, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left, reason := r.blocked(upstream, r.chain.opts.Now())
	switch {
	case reason != "":
		return left, reason
	case r.probing && !r.breaker.IsClosed():
		return probeWait, codeOpen
	case r.admitted >= r.opts.Concurrency:
		return fullWait, codeFull
	}
	return 0, ""
}

// blocked is wait but for what calls under way keep busy. Hold mu.
func (r *route) blocked(upstream string, now time.Time) (time.Duration, string) {
	switch {
	case r.opts.Disabled || !r.enabled:
		return noRouteWait, codeDisabled
	case r.goneLeft(upstream, now) > 0:
		return r.goneLeft(upstream, now), codeGone
	case r.cooldown.left(now) > 0:
		return max(r.cooldown.left(now), r.open.left(now)), codeCooldown
	case r.open.left(now) > 0:
		return r.open.left(now), codeOpen
	}
	return 0, ""
}

// wake makes waiting calls look again. Hold mu.
func (r *route) wake() {
	close(r.changed)
	r.changed = make(chan struct{})
}
