package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// askJSON sends one request to a process of this program, with an API key or with
// none. body and into are JSON, nil for none. Any status but 2xx is an error, with
// the reason given.
func askJSON(ctx context.Context, method, url, key string, body, into any) error {
	var text bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			return fmt.Errorf("%s %s: %w", method, url, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, url, &text)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask: %w", err) // names the method and the address
	}
	defer func() { _ = res.Body.Close() }() // only read
	if res.StatusCode/100 != 2 {
		reason, _ := io.ReadAll(io.LimitReader(res.Body, 500)) // without it the error is only shorter
		return fmt.Errorf("%s %s was answered %s: %s", method, url, res.Status, bytes.TrimSpace(reason))
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	return nil
}
