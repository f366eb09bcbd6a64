package simulator

import (
	"sync"
	"time"
)

// maxJournalPrompt is how many bytes of a prompt the journal keeps, so that a
// full journal stays under a hundred megabytes.
const maxJournalPrompt = 8 << 10

// A Request is one request as the journal shows it.
type Request struct {
	Time          time.Time `json:"time"` // of arrival
	Path          string    `json:"path"`
	Model         string    `json:"model,omitempty"`
	Prompt        string    `json:"prompt,omitempty"` // its first 8 KiB
	AspectRatio   string    `json:"aspect_ratio,omitempty"`
	Size          string    `json:"size,omitempty"` // as asked: "2K"
	Refs          int       `json:"refs"`           // reference images
	ServerTimeout string    `json:"server_timeout,omitempty"`
	KeySuffix     string    `json:"key_suffix,omitempty"` // the API key's last four characters
	Bytes         int64     `json:"bytes"`                // of the request's body
	Fault         string    `json:"fault,omitempty"`      // kind that was applied
	Status        int       `json:"status"`               // answered; 0 is none yet, or never (hang, reset)
	Images        int       `json:"images"`               // final images in the answer, whole or truncated
}

// A journal remembers the latest requests in a ring.
type journal struct {
	size int
	mu   sync.Mutex
	ring []*Request
	seen int // all that ever came; seen % size is the next slot
}

// add appends a request; what note writes into it later shows, too.
func (j *journal) add(r *Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.ring) < j.size {
		j.ring = append(j.ring, r)
	} else {
		j.ring[j.seen%j.size] = r
	}
	j.seen++
}

// note changes a request that was added.
func (j *journal) note(change func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change()
}

// list copies the remembered requests, oldest first, and says how many came in
// all.
func (j *journal) list() (requests []Request, seen int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	requests = make([]Request, 0, len(j.ring))
	first := 0
	if len(j.ring) == j.size {
		first = j.seen % j.size
	}
	for i := range j.ring {
		requests = append(requests, *j.ring[(first+i)%len(j.ring)])
	}
	return requests, j.seen
}

func (j *journal) reset() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ring, j.seen = nil, 0
}

// Requests copies the journal, oldest first. A request is in it from its
// arrival on.
func (s *Server) Requests() []Request {
	requests, _ := s.journal.list()
	return requests
}

// suffix is the part of an API key that may be shown.
func suffix(key string) string { return key[max(0, len(key)-4):] }
