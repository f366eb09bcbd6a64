package providers

import (
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

// What a RouteChange may be.
const (
	ChangeCooldown = "cooldown" // the upstream asked for a pause, or its quota is used up
	ChangeOpen     = "open"     // the breaker opened, or opened again
	ChangeClosed   = "closed"   // a probe showed the upstream well: the breaker closed, which ends no cooldown
)

// A RouteChange is something that this process found out about a route and that
// others should know.
type RouteChange struct {
	Route  string
	What   string    // one of the Change constants
	Until  time.Time // end of a pause, in UTC; zero for ChangeClosed
	Reason string    // for people: "rate_limited: RESOURCE_EXHAUSTED"
}

// A RouteState is all that a fleet knows of a route.
type RouteState struct {
	Name           string
	Enabled        bool      // false: drained by an operator
	CooldownUntil  time.Time // zero: none
	CooldownReason string
	OpenUntil      time.Time // zero: the breaker is closed
}

// A RouteStatus is a route as this process sees it.
type RouteStatus struct {
	Name, Provider, API string
	Enabled             bool   // by this process and the operator
	Breaker             string // "closed", "open", "half_open" (a probe is under way) or "probe_ready"
	OpenUntil           time.Time
	CooldownUntil       time.Time
	CooldownReason      string
	InFlight            int // calls under way
	Concurrency         int // most requests at a time
	// Of the last minute: calls ended, those that made an image, and those that
	// speak against the route, rate limits included.
	Calls, OK, Failed int
}

// report keeps a change to be told. Hold mu of the route, which puts the changes
// of a route in order.
func (r *route) report(change RouteChange) {
	if r.chain.opts.OnChange == nil {
		return
	}
	r.chain.mu.Lock()
	defer r.chain.mu.Unlock()
	r.chain.changes = append(r.chain.changes, change)
}

// tell hands the changes that wait to OnChange, one by one. Hold no lock.
func (c *Chain) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.telling {
		return // whoever is telling also tells the rest
	}
	c.telling = true
	defer func() { c.telling = false }()
	for len(c.changes) > 0 {
		change := c.changes[0]
		c.changes = c.changes[1:]
		c.tellOne(change)
	}
}

// tellOne calls OnChange without mu, which it holds again when it returns, even by
// a panic.
func (c *Chain) tellOne(change RouteChange) {
	c.mu.Unlock()
	defer c.mu.Lock()
	c.opts.OnChange(change)
}

// Apply takes over what another process or an operator found. It may be called
// with the same or an older state again: what this process found out itself
// stands until it comes back. A route that is unknown here is ignored.
func (c *Chain) Apply(s RouteState) {
	r := c.byName[s.Name]
	if r == nil {
		return
	}
	now := c.opts.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.Enabled && !r.enabled {
		r.provenAt = time.Time{}
		clear(r.gone)
	}
	r.enabled = s.Enabled
	r.setCooldown(s.CooldownUntil, s.CooldownReason, now)
	r.setOpen(s.OpenUntil, now)
	r.wake()
}

// Told ends the protection of a change that OnChange was told of: the fleet has it,
// and what Apply brings from now on may end it. A newer finding stays protected.
func (c *Chain) Told(change RouteChange) {
	r := c.byName[change.Route]
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch change.What {
	case ChangeCooldown:
		r.cooldown.own = r.cooldown.own && r.cooldown.until.After(change.Until)
	case ChangeOpen:
		r.open.own = r.open.own && r.open.until.After(change.Until)
	}
}

// Status lists the routes in the order of ChainOptions.Routes.
func (c *Chain) Status() []RouteStatus {
	list := make([]RouteStatus, 0, len(c.routes))
	for _, r := range c.routes {
		list = append(list, r.status(c.opts.Now()))
	}
	return list
}

func (r *route) status(now time.Time) RouteStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := RouteStatus{
		Name: r.opts.Name, Provider: r.provider, API: r.opts.API, Enabled: r.enabled && !r.opts.Disabled,
		Breaker: r.breakerState(now), InFlight: len(r.inFlight), Concurrency: r.opts.Concurrency,
	}
	if s.Breaker != "closed" {
		s.OpenUntil = r.open.until
	}
	if r.cooldown.left(now) > 0 {
		s.CooldownUntil, s.CooldownReason = r.cooldown.until, r.cooldown.reason
	}
	s.Calls, s.OK, s.Failed = r.stats.sum(now)
	return s
}

// breakerState names the state as it matters: without traffic an open breaker
// stays open, although the next call would be its probe. Hold mu.
func (r *route) breakerState(now time.Time) string {
	switch {
	case r.breaker.State() == circuitbreaker.ClosedState:
		return "closed"
	case r.probing:
		return "half_open"
	case r.open.left(now) > 0:
		return "open"
	}
	return "probe_ready"
}
