package simulator

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"time"
)

// A faultBook holds the faults that need no directive and counts what first=N
// needs.
type faultBook struct {
	mu        sync.Mutex
	faults    []*heldFault
	sightings sightings
}

// A heldFault is a fault of the book.
type heldFault struct {
	Fault
	hits  int
	until time.Time // zero is for ever
}

// applies decides about one request.
func (h *heldFault) applies(model, route string, now time.Time, chance func(float64) bool) bool {
	if !h.matches(model, route) || h.over(now) || (h.First > 0 && h.hits >= h.First) || (h.P > 0 && !chance(h.P)) {
		return false
	}
	h.hits++
	return true
}

func (h *heldFault) over(now time.Time) bool { return !h.until.IsZero() && !now.Before(h.until) }

// SetFaults replaces the faults that apply to prompts without a directive. The
// first that matches a request is applied. A Fault.For that is no duration is
// for ever.
func (s *Server) SetFaults(faults []Fault) {
	s.faults.add(faults, s.opts.Now(), true)
}

// AddFaults adds to the faults of SetFaults, behind those there are.
func (s *Server) AddFaults(faults ...Fault) {
	s.faults.add(faults, s.opts.Now(), false)
}

func (b *faultBook) add(faults []Fault, now time.Time, replace bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.filter(func(h *heldFault) bool { return !replace && !h.over(now) })
	for _, f := range faults {
		h := &heldFault{Fault: f}
		if d, err := time.ParseDuration(f.For); err == nil {
			h.until = now.Add(d)
		}
		b.faults = append(b.faults, h)
	}
}

// clear drops the faults of one route, or all where route is "".
func (b *faultBook) clear(route string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.filter(func(h *heldFault) bool { return route != "" && h.Route != route })
}

// filter keeps some of the faults. b.mu is held.
func (b *faultBook) filter(kept func(*heldFault) bool) {
	var faults []*heldFault
	for _, h := range b.faults {
		if kept(h) {
			faults = append(faults, h)
		}
	}
	b.faults = faults
}

// list copies the faults that are not over.
func (b *faultBook) list(now time.Time) []Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.filter(func(h *heldFault) bool { return !h.over(now) })
	faults := make([]Fault, 0, len(b.faults))
	for _, h := range b.faults {
		faults = append(faults, h.Fault)
	}
	return faults
}

func (b *faultBook) reset() {
	b.clear("")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sightings = sightings{}
}

// early reports whether a fault is decided before the request is read: one that
// needs to know no more than the route.
func (h *heldFault) early() bool { return h.Kind == KindDown && h.Model == "" }

// down finds the fault that has a route down, or nil.
func (b *faultBook) down(route string, now time.Time, chance func(float64) bool) *Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, h := range b.faults {
		if h.early() && h.applies("", route, now, chance) {
			f := h.Fault
			return &f
		}
	}
	return nil
}

// pick finds the fault of a request: the first directive of its prompt that
// applies, else the first of the book that does, else nil. The error is about a
// directive that means nothing.
func (b *faultBook) pick(prompt, model, route string, now time.Time, chance func(float64) bool) (*Fault, error) {
	directives, err := parseDirectives(prompt)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, f := range directives {
		if !f.matches(model, route) {
			continue
		}
		if f.First > 0 {
			id := sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s\x00%s", i, model, route, prompt))
			if b.sightings.count(id) > f.First {
				continue
			}
		}
		if f.P == 0 || chance(f.P) {
			return &f, nil
		}
	}
	for _, h := range b.faults {
		if !h.early() && h.applies(model, route, now, chance) {
			f := h.Fault
			return &f, nil
		}
	}
	return nil, nil
}
