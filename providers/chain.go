package providers

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// A Capability is what a route may be asked for.
type Capability string

// The capabilities. A request needs exactly one of them.
const (
	CanGenerate Capability = "generate" // from words alone
	CanEdit     Capability = "edit"     // with references
	CanMask     Capability = "mask"     // with a mask
)

// A RouteOptions describes one way to an upstream: an account with its own quota.
type RouteOptions struct {
	Name     string // unique: "gemini-2"
	API      string // the catalogue's Model.Provider that it serves: "gemini" or "openai"
	Provider Provider
	// Concurrency is how many requests it takes at a time; 0 is 100.
	Concurrency int
	// Timeouts limits a call by the resolution asked; what is missing or 0 is 90,
	// 120 and 180 s for 1K, 2K and 4K.
	Timeouts map[string]time.Duration
	// Prices are the account's own, by name of our model; what is missing costs
	// what the catalogue says.
	Prices map[string]Price
	// Disabled keeps this process from the route, whatever Apply says.
	Disabled bool
	// Only restricts what it is asked for; empty is everything.
	Only []Capability
}

// ChainOptions configures a Chain. Only Routes has no default.
type ChainOptions struct {
	Routes []RouteOptions
	// Order names the routes for a capability, the first choice first; a
	// capability that is missing takes all in the order of Routes.
	Order map[Capability][]string
	// Base and Cap bound the pause before a repeated call, which is random
	// between 0 and Base, doubled with each repetition; 0 is 0.5 and 8 s.
	Base, Cap time.Duration
	// MaxInline is the longest pause an upstream may ask for and still get the
	// same request again; 0 is 5 s.
	MaxInline time.Duration
	// OpenFor is how long a breaker stays open; 0 is 15 s.
	OpenFor time.Duration
	// OnChange hears what this process found out about a route, in the order of
	// its discovery. It must not block. What Apply brought is not repeated.
	OnChange func(RouteChange)
	Logger   *slog.Logger // nil is silence
	Now      func() time.Time
}

// A Chain calls image providers over several routes: each with a limit on what is
// under way, few repetitions, a circuit breaker, a timeout for each call, and
// respect for the pauses that upstreams ask for. It is safe for concurrent use
// and owns no goroutine.
type Chain struct {
	opts   ChainOptions
	routes []*route
	byName map[string]*route
	order  map[Capability][]*route
	queue  queue

	mu      sync.Mutex    // guards changes and telling
	changes []RouteChange // found and not told yet
	telling bool
}

// NewChain returns a Chain. The error says what is wrong with the options.
func NewChain(o ChainOptions) (*Chain, error) {
	o.setDefaults()
	c := &Chain{opts: o, byName: map[string]*route{}, order: map[Capability][]*route{}}
	if len(o.Routes) == 0 {
		return nil, errors.New("create chain: no route")
	}
	for _, ro := range o.Routes {
		switch {
		case ro.Name == "" || ro.API == "" || ro.Provider == nil:
			return nil, fmt.Errorf("create chain: route %q lacks a name, an API or a provider", ro.Name)
		case c.byName[ro.Name] != nil:
			return nil, fmt.Errorf("create chain: two routes are named %q", ro.Name)
		}
		for _, can := range ro.Only {
			if !slices.Contains(capabilities(), can) {
				return nil, fmt.Errorf("create chain: route %q: unknown capability %q", ro.Name, can)
			}
		}
		r := newRoute(c, ro)
		c.routes, c.byName[ro.Name] = append(c.routes, r), r
	}
	for can, names := range o.Order {
		if err := c.setOrder(can, names); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func capabilities() []Capability { return []Capability{CanGenerate, CanEdit, CanMask} }

func (o *ChainOptions) setDefaults() {
	for _, d := range []struct {
		value *time.Duration
		zero  time.Duration
	}{
		{&o.Base, 500 * time.Millisecond}, {&o.Cap, 8 * time.Second},
		{&o.MaxInline, 5 * time.Second}, {&o.OpenFor, 15 * time.Second},
	} {
		if *d.value <= 0 {
			*d.value = d.zero
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

func (c *Chain) setOrder(can Capability, names []string) error {
	if !slices.Contains(capabilities(), can) {
		return fmt.Errorf("create chain: order of unknown capability %q", can)
	}
	list := []*route{}
	for _, name := range names {
		r := c.byName[name]
		if r == nil || slices.Contains(list, r) {
			return fmt.Errorf("create chain: order for %q: route %q is unknown or named twice", can, name)
		}
		list = append(list, r)
	}
	c.order[can] = list
	return nil
}

// A candidate is a route that could serve a request, and the model it would use.
type candidate struct {
	route *route
	model Model
}

// ready reports whether a call would be admitted now, if perhaps after a moment
// at the gate.
func (c candidate) ready() bool {
	_, reason := c.wait()
	return reason == ""
}

func (c candidate) wait() (time.Duration, string) { return c.route.wait(c.model.Upstream) }

// candidates lists the routes that can do what a request asks, whether or not
// they take a call now: those that serve the model itself before those whose
// model stands in for it.
func (c *Chain) candidates(m Model, req Request) []candidate {
	can := CanGenerate
	switch {
	case req.Mask != nil:
		can = CanMask
	case len(req.References) > 0:
		can = CanEdit
	}
	routes, ok := c.order[can]
	if !ok {
		routes = c.routes
	}
	var own, substitutes []candidate
	for _, r := range routes {
		if len(r.opts.Only) > 0 && !slices.Contains(r.opts.Only, can) {
			continue
		}
		model, ok := m.For(r.opts.API)
		switch {
		case !ok || !model.Can(req):
		case model.Name == m.Name:
			own = append(own, candidate{r, model})
		default:
			substitutes = append(substitutes, candidate{r, model})
		}
	}
	return append(own, substitutes...)
}

// First is the call that Generate would begin with now. It is false while no
// route would take it.
func (c *Chain) First(m Model, req Request) (Call, bool) {
	for _, cand := range c.candidates(m, req) {
		if cand.ready() {
			return cand.route.newCall(cand.model, req), true
		}
	}
	return Call{}, false
}
