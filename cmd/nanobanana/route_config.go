package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	Routes []routeSpec `json:"routes"`
	Order  routeOrder  `json:"order"` // capability to route names, where it differs from that of Routes
}

// routeOrder refuses to be given twice for one capability, of which JSON would keep
// the last.
type routeOrder map[string][]string

// UnmarshalJSON implements json.Unmarshaler.
func (o *routeOrder) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, (*map[string][]string)(o)); err != nil {
		return err
	}
	dec, seen := json.NewDecoder(bytes.NewReader(text)), map[string]bool{}
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return err // null
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		capability, _ := name.(string)
		if seen[capability] {
			return fmt.Errorf("there are two orders of %s", capability)
		}
		seen[capability] = true
		if err := dec.Decode(new([]string)); err != nil {
			return err
		}
	}
	return nil
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
	errs = append(errs, file.checkOrder(seen)...)
	return file, errors.Join(errs...)
}

// active lists the routes that are not switched off: without any, live keys have no
// provider.
func (f *routeFile) active() []routeSpec {
	return slices.DeleteFunc(slices.Clone(f.Routes), func(r routeSpec) bool { return r.Disabled })
}

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
		file.Routes[i].key = trimKey(os.Getenv(file.Routes[i].KeyEnv))
	}
	return file, nil
}

// defaultRoutes is one route for each account that is set, Gemini's first.
func (c *config) defaultRoutes() []routeSpec {
	var routes []routeSpec
	if trimKey(c.GeminiAPIKey) != "" {
		routes = append(routes, routeSpec{Name: "gemini", API: "gemini", KeyEnv: "GEMINI_API_KEY", key: trimKey(c.GeminiAPIKey), URL: c.GeminiURL})
	}
	if trimKey(c.Gemini2APIKey) != "" {
		routes = append(routes, routeSpec{Name: "gemini-2", API: "gemini", KeyEnv: "NANOBANANA_GEMINI_2_API_KEY", key: trimKey(c.Gemini2APIKey), URL: c.GeminiURL})
	}
	if c.VertexProject != "" {
		routes = append(routes, routeSpec{Name: "vertex", API: "gemini", Vertex: &vertexSpec{Project: c.VertexProject, Location: c.VertexLocation}})
	}
	if trimKey(c.OpenAIAPIKey) != "" {
		routes = append(routes, routeSpec{Name: "openai", API: "openai", KeyEnv: "OPENAI_API_KEY", key: trimKey(c.OpenAIAPIKey), URL: c.OpenAIURL})
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
