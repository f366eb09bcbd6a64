// Package view is how rows look from outside: the JSON of answers, events and
// webhooks.
package view

import (
	"slices"
	"time"

	"github.com/nanobanana/nanobanana/providers"
)

// Simulator is the provider of what is simulated.
const Simulator = "simulator"

// Options configure a Viewer. SignImage is required.
type Options struct {
	// SignImage returns the signature of an image id, fit for a URL as it is.
	SignImage func(imageID string) string

	// SignEvents returns the signature of a generation's stream of events, fit for a
	// URL as it is. Nil: the stream's URL has none.
	SignEvents func(generationID string) string

	// LiveProviders are what live keys run on, "gemini" and "openai"; none: the
	// simulator.
	LiveProviders []string

	// Now is the clock; default time.Now.
	Now func() time.Time
}

// A Viewer shows rows to callers. It may be used by many at the same time.
type Viewer struct{ opts Options }

// New returns a Viewer.
func New(opts Options) *Viewer {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Viewer{opts: opts}
}

// At returns a Viewer that sees everything as of a moment: what it guesses of a
// generation's progress and end does not change with the clock.
func (v *Viewer) At(moment time.Time) *Viewer {
	opts := v.opts
	opts.Now = func() time.Time { return moment }
	return &Viewer{opts: opts}
}

func (v *Viewer) now() time.Time { return v.opts.Now() }

// LiveProvider is who makes a live key's images with a model: its own provider, or
// that of the model that stands in for it.
func (v *Viewer) LiveProvider(m providers.Model) string {
	if len(v.opts.LiveProviders) == 0 {
		return Simulator
	}
	if slices.Contains(v.opts.LiveProviders, m.Provider) {
		return m.Provider
	}
	for _, name := range v.opts.LiveProviders {
		if _, ok := m.For(name); ok {
			return name
		}
	}
	return m.Provider
}
