package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
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
	State          string     `json:"state"` // "ready", "drained", "cooldown", "open", "probing"
	CooldownUntil  *time.Time `json:"cooldown_until"`
	CooldownReason string     `json:"cooldown_reason,omitempty"`
	OpenUntil      *time.Time `json:"open_until"`
	Workers        int        `json:"workers"`
	InFlight       int        `json:"in_flight"`
	Concurrency    int        `json:"concurrency"`
	Calls          int        `json:"calls_last_minute"`
	SuccessRate    *float64   `json:"success_rate"` // nil without calls
	failed         int
}

// Run prints a line per route.
func (c *routesListCmd) Run(ctx context.Context, cfg *config, con *console) error {
	db, err := openStore(ctx, cfg, "routes")
	if err != nil {
		return err
	}
	defer db.Close()
	workers, err := db.Workers(ctx, store.WorkerSilence)
	if err != nil {
		return err
	}
	known, err := db.ProviderRoutes(ctx)
	if err != nil {
		return err
	}
	views := viewRoutes(workers, known, time.Now())
	if c.JSON {
		enc := json.NewEncoder(con.out)
		enc.SetIndent("", "  ")
		return enc.Encode(views)
	}
	if len(views) == 0 {
		_, _ = fmt.Fprintln(con.out, "no worker is running, and nothing is known of any route")
		return nil
	}
	table := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "ROUTE\tPROVIDER\tSTATE\tIN FLIGHT\tCALLS/MIN\tSUCCESS\tWORKERS")
	for _, v := range views {
		success := "-"
		if v.SuccessRate != nil {
			success = fmt.Sprintf("%.0f %%", 100**v.SuccessRate)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%d of %d\t%d\t%s\t%d\n",
			v.Name, v.Provider, v.describe(time.Now()), v.InFlight, v.Concurrency, v.Calls, success, v.Workers)
	}
	return table.Flush()
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

// viewRoutes brings together what workers report and what the fleet knows.
func viewRoutes(workers []*store.Worker, known []*store.ProviderRoute, now time.Time) []*routeView {
	views := map[string]*routeView{}
	view := func(name string) *routeView {
		if views[name] == nil {
			views[name] = &routeView{Name: name, State: "ready"}
		}
		return views[name]
	}
	for _, w := range workers {
		for _, r := range w.Routes {
			v := view(r.Name)
			v.Provider = r.Provider
			v.Workers++
			v.InFlight += r.InFlight
			v.Concurrency += r.Concurrency
			v.Calls += r.Calls
			v.failed += r.Failed
			if r.Breaker != "closed" {
				v.State = "probing" // unless the fleet knows until when it is open
			}
		}
	}
	for _, k := range known {
		view(k.Name).know(k, now)
	}
	for _, v := range views {
		if v.Calls > 0 {
			rate := 1 - float64(v.failed)/float64(v.Calls)
			v.SuccessRate = &rate
		}
	}
	sorted := make([]*routeView, 0, len(views))
	for _, name := range slices.Sorted(maps.Keys(views)) {
		sorted = append(sorted, views[name])
	}
	return sorted
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
	db, err := openStore(ctx, cfg, "routes")
	if err != nil {
		return err
	}
	defer db.Close()
	workers, err := db.Workers(ctx, store.WorkerSilence)
	if err != nil {
		return err
	}
	known, err := db.ProviderRoutes(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, v := range viewRoutes(workers, known, time.Now()) {
		names = append(names, v.Name)
	}
	if !slices.Contains(names, name) && len(names) == 0 {
		return fmt.Errorf("there is no route %q: no worker is running, and nothing is known of any route", name)
	}
	if !slices.Contains(names, name) {
		return fmt.Errorf("there is no route %q; the routes are %s", name, strings.Join(names, ", "))
	}
	if err := db.SwitchRoute(ctx, name, enabled, operator()); err != nil {
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
