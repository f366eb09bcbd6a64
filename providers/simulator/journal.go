package simulator

import (
	"strings"
	"sync"
	"time"
)

// maxJournalPrompt is how many bytes of a prompt the journal keeps, so that a
// full journal stays under a hundred megabytes.
const maxJournalPrompt = 8 << 10

// A Request is one request as the journal shows it.
type Request struct {
	Time  time.Time `json:"time"`           // of arrival
	Ended time.Time `json:"ended,omitzero"` // zero while it is under way
	API   string    `json:"api"`            // "gemini" or "openai"
	// Route is who called: the API key, of one longer than 32 characters only
	// its last four, on the Vertex path the project.
	Route         string `json:"route"`
	Path          string `json:"path"`
	Model         string `json:"model,omitempty"`
	Prompt        string `json:"prompt,omitempty"` // its first 8 KiB
	AspectRatio   string `json:"aspect_ratio,omitempty"`
	Size          string `json:"size,omitempty"`    // as asked: "2K", "1024x1024"
	Quality       string `json:"quality,omitempty"` // as asked
	Refs          int    `json:"refs"`              // reference images
	Mask          bool   `json:"mask,omitempty"`    // a mask came with them
	ServerTimeout string `json:"server_timeout,omitempty"`
	Bytes         int64  `json:"bytes"`           // of the request's body
	Fault         string `json:"fault,omitempty"` // kind that was applied
	Status        int    `json:"status"`          // answered; 0 is none yet, or never (hang, reset)
	Images        int    `json:"images"`          // final images in the answer, whole or truncated
	// Paid says that the real API would charge for an image: it made one, or it
	// took the call and the answer was cut off.
	Paid     bool `json:"paid"`
	Canceled bool `json:"canceled,omitempty"` // the client went before the end
}

// An entry is a request in the journal with the counts that it belongs to,
// which a cleared journal has let go.
type entry struct {
	Request
	count *Count
	label *labelCount // nil before the prompt is known
}

// A journal remembers the latest requests in a ring, and counts all.
type journal struct {
	size   int
	mu     sync.Mutex
	ring   []*entry
	oldest int // in ring
	seen   int // all that ever came
	counts map[routeKey]*Count
	labels labelBook
}

// add appends a request.
func (j *journal) add(r Request) *entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := &entry{Request: r, count: j.countOf(r.API, r.Route)}
	e.count.Calls++
	e.count.Active++
	if len(j.ring) < j.size {
		j.ring = append(j.ring, e)
	} else {
		j.ring[j.oldest] = e
		j.oldest = (j.oldest + 1) % j.size
	}
	j.seen++
	return e
}

// note runs change, which may write to entries.
func (j *journal) note(change func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change()
}

// ask notes what a call asks for, and counts it by its prompt.
func (j *journal) ask(e *entry, prompt string, change func(*Request)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.Prompt = strings.Clone(prompt[:min(len(prompt), maxJournalPrompt)])
	change(&e.Request)
	e.label = j.labels.get(label(prompt))
	e.label.Calls++
}

func (j *journal) fail(e *entry, kind Kind) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.Fault = string(kind)
	e.count.Faults[kind]++
}

// pay notes whether a call is paid for, as far as is known.
func (j *journal) pay(e *entry, paid bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e.Paid == paid {
		return
	}
	e.Paid = paid
	n := 1
	if !paid {
		n = -1
	}
	e.count.Paid += n
	if e.label != nil {
		e.label.Paid += n
	}
}

// cancel notes that the client has gone.
func (j *journal) cancel(e *entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e.Canceled {
		return
	}
	e.Canceled = true
	e.count.Canceled++
	if e.label != nil {
		e.label.Canceled++
	}
}

// end notes the end of a call, the first time that it is told.
func (j *journal) end(e *entry, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !e.Ended.IsZero() {
		return
	}
	e.Ended = now
	e.count.Active--
	e.count.Images += e.Images
}

// A filter selects requests; its zero fields select all.
type filter struct {
	api, route, model, fault string
	prompt                   string // text in the prompt
	last                     int    // how many of the latest; 0 is all
}

func (f filter) matches(r *Request) bool {
	return (f.api == "" || f.api == r.API) && matchRoute(f.route, r.Route) &&
		strings.Contains(r.Model, f.model) && (f.fault == "" || f.fault == r.Fault) &&
		strings.Contains(r.Prompt, f.prompt)
}

// list copies the remembered requests that match, oldest first, and says how
// many came in all.
func (j *journal) list(f filter) (requests []Request, seen int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	requests = []Request{}
	for i := range j.ring {
		if e := j.ring[(j.oldest+i)%len(j.ring)]; f.matches(&e.Request) {
			requests = append(requests, e.Request)
		}
	}
	if f.last > 0 {
		requests = requests[max(0, len(requests)-f.last):]
	}
	return requests, j.seen
}

// reset forgets everything.
func (j *journal) reset() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ring, j.oldest, j.seen, j.counts, j.labels = nil, 0, 0, nil, labelBook{}
}

// forget drops the requests that match, and if f names no more than routes and
// APIs, their counts.
func (j *journal) forget(f filter) {
	j.mu.Lock()
	defer j.mu.Unlock()
	kept := make([]*entry, 0, len(j.ring))
	for i := range j.ring {
		if e := j.ring[(j.oldest+i)%len(j.ring)]; !f.matches(&e.Request) {
			kept = append(kept, e)
		}
	}
	j.ring, j.oldest = kept, 0
	if f.model != "" || f.fault != "" || f.prompt != "" {
		return
	}
	for key := range j.counts {
		if (f.api == "" || f.api == key.api) && matchRoute(f.route, key.route) {
			delete(j.counts, key)
		}
	}
}

// Requests copies the journal, oldest first. A request is in it from its
// arrival on.
func (s *Server) Requests() []Request {
	requests, _ := s.journal.list(filter{})
	return requests
}
