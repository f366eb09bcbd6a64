package main

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nanobanana/nanobanana/providers"
)

var (
	capabilities = []string{"generate", "edit", "mask"}

	// What Vertex calls places and projects: they become part of a URL.
	vertexLocation = regexp.MustCompile(`^[a-z0-9-]+$`)
	vertexProject  = regexp.MustCompile(`^[a-z0-9:.-]+$`)
)

// Google refuses a call with less than 10 s left, and a run is over before a
// call of more than 3 minutes.
const minTimeout, maxTimeout = 10 * time.Second, 3 * time.Minute

// checkOrder finds what is wrong with the orders of the routes that there are.
func (f *routeFile) checkOrder(known map[string]bool) []error {
	var errs []error
	for _, capability := range slices.Sorted(maps.Keys(f.Order)) {
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("order of %s: %s", capability, fmt.Sprintf(format, args...)))
		}
		if !slices.Contains(capabilities, capability) {
			errs = append(errs, fmt.Errorf("order: %q is none of %s", capability, strings.Join(capabilities, ", ")))
		}
		if len(f.Order[capability]) == 0 {
			bad("it lists no route")
		}
		seen := map[string]bool{}
		for _, name := range f.Order[capability] {
			switch {
			case seen[name]:
				bad("route %q is listed twice", name)
			case !known[name]:
				bad("there is no route %q", name)
			}
			seen[name] = true
		}
	}
	return errs
}

func (r *routeSpec) check(bad func(format string, args ...any)) {
	if r.API != "gemini" && r.API != "openai" {
		bad("api %q is neither gemini nor openai", r.API)
	}
	r.checkAccount(bad)
	if u, err := url.Parse(r.URL); r.URL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		bad("url %q is not an http:// or https:// address", bare(r.URL))
	}
	if r.Concurrency < 0 || r.Concurrency > 10_000 {
		bad("concurrency %d is not a number from 1 to 10000", r.Concurrency)
	}
	for _, resolution := range slices.Sorted(maps.Keys(r.Timeouts)) {
		timeout := r.Timeouts[resolution]
		if !slices.Contains([]string{"1K", "2K", "4K"}, resolution) {
			bad("timeouts: %q is none of 1K, 2K, 4K", resolution)
		}
		if d, err := time.ParseDuration(timeout); err != nil || d < minTimeout || d > maxTimeout {
			bad("timeouts: %q is not a time from %s to %s", timeout, minTimeout, maxTimeout)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Prices)) {
		if m, ok := providers.Lookup(name); !ok || m.Name != name {
			bad("prices: there is no model %q", name)
		}
		checkPrice(r.Prices[name], func(problem string) { bad("prices of %s: %s", name, problem) })
	}
	for _, capability := range r.Only {
		if !slices.Contains(capabilities, capability) {
			bad("only: %q is none of %s", capability, strings.Join(capabilities, ", "))
		}
	}
}

// checkAccount looks at the key or the project that pays.
func (r *routeSpec) checkAccount(bad func(format string, args ...any)) {
	if !isKey(r.key) {
		bad("the key in %s has blanks, line breaks or other characters that no key has", r.KeyEnv)
	}
	if r.Vertex == nil {
		if r.KeyEnv == "" {
			bad("it needs key_env, the name of the variable that holds its key, or vertex")
		}
		return
	}
	switch {
	case r.API != "gemini":
		bad("only gemini is reached through Vertex")
	case r.KeyEnv != "":
		bad("it takes key_env or vertex, not both")
	}
	switch {
	case r.Vertex.Project == "":
		bad("vertex needs a project")
	case !vertexProject.MatchString(r.Vertex.Project):
		bad("vertex: project %q is not made of lower-case letters, digits, hyphens, colons and dots", r.Vertex.Project)
	}
	if r.Vertex.Location != "" && !vertexLocation.MatchString(r.Vertex.Location) {
		bad("vertex: location %q is not made of lower-case letters, digits and hyphens", r.Vertex.Location)
	}
}

// checkPrice sees that nothing is sold for nothing by an oversight.
func checkPrice(p providers.Price, bad func(problem string)) {
	for _, part := range []struct {
		name  string
		value providers.Micros
	}{{"input", p.Input}, {"image", p.Image}, {"text", p.Text}} {
		switch {
		case part.value < 0:
			bad(part.name + " is negative")
		case part.value == 0:
			bad(part.name + " is missing")
		}
	}
	if p.InputImage < 0 {
		bad("inputImage is negative")
	}
}

// trimKey drops the line break that files and shells leave at the end of a key.
func trimKey(key string) string { return strings.TrimRight(key, "\r\n") }

// isKey reports whether a key can travel in a header: it has no blank, nothing that
// cannot be seen, and nothing beyond ASCII.
func isKey(key string) bool {
	return !strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' })
}

// bare is an address that was refused, without what may be secret in it.
func bare(address string) string {
	address, _, _ = strings.Cut(address, "#")
	address, _, _ = strings.Cut(address, "?")
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return address
	}
	scheme, _, ok := strings.Cut(address[:at], "://")
	if !ok {
		return address[at+1:]
	}
	return scheme + "://" + address[at+1:]
}
