package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// routesCmd shows and switches the routes to the providers.
type routesCmd struct {
	List   routesListCmd   `cmd:"" default:"withargs" help:"List the routes as the fleet sees them."`
	Drain  routesDrainCmd  `cmd:"" help:"Send no more calls over a route, in every worker within two seconds."`
	Enable routesEnableCmd `cmd:"" help:"Send calls over a route again, and forget what was known against it."`
}

type routesListCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// routeView is one route as an operator sees it, summed over the workers.
type routeView struct {
	Name           string     `json:"name"`
	Provider       string     `json:"provider"`
	State          string     `json:"state"` // "ready", "drained", "disabled", "cooldown", "open", "probing"
	CooldownUntil  *time.Time `json:"cooldown_until"`
	CooldownReason string     `json:"cooldown_reason,omitempty"`
	OpenUntil      *time.Time `json:"open_until"`
	Workers        int        `json:"workers"`
	InFlight       int        `json:"in_flight"`
	Concurrency    int        `json:"concurrency"`
	Calls          int        `json:"calls_last_minute"`
	SuccessRate    *float64   `json:"success_rate"` // nil without calls
	failed         int
	enabled        int  // workers whose configuration lets them use it
	disabled       bool // by the configuration of every worker that has it
}

// Run prints a line per route, in the order of the configuration.
func (c *routesListCmd) Run(ctx context.Context, cfg *config, con *console) error {
	seen, err := openRoutes(ctx, cfg)
	if err != nil {
		return err
	}
	defer seen.db.Close()
	if c.JSON {
		enc := json.NewEncoder(con.out)
		enc.SetIndent("", "  ")
		return enc.Encode(seen.views)
	}
	if !slices.ContainsFunc(seen.views, func(v *routeView) bool { return v.Workers > 0 }) {
		_, _ = fmt.Fprintln(con.out, seen.idle())
	}
	if len(seen.views) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "ROUTE\tPROVIDER\tSTATE\tIN FLIGHT\tCALLS/MIN\tSUCCESS\tWORKERS")
	for _, v := range seen.views {
		success := "-"
		if v.SuccessRate != nil {
			success = fmt.Sprintf("%.0f %%", 100**v.SuccessRate)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%d of %d\t%d\t%s\t%d\n",
			v.Name, v.Provider, v.describe(time.Now()), v.InFlight, v.Concurrency, v.Calls, success, v.Workers)
	}
	return table.Flush()
}

// routesSeen is what workers and the fleet's memory say of the routes.
type routesSeen struct {
	db      *store.DB // to be closed
	workers int       // that live
	views   []*routeView
}

// openRoutes opens the database and reads what is known of the routes.
func openRoutes(ctx context.Context, cfg *config) (_ *routesSeen, err error) {
	db, err := openStoreOrDev(ctx, cfg, "routes")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	workers, err := db.Workers(ctx, store.WorkerSilence)
	if err != nil {
		return nil, err
	}
	known, err := db.ProviderRoutes(ctx)
	if err != nil {
		return nil, err
	}
	return &routesSeen{db: db, workers: len(workers), views: viewRoutes(workers, known, time.Now())}, nil
}

// idle says why no worker reports a route.
func (s *routesSeen) idle() string {
	switch s.workers {
	case 0:
		return "no worker is running"
	case 1:
		return "1 worker runs and has no route: live keys are simulated"
	}
	return fmt.Sprintf("%d workers run, none has a route: live keys are simulated", s.workers)
}

// describe says the state and how long it lasts.
func (v *routeView) describe(now time.Time) string {
	switch v.State {
	case "cooldown":
		return fmt.Sprintf("cooldown %s (%s)", v.CooldownUntil.Sub(now).Round(time.Second), v.CooldownReason)
	case "open":
		return fmt.Sprintf("open, probe in %s", v.OpenUntil.Sub(now).Round(time.Second))
	}
	return v.State
}

// viewRoutes brings together what workers report and what the fleet knows: the
// routes of the worker that started last in its order, then what only others have,
// then what is only known.
func viewRoutes(workers []*store.Worker, known []*store.ProviderRoute, now time.Time) []*routeView {
	views := []*routeView{} // an empty list in JSON
	view := func(name string) *routeView {
		for _, v := range views {
			if v.Name == name {
				return v
			}
		}
		views = append(views, &routeView{Name: name, State: "ready"})
		return views[len(views)-1]
	}
	newest := func(a, b *store.Worker) int { return b.StartedAt.Compare(a.StartedAt) }
	for _, w := range slices.SortedStableFunc(slices.Values(workers), newest) {
		for _, r := range w.Routes {
			view(r.Name).add(r)
		}
	}
	for _, k := range known {
		view(k.Name).know(k, now)
	}
	for _, v := range views {
		v.disabled = v.Workers > 0 && v.enabled == 0
		if v.disabled {
			v.State = "disabled" // whatever else: no switch changes it
		}
		if v.Calls > 0 {
			rate := 1 - float64(v.failed)/float64(v.Calls)
			v.SuccessRate = &rate
		}
	}
	return views
}

// add adds what a worker reports of a route.
func (v *routeView) add(r store.RouteReport) {
	v.Provider = r.Provider
	v.Workers++
	v.InFlight += r.InFlight
	v.Concurrency += r.Concurrency
	v.Calls += r.Calls
	v.failed += r.Failed
	if r.Enabled {
		v.enabled++
	}
	if r.Breaker != "closed" {
		v.State = "probing" // unless the fleet knows until when it is open
	}
}

// know adds what the fleet knows of a route.
func (v *routeView) know(k *store.ProviderRoute, now time.Time) {
	if k.OpenUntil != nil && k.OpenUntil.After(now) {
		v.State, v.OpenUntil = "open", k.OpenUntil
	}
	if k.CooldownUntil != nil && k.CooldownUntil.After(now) {
		v.State, v.CooldownUntil = "cooldown", k.CooldownUntil
		if k.CooldownReason != nil {
			v.CooldownReason = *k.CooldownReason
		}
	}
	if !k.Enabled {
		v.State = "drained"
	}
}

type routesDrainCmd struct {
	Route string `arg:"" help:"The route's name, as list shows it."`
}

// Run drains the route.
func (c *routesDrainCmd) Run(ctx context.Context, cfg *config, con *console) error {
	return switchRoute(ctx, cfg, con, c.Route, false)
}

type routesEnableCmd struct {
	Route string `arg:"" help:"The route's name, as list shows it."`
}

// Run enables the route.
func (c *routesEnableCmd) Run(ctx context.Context, cfg *config, con *console) error {
	return switchRoute(ctx, cfg, con, c.Route, true)
}

// switchRoute drains or enables a route that a worker has or that is known.
func switchRoute(ctx context.Context, cfg *config, con *console, name string, enabled bool) error {
	seen, err := openRoutes(ctx, cfg)
	if err != nil {
		return err
	}
	defer seen.db.Close()
	var names []string
	for _, v := range seen.views {
		names = append(names, v.Name)
	}
	switch i := slices.Index(names, name); {
	case len(names) == 0:
		return fmt.Errorf("there is no route %q: %s", name, seen.idle())
	case i < 0:
		return fmt.Errorf("there is no route %q; the routes are %s", name, strings.Join(names, ", "))
	case enabled && seen.views[i].disabled:
		return fmt.Errorf("route %q is disabled by the workers' configuration: take \"disabled\" out of it in NANOBANANA_ROUTES and start them anew", name)
	}
	err = seen.db.Transact(ctx, func(tx *store.DB) error {
		if err := tx.SwitchRoute(ctx, name, enabled, operator()); err != nil {
			return err
		}
		c := commandChange{
			Program: "nanobanana routes", Action: map[bool]string{true: "route.enable", false: "route.drain"}[enabled], Kind: "route", ID: name,
			Before: map[string]any{"state": seen.views[slices.Index(names, name)].State}, After: map[string]any{"enabled": enabled},
		}
		return c.record(ctx, tx)
	})
	if err != nil {
		return err
	}
	state := "drained: it takes no new call, and those under way go on"
	if enabled {
		state = "enabled"
	}
	_, _ = fmt.Fprintf(con.out, "%s is %s\n", name, state)
	return nil
}

// operator names who runs the command, for the record.
func operator() string {
	host, _ := os.Hostname()
	if u, err := user.Current(); err == nil {
		return u.Username + "@" + host
	}
	return host
}
