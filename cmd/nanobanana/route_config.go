package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/providers/gemini"
	"github.com/nanobanana/nanobanana/providers/openai"
)

// routeFile is what NANOBANANA_ROUTES holds: the routes of live keys, best first.
type routeFile struct {
	Routes []routeSpec         `json:"routes"`
	Order  map[string][]string `json:"order"` // capability to route names, where it differs from that of Routes
}

// routeSpec is one account with a provider.
type routeSpec struct {
	Name        string                     `json:"name"`
	API         string                     `json:"api"`     // "gemini" or "openai"
	KeyEnv      string                     `json:"key_env"` // name of the variable that holds its key
	URL         string                     `json:"url"`
	Vertex      *vertexSpec                `json:"vertex"` // Gemini by Google Cloud's credentials rather than by a key
	Concurrency int                        `json:"concurrency"`
	Timeouts    map[string]string          `json:"timeouts"` // by resolution: {"1K": "90s"}
	Prices      map[string]providers.Price `json:"prices"`   // by model of the catalogue, where the account's differ from it
	Only        []string                   `json:"only"`     // capabilities; none: all
	Disabled    bool                       `json:"disabled"`

	key string
}

type vertexSpec struct {
	Project     string `json:"project"`
	Location    string `json:"location"`    // default "global"
	Credentials string `json:"credentials"` // file; default: the machine's own
}

// routeName is what a route may be called.
var routeName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)

// routes returns the routes of live keys: those of NANOBANANA_ROUTES, or one for
// each key that is set. It returns every fault at once.
func (c *config) routes() (*routeFile, error) {
	file, err := c.readRoutes()
	if err != nil {
		return nil, err
	}
	var errs []error
	seen := map[string]bool{}
	for i := range file.Routes {
		r := &file.Routes[i]
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("route %q: %s", r.Name, fmt.Sprintf(format, args...)))
		}
		if !routeName.MatchString(r.Name) {
			bad("its name must be up to 40 lower-case letters, digits and hyphens")
		}
		if seen[r.Name] {
			bad("there are two of this name")
		}
		seen[r.Name] = true
		r.check(bad)
	}
	for capability, names := range file.Order {
		if !slices.Contains(capabilities, capability) {
			errs = append(errs, fmt.Errorf("order: %q is none of %s", capability, strings.Join(capabilities, ", ")))
		}
		for _, name := range names {
			if !seen[name] {
				errs = append(errs, fmt.Errorf("order of %s: there is no route %q", capability, name))
			}
		}
	}
	return file, errors.Join(errs...)
}

var capabilities = []string{"generate", "edit", "mask"}

func (r *routeSpec) check(bad func(format string, args ...any)) {
	if r.API != "gemini" && r.API != "openai" {
		bad("api %q is neither gemini nor openai", r.API)
	}
	switch {
	case r.Vertex != nil && r.API != "gemini":
		bad("only gemini is reached through Vertex")
	case r.Vertex != nil && r.Vertex.Project == "":
		bad("vertex needs a project")
	case r.Vertex == nil && r.key == "" && r.KeyEnv == "":
		bad("it needs key_env, the name of the variable that holds its key, or vertex")
	}
	if u, err := url.Parse(r.URL); r.URL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		bad("url %q is not an http:// or https:// address", r.URL)
	}
	if r.Concurrency < 0 || r.Concurrency > 10_000 {
		bad("concurrency %d is not a number from 1 to 10000", r.Concurrency)
	}
	for resolution, timeout := range r.Timeouts {
		if !slices.Contains([]string{"1K", "2K", "4K"}, resolution) {
			bad("timeouts: %q is none of 1K, 2K, 4K", resolution)
		}
		if d, err := time.ParseDuration(timeout); err != nil || d < minTimeout || d > maxTimeout {
			bad("timeouts: %q is not a time from %s to %s", timeout, minTimeout, maxTimeout)
		}
	}
	for name := range r.Prices {
		if m, ok := providers.Lookup(name); !ok || m.Name != name {
			bad("prices: there is no model %q", name)
		}
	}
	for _, capability := range r.Only {
		if !slices.Contains(capabilities, capability) {
			bad("only: %q is none of %s", capability, strings.Join(capabilities, ", "))
		}
	}
}

// Google refuses a call with less than 10 s left, and a run is over before a
// call of more than 3 minutes.
const minTimeout, maxTimeout = 10 * time.Second, 3 * time.Minute

// readRoutes reads NANOBANANA_ROUTES, or makes the routes of the keys that are set.
func (c *config) readRoutes() (*routeFile, error) {
	if c.Routes == "" {
		return &routeFile{Routes: c.defaultRoutes()}, nil
	}
	text := []byte(c.Routes)
	if path, ok := strings.CutPrefix(c.Routes, "@"); ok {
		var err error
		if text, err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("read routes: %w", err)
		}
	}
	file := &routeFile{}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(file); err != nil {
		return nil, fmt.Errorf(`it must be {"routes": [...]} or @FILE with that: %w`, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the routes")
	}
	if len(file.Routes) == 0 {
		return nil, errors.New("it lists no route")
	}
	for i := range file.Routes {
		file.Routes[i].key = os.Getenv(file.Routes[i].KeyEnv)
	}
	return file, nil
}

// defaultRoutes is one route for each account that is set, Gemini's first.
func (c *config) defaultRoutes() []routeSpec {
	var routes []routeSpec
	if c.GeminiAPIKey != "" {
		routes = append(routes, routeSpec{Name: "gemini", API: "gemini", key: c.GeminiAPIKey, URL: c.GeminiURL})
	}
	if c.Gemini2APIKey != "" {
		routes = append(routes, routeSpec{Name: "gemini-2", API: "gemini", key: c.Gemini2APIKey, URL: c.GeminiURL})
	}
	if c.VertexProject != "" {
		routes = append(routes, routeSpec{Name: "vertex", API: "gemini", Vertex: &vertexSpec{Project: c.VertexProject, Location: c.VertexLocation}})
	}
	if c.OpenAIAPIKey != "" {
		routes = append(routes, routeSpec{Name: "openai", API: "openai", key: c.OpenAIAPIKey, URL: c.OpenAIURL})
	}
	return routes
}

// accounts are the settings that defaultRoutes makes routes of.
func (c *config) accounts() []struct{ variable, value string } {
	return []struct{ variable, value string }{
		{"GEMINI_API_KEY", c.GeminiAPIKey}, {"NANOBANANA_GEMINI_2_API_KEY", c.Gemini2APIKey},
		{"NANOBANANA_VERTEX_PROJECT", c.VertexProject}, {"OPENAI_API_KEY", c.OpenAIAPIKey},
	}
}

// ignoredAccounts names the accounts that are set and that no route of
// NANOBANANA_ROUTES uses.
func (c *config) ignoredAccounts() []string {
	file, err := c.routes()
	if c.Routes == "" || err != nil { // check has told the error
		return nil
	}
	used := map[string]bool{}
	for _, r := range file.Routes {
		used[r.KeyEnv] = true
		if r.Vertex != nil && r.Vertex.Project == c.VertexProject {
			used["NANOBANANA_VERTEX_PROJECT"] = true
		}
	}
	var ignored []string
	for _, a := range c.accounts() {
		if a.value != "" && !used[a.variable] {
			ignored = append(ignored, a.variable)
		}
	}
	return ignored
}

// liveImages says for people where the images of live keys come from.
func (c *config) liveImages() string {
	file, err := c.routes()
	if err != nil || len(file.Routes) == 0 {
		return "live keys come from the simulator, because no account is set, such as GEMINI_API_KEY or OPENAI_API_KEY;\n" +
			"             answers say \"simulated\": true"
	}
	names := make([]string, len(file.Routes))
	for i, r := range file.Routes {
		names[i] = r.Name
		if r.Disabled {
			names[i] += " (disabled)"
		}
	}
	return "live keys cost money: routes " + strings.Join(names, ", ")
}

// liveChain is without routes where no provider is set: what the front door
// promised to a live key is then left to a worker that has one.
func liveChain(cfg *config) (providers.ChainOptions, error) {
	file, err := cfg.routes()
	if err != nil {
		return providers.ChainOptions{}, err
	}
	opts := providers.ChainOptions{Order: map[providers.Capability][]string{}}
	for capability, names := range file.Order {
		opts.Order[providers.Capability(capability)] = names
	}
	var errs []error
	for _, r := range file.Routes {
		route, err := r.open()
		if err != nil {
			errs = append(errs, fmt.Errorf("route %q: %w", r.Name, err))
		}
		opts.Routes = append(opts.Routes, route)
	}
	return opts, errors.Join(errs...)
}

// open makes the route's client. It calls nobody. Only here must the key be there:
// a front door has no use for it.
func (r *routeSpec) open() (providers.RouteOptions, error) {
	opts := providers.RouteOptions{
		Name: r.Name, API: r.API, Concurrency: r.Concurrency, Disabled: r.Disabled, Prices: r.Prices,
		Timeouts: map[string]time.Duration{},
	}
	for resolution, timeout := range r.Timeouts {
		opts.Timeouts[resolution] = get(time.ParseDuration(timeout))
	}
	for _, capability := range r.Only {
		opts.Only = append(opts.Only, providers.Capability(capability))
	}
	var err error
	switch {
	case r.Vertex == nil && r.key == "":
		err = fmt.Errorf("the variable %s is not set", r.KeyEnv)
	case r.API == "openai":
		opts.Provider, err = openai.New(openai.Options{APIKey: r.key, BaseURL: r.URL})
	case r.Vertex != nil:
		opts.Provider, err = gemini.New(gemini.Options{BaseURL: r.URL, Vertex: &gemini.Vertex{
			Project: r.Vertex.Project, Location: r.Vertex.Location, CredentialsFile: r.Vertex.Credentials,
		}})
	default:
		opts.Provider, err = gemini.New(gemini.Options{APIKey: r.key, BaseURL: r.URL})
	}
	return opts, err
}

// simulatorChain reaches the simulator in the wire format of each upstream.
func simulatorChain(url string) (providers.ChainOptions, error) {
	asGemini, err := gemini.New(gemini.Options{Name: "simulator", APIKey: "simulator", BaseURL: url})
	if err != nil {
		return providers.ChainOptions{}, err
	}
	asOpenAI, err := openai.New(openai.Options{Name: "simulator", APIKey: "simulator", BaseURL: url})
	if err != nil {
		return providers.ChainOptions{}, err
	}
	return providers.ChainOptions{Routes: []providers.RouteOptions{
		{Name: "simulator", API: "gemini", Provider: asGemini, Concurrency: maxCalls},
		{Name: "simulator-openai", API: "openai", Provider: asOpenAI, Concurrency: maxCalls},
	}}, nil
}

// maxCalls leaves the limit to the worker's own concurrency.
const maxCalls = 10_000
