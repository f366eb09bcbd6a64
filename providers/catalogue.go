package providers

import (
	"slices"
	"strings"
	"time"
)

// DefaultModel is the model of a request that names none.
const DefaultModel = "banana"

// Micros is an amount of US dollars in millionths, so that money stays integer.
type Micros int64

// A Model is one image model as callers know it. The name is ours and outlives
// the upstream model behind it.
type Model struct {
	Name           string // ours: "banana"
	Title          string // for people
	Upstream       string // what Request.Model gets
	Provider       string // Provider.Name of the upstream
	MediaType      string // what it answers with unless told otherwise
	MaxReferences  int    // most reference images in one request
	Resolutions    []Resolution
	AspectRatios   []string  // "16:9"; the first is the default
	ExactSizes     bool      // it makes just the pixels asked, within its limits
	Masks          bool      // it takes a mask
	Transparent    bool      // it makes transparent backgrounds
	Qualities      []Quality // what it can be asked for, cheapest first; none: it has but one
	DefaultQuality string    // of a request that names none of them
	Substitutes    []string  // ours, best first: models of other providers that may stand in
	Price          Price
	Lifecycle
}

// A Resolution is one size class of a model. The first of a model is its default.
type Resolution struct {
	Name           string        // "1K", "2K" or "4K"
	Scale          int           // factor on the 1K pixel grid
	ImageTokens    int           // billed for one image, square and of the default quality if that matters
	Credits        int           // charged for one image; 1 is a 1K image on DefaultModel
	TypicalLatency time.Duration // median time to an image
}

// A Price is what the upstream bills, per million tokens.
type Price struct {
	Input      Micros // input of text and, unless it has a price of its own, of pictures
	InputImage Micros // input of pictures; 0 is Input
	Image      Micros // output of modality image
	Text       Micros // other output, thoughts included
}

// A Lifecycle says when the upstream began and ceases to serve a model. A nil
// time has not been announced.
type Lifecycle struct {
	ReleasedAt   *time.Time
	DeprecatedAt *time.Time
	ShutdownAt   *time.Time
	ReplacedBy   string // upstream name of the successor
}

// An Alias is a foreign or retired name that callers may go on using.
type Alias struct {
	Name  string
	Model string // ours, which serves it
	Lifecycle
}

// Models lists the catalogue, the default model first. The caller owns the result.
func Models() []Model {
	list := make([]Model, len(models))
	for i, m := range models {
		list[i] = m.clone()
	}
	return list
}

// Aliases lists the foreign and retired names. The caller owns the result.
func Aliases() []Alias { return slices.Clone(aliases) }

// Lookup finds the model that serves a name: ours, an alias, or "" for the
// default. Letter case does not matter, nor does a "models/" before the name.
func Lookup(name string) (Model, bool) {
	name = canonical(name)
	if name == "" {
		name = DefaultModel
	}
	if a, ok := LookupAlias(name); ok {
		name = a.Model
	}
	for _, m := range models {
		if m.Name == name {
			return m.clone(), true
		}
	}
	return Model{}, false
}

// LookupAlias finds a foreign or retired name, for its lifecycle.
func LookupAlias(name string) (Alias, bool) {
	name = canonical(name)
	for _, a := range aliases {
		if a.Name == name {
			return a, true
		}
	}
	return Alias{}, false
}

func canonical(name string) string {
	return strings.TrimPrefix(strings.ToLower(name), "models/")
}

func (m Model) clone() Model {
	m.Resolutions = slices.Clone(m.Resolutions)
	m.AspectRatios = slices.Clone(m.AspectRatios)
	m.Substitutes = slices.Clone(m.Substitutes)
	m.Qualities = slices.Clone(m.Qualities)
	return m
}

// Resolution finds one of the model's resolutions; "" is its default.
func (m Model) Resolution(name string) (Resolution, bool) {
	if name == "" && len(m.Resolutions) > 0 {
		return m.Resolutions[0], true
	}
	for _, r := range m.Resolutions {
		if r.Name == name {
			return r, true
		}
	}
	return Resolution{}, false
}

// Cost is what the upstream bills for a call. The products are summed exactly
// and the sum is rounded up to a whole micro-dollar. Where the upstream reported
// no usage at all, it is the price of one image of that resolution.
func (m Model) Cost(resolution string, u Usage) Micros {
	if u == (Usage{}) {
		r, _ := m.Resolution(resolution)
		u.ImageTokens = r.ImageTokens
	}
	const million = 1_000_000
	pictures := m.Price.InputImage
	if pictures == 0 {
		pictures = m.Price.Input
	}
	given := min(u.InputImageTokens, u.PromptTokens)
	sum := m.Price.Input*Micros(u.PromptTokens-given) +
		pictures*Micros(given) +
		m.Price.Image*Micros(u.ImageTokens) +
		m.Price.Text*Micros(u.TextTokens)
	return (sum + million - 1) / million
}

// CostOf is Cost for a call whose request is known: where the upstream reported
// no usage, the price of just the pixels and the quality that were asked for.
func (m Model) CostOf(req Request, u Usage) Micros {
	if u == (Usage{}) {
		size, _ := m.NativeSize(req)
		u.ImageTokens = m.OutputTokens(size.Width, size.Height, req.Quality)
	}
	return m.Cost(m.Fitted(req).Resolution, u)
}

// For returns the model that serves this one's requests at a provider: itself at
// its own, a substitute elsewhere. It is false where there is none.
func (m Model) For(provider string) (Model, bool) {
	if m.Provider == provider {
		return m, true
	}
	for _, name := range m.Substitutes {
		if s, ok := Lookup(name); ok && s.Provider == provider {
			return s, true
		}
	}
	return Model{}, false
}

// Can reports whether the model can do what a request asks: its number of
// references, a mask, a transparent background, its shape.
func (m Model) Can(req Request) bool {
	switch {
	case len(req.References) > m.MaxReferences, req.Mask != nil && !m.Masks, req.Background == "transparent" && !m.Transparent:
		return false
	}
	_, ok := m.NativeSize(req)
	return ok
}
