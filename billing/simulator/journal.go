package simulator

import (
	"slices"
	"time"
)

// journalSize is how many requests are remembered.
const journalSize = 10_000

// A Request is one request as the simulator got it.
type Request struct {
	Time           time.Time `json:"time"` // by the simulator's clock
	Method         string    `json:"method"`
	Path           string    `json:"path"`
	Query          string    `json:"query,omitempty"` // as sent, without the question mark
	Body           string    `json:"body,omitempty"`  // form-encoded, as sent
	IdempotencyKey string    `json:"idempotency_key,omitempty"`
	Version        string    `json:"version,omitempty"` // of Stripe-Version
	Status         int       `json:"status"`            // of the answer; 0 if there was none
}

// Journal returns the requests to the API so far, oldest first: the latest 10,000.
func (s *Simulator) Journal() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.journal)
}

// remember adds a request to the journal.
func (s *Simulator) remember(r Request) {
	if len(s.journal) >= journalSize {
		s.journal = slices.Delete(s.journal, 0, journalSize/10)
	}
	s.journal = append(s.journal, r)
}
