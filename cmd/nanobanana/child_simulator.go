package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
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

// simControl sends one request to the simulator's own routes: body and into are
// JSON, nil for none. Any status but 2xx is an error.
func simControl(ctx context.Context, url, method, path string, body, into any) error {
	var text bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			return fmt.Errorf("simulator's %s: %w", path, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, url+path, &text)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("simulator's %s: %w", path, err)
	}
	defer func() { _ = res.Body.Close() }() // only read
	if res.StatusCode/100 != 2 {
		reason, _ := io.ReadAll(io.LimitReader(res.Body, 500)) // without it the error is only shorter
		return fmt.Errorf("simulator's %s: %s answered %s: %s", path, method, res.Status, bytes.TrimSpace(reason))
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		return fmt.Errorf("simulator's %s: %w", path, err)
	}
	return nil
}
