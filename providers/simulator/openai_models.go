package simulator

import (
	"slices"
	"time"
)

// An openaiModel is an image model of the OpenAI API as it answers on 2026-11-21.
type openaiModel struct {
	name     string
	released time.Time
	shutdown time.Time      // zero if none is announced
	factors  map[string]int // of the token formula by quality; nil for a classic model
	planning bool           // takes complexity
}

// classic reports whether the model makes three sizes only, and bills them from
// a table.
func (m openaiModel) classic() bool { return m.factors == nil }

// openaiModels lists the models that there are, the latest last.
func openaiModels() []openaiModel {
	day := func(year int, month time.Month, day int) time.Time {
		return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	}
	end := day(2026, 12, 1)
	two := map[string]int{"low": 16, "medium": 48, "high": 96}
	later := map[string]int{"low": 16, "medium": 24, "high": 48, "xhigh": 64, "max": 96}
	return []openaiModel{
		{name: "gpt-image-1-mini", released: day(2025, 10, 6), shutdown: end},
		{name: "gpt-image-1.5", released: day(2025, 12, 16), shutdown: end},
		{name: "chatgpt-image-latest", released: day(2025, 12, 16), shutdown: end},
		{name: "gpt-image-2", released: day(2026, 4, 21), factors: two},
		{name: "gpt-image-2-2026-04-21", released: day(2026, 4, 21), factors: two},
		{name: "gpt-image-2.5-flare", released: day(2026, 9, 8), factors: later},
		{name: "gpt-image-2.5-flare-2026-09-08", released: day(2026, 9, 8), factors: later},
		{name: "gpt-image-2.5-sunburst", released: day(2026, 9, 8), factors: later},
		{name: "gpt-image-2.5-sunburst-2026-09-08", released: day(2026, 9, 8), factors: later},
		{name: "gpt-image-2.6-flare", released: day(2026, 11, 4), factors: later, planning: true},
		{name: "gpt-image-2.6-sunburst", released: day(2026, 11, 4), factors: later, planning: true},
	}
}

// retiredModels lists those that there are no more.
func retiredModels() []string { return []string{"dall-e-2", "dall-e-3", "gpt-image-1"} }

// findModel finds a model that is not shut down.
func (c *openaiCall) findModel(name string) (openaiModel, *openaiError) {
	if slices.Contains(retiredModels(), name) {
		return openaiModel{}, modelRetired(name)
	}
	for _, m := range openaiModels() {
		if m.name != name {
			continue
		}
		if m.over(c.srv.opts.Now()) {
			return openaiModel{}, modelRetired(name)
		}
		return m, nil
	}
	return openaiModel{}, openaiModelNotFound(name)
}

func (m openaiModel) over(now time.Time) bool { return !m.shutdown.IsZero() && !now.Before(m.shutdown) }

// qualities lists the values of quality, beside auto.
func (m openaiModel) qualities() []string {
	all := []string{"low", "medium", "high"}
	if _, ok := m.factors["max"]; ok {
		all = append(all, "xhigh", "max")
	}
	return all
}

// tokens is what one image costs (community.openai.com/t/1382699; of the classic
// models platform.openai.com/docs/guides/image-generation).
func (m openaiModel) tokens(quality string, w, h int) int {
	if m.classic() {
		table := map[string][3]int{"low": {272, 408, 400}, "medium": {1056, 1584, 1568}, "high": {4160, 6240, 6208}}[quality]
		switch {
		case w < h:
			return table[1]
		case w > h:
			return table[2]
		}
		return table[0]
	}
	f, long, short := m.factors[quality], max(w, h), min(w, h)
	s := (2*f*short + long) / (2 * long)
	return (f*s*(2_000_000+w*h) + 4_000_000 - 1) / 4_000_000
}

// inputTokens is what a reference image costs: one for each 32 pixels square
// that it touches.
func inputTokens(w, h int) int { return ((w + 31) / 32) * ((h + 31) / 32) }

// median is the usual time of one image, which is an assumption: the API tells
// no more than that better ones take longer.
func (m openaiModel) median(quality string, w, h int) time.Duration {
	seconds := map[string]int{"low": 6, "medium": 15, "high": 40, "xhigh": 60, "max": 100}[quality]
	base := time.Duration(seconds) * time.Second
	return base + base/2*time.Duration(max(0, w*h-1<<20))/(1<<22)
}

// openaiWireModel is a model as the list of models shows it.
type openaiWireModel struct {
	ID           string  `json:"id"`
	Object       string  `json:"object"`
	Created      int64   `json:"created"`
	OwnedBy      string  `json:"owned_by"`
	ShutdownDate *string `json:"shutdown_date"` // "2026-12-01", or null
}

// wireModels lists the models that are not shut down.
func (c *openaiCall) wireModels() []openaiWireModel {
	var list []openaiWireModel
	for _, m := range openaiModels() {
		if m.over(c.srv.opts.Now()) {
			continue
		}
		w := openaiWireModel{ID: m.name, Object: "model", Created: m.released.Unix(), OwnedBy: "system"}
		if !m.shutdown.IsZero() {
			date := m.shutdown.Format(time.DateOnly)
			w.ShutdownDate = &date
		}
		list = append(list, w)
	}
	return list
}
