package simulator

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// A Count is how many calls a route made, of all that ever came.
type Count struct {
	API      string       `json:"api"`
	Route    string       `json:"route"` // "*" for those beyond the first 1,000
	Calls    int          `json:"calls"`
	Active   int          `json:"active"`   // under way
	Paid     int          `json:"paid"`     // see Request.Paid
	Canceled int          `json:"canceled"` // by the client
	Images   int          `json:"images"`   // answered
	Faults   map[Kind]int `json:"faults"`   // calls by the fault that was applied
}

type routeKey struct{ api, route string }

// maxRoutes bounds how many routes are counted apart.
const maxRoutes = 1000

// countOf finds the count of a route. j.mu is held.
func (j *journal) countOf(api, route string) *Count {
	key := routeKey{api, route}
	if c := j.counts[key]; c != nil {
		return c
	}
	if len(j.counts) >= maxRoutes {
		key.route = "*"
		if c := j.counts[key]; c != nil {
			return c
		}
	}
	if j.counts == nil {
		j.counts = make(map[routeKey]*Count)
	}
	c := &Count{API: key.api, Route: key.route, Faults: make(map[Kind]int)}
	j.counts[key] = c
	return c
}

// Counts lists the counts of every route, by API and route.
func (s *Server) Counts() []Count {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	counts := make([]Count, 0, len(s.journal.counts))
	for _, c := range s.journal.counts {
		copied := *c
		copied.Faults = maps.Clone(c.Faults)
		counts = append(counts, copied)
	}
	slices.SortFunc(counts, func(a, b Count) int {
		return cmp.Or(strings.Compare(a.API, b.API), strings.Compare(a.Route, b.Route))
	})
	return counts
}

// A LabelCount is how many calls had one label: what their prompt's [[sim:id=...]]
// names, or else the prompt's first 80 bytes.
type LabelCount struct {
	Label    string `json:"label"`
	Calls    int    `json:"calls"`
	Paid     int    `json:"paid"`
	Canceled int    `json:"canceled"`
}

// A labelCount is a LabelCount without its label.
type labelCount struct{ Calls, Paid, Canceled int }

// maxLabel is how long a label is.
const maxLabel = 80

// label is what a prompt is counted by.
func label(prompt string) string {
	if tag := tagPattern.FindStringSubmatch(prompt); tag != nil {
		prompt = tag[1]
	}
	return strings.Clone(prompt[:min(len(prompt), maxLabel)])
}

// maxLabels bounds how many labels are told apart at a time.
const maxLabels = 200_000

// A labelBook counts by label in two generations, so that it holds at most twice
// maxLabels and forgets those not called for longest.
type labelBook struct {
	young, old map[string]*labelCount
	forgotten  int
}

// get finds or begins the count of a label.
func (b *labelBook) get(label string) *labelCount {
	if c := b.young[label]; c != nil {
		return c
	}
	c := b.old[label]
	if c == nil {
		c = new(labelCount)
	} else {
		delete(b.old, label)
	}
	if b.young == nil || len(b.young) >= maxLabels {
		b.forgotten += len(b.old)
		b.old, b.young = b.young, make(map[string]*labelCount)
	}
	b.young[label] = c
	return c
}

// Calls lists the counts of the labels that begin with prefix, by label, and
// says how many labels were forgotten: only the latest 200,000 are certain to be
// there.
func (s *Server) Calls(prefix string) (counts []LabelCount, forgotten int) {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	counts = []LabelCount{}
	for _, generation := range []map[string]*labelCount{s.journal.labels.young, s.journal.labels.old} {
		for name, c := range generation {
			if strings.HasPrefix(name, prefix) {
				counts = append(counts, LabelCount{name, c.Calls, c.Paid, c.Canceled})
			}
		}
	}
	slices.SortFunc(counts, func(a, b LabelCount) int { return strings.Compare(a.Label, b.Label) })
	return counts, s.journal.labels.forgotten
}
