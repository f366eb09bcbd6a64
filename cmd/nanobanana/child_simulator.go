package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// A simJournal is what a simulator remembers of the requests it got.
type simJournal struct {
	Seen     int `json:"seen"` // all that came, also those forgotten since
	Requests []struct {
		Time   time.Time `json:"time"` // of arrival
		Prompt string    `json:"prompt"`
		Images int       `json:"images"` // in the answer, whole or truncated
		Paid   bool      `json:"paid"`   // the real provider would charge for it, image or not
	} `json:"requests"` // the latest 10,000, oldest first
}

// readSimJournal returns the journal of the simulator at url.
func readSimJournal(ctx context.Context, url string) (*simJournal, error) {
	journal := &simJournal{}
	return journal, simControl(ctx, url, http.MethodGet, "/__sim/requests", nil, journal)
}

// simControl sends one request to the simulator's own routes, as askJSON does.
func simControl(ctx context.Context, url, method, path string, body, into any) error {
	if err := askJSON(ctx, method, url+path, "", body, into); err != nil {
		return fmt.Errorf("control the simulator: %w", err)
	}
	return nil
}
