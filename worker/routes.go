package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
)

// makeChains makes the chain of live keys, and sees that those of the simulator
// can be made.
func (w *Worker) makeChains() error {
	if _, err := w.chainFor(true); err != nil {
		return err
	}
	if len(w.opts.Live.Routes) == 0 {
		return nil
	}
	opts := w.opts.Live
	opts.OnChange, opts.Logger = w.news.add, w.opts.Logger
	var err error
	w.live, err = providers.NewChain(opts)
	return err
}

// chainFor returns the routes that serve a generation.
func (w *Worker) chainFor(simulated bool) (*providers.Chain, error) {
	switch {
	case simulated:
		opts := w.opts.Simulator
		opts.Logger = nil // its faults are asked for
		return providers.NewChain(opts)
	case w.live == nil:
		return nil, errNoProvider
	}
	return w.live, nil
}

// firstCalls returns for each store.CallKey the call that would be made first
// now, for a request that every route can serve.
func (w *Worker) firstCalls() map[string]providers.Call {
	calls := map[string]providers.Call{}
	simulated, _ := w.chainFor(true) // makeChains has made one
	for _, m := range providers.Models() {
		req := providers.Request{Resolution: m.Resolutions[0].Name}
		req.Width, req.Height = m.Pixels("", "")
		for _, chain := range []*providers.Chain{simulated, w.live} {
			if chain == nil {
				continue
			}
			if call, ok := chain.First(m, req); ok {
				calls[store.CallKey(chain == simulated, m.Name)] = call
			}
		}
	}
	return calls
}

// routeReports says how this process sees its routes.
func (w *Worker) routeReports() []store.RouteReport {
	if w.live == nil {
		return nil
	}
	var reports []store.RouteReport
	for i, s := range w.live.Status() { // in the order of the options
		reports = append(reports, store.RouteReport{
			Name: s.Name, Provider: s.Provider, Enabled: !w.opts.Live.Routes[i].Disabled, Concurrency: s.Concurrency, InFlight: s.InFlight,
			Calls: s.Calls, Failed: s.Failed, Breaker: s.Breaker,
		})
	}
	return reports
}

// applyRoutes takes over what the fleet knows of the routes, but for those of
// which this process has news that the fleet has yet to hear, or had before what
// the fleet knows was read.
func (w *Worker) applyRoutes(known []*store.ProviderRoute, before map[string]bool) {
	if w.live == nil {
		return
	}
	untold := w.news.routes()
	for _, k := range known {
		if untold[k.Name] || before[k.Name] {
			continue
		}
		state := providers.RouteState{Name: k.Name, Enabled: k.Enabled, CooldownUntil: k.Here(k.CooldownUntil), OpenUntil: k.Here(k.OpenUntil)}
		if k.CooldownReason != nil {
			state.CooldownReason = *k.CooldownReason
		}
		w.live.Apply(state)
	}
}

// news is what this process found out about routes and has not told the fleet.
type news struct {
	mu   sync.Mutex
	list []finding
	wake chan struct{} // has room for one signal
}

type finding struct {
	providers.RouteChange
	found time.Time
}

// add never blocks.
func (n *news) add(change providers.RouteChange) {
	n.mu.Lock()
	n.list = append(n.list, finding{change, time.Now()})
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *news) first() (finding, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.list) == 0 {
		return finding{}, false
	}
	return n.list[0], true
}

func (n *news) told() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = n.list[1:]
}

func (n *news) routes() map[string]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	routes := map[string]bool{}
	for _, change := range n.list {
		routes[change.Route] = true
	}
	return routes
}

// tellFleet records this process's news of routes, in order, until ctx ends. What
// the database does not take now it is told again.
func (w *Worker) tellFleet(ctx context.Context) {
	for {
		change, ok := w.news.first()
		if !ok {
			select {
			case <-w.news.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		if err := w.tell(ctx, change); err != nil {
			w.opts.Logger.Warn("news of a route not recorded, trying again", "error", err)
			select {
			case <-time.After(beatEvery):
				continue
			case <-ctx.Done():
				return
			}
		}
		w.live.Told(change.RouteChange)
		w.news.told()
	}
}

// tellRest records what is untold when the worker stops, as far as it can.
func (w *Worker) tellRest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	for change, ok := w.news.first(); ok; change, ok = w.news.first() {
		if err := w.tell(ctx, change); err != nil {
			w.opts.Logger.Warn("news of routes were lost", "error", err)
			return
		}
		w.news.told()
	}
}

func (w *Worker) tell(ctx context.Context, change finding) error {
	n := store.RouteNews{Name: change.Route, By: w.opts.ID, Age: time.Since(change.found)}
	left := max(0, time.Until(change.Until))
	switch change.What {
	case providers.ChangeCooldown:
		n.Cooldown, n.Reason = left, change.Reason
	case providers.ChangeOpen:
		n.Open = left
	case providers.ChangeClosed:
		n.Closed = true
	default:
		return fmt.Errorf("unknown change %q", change.What)
	}
	w.opts.Logger.Warn("route changed", "route", change.Route, "change", change.What, "for", left.Round(time.Second), "reason", change.Reason)
	return w.opts.DB.SaveRouteNews(ctx, n)
}
