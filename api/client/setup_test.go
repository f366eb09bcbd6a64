package client_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/api/client"
)

const key = "nb_test_abc"

// bundle is a client of a service that does what the test says.
type bundle struct {
	*client.Client
	url string

	mu      sync.Mutex
	heard   []string // "METHOD /path?query body"
	headers []http.Header
	delays  []time.Duration // slept before retries
}

// setup serves the answers one after the other; the last one is repeated.
func setup(t *testing.T, answers ...http.HandlerFunc) *bundle {
	t.Helper()
	b := &bundle{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		line := r.Method + " " + r.URL.RequestURI()
		if len(body) > 0 {
			line += " " + string(body)
		}
		b.mu.Lock()
		n := min(len(b.heard), len(answers)-1)
		b.heard = append(b.heard, line)
		b.headers = append(b.headers, r.Header)
		b.mu.Unlock()
		answers[n](w, r)
	}))
	t.Cleanup(srv.Close)
	b.url = srv.URL
	b.Client = b.client(t, client.Options{})
	return b
}

// client is another client of the same service.
func (b *bundle) client(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	if o.URL == "" {
		o.URL = b.url
	}
	o.APIKey = key
	o.Sleep = func(ctx context.Context, d time.Duration) error {
		b.mu.Lock()
		b.delays = append(b.delays, d)
		b.mu.Unlock()
		return ctx.Err()
	}
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (b *bundle) requests() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.heard...)
}

func (b *bundle) sent(n int, header string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n >= len(b.headers) {
		return fmt.Sprintf("only %d requests", len(b.headers))
	}
	return b.headers[n].Get(header)
}

// answer sends a body with headers given as name, value, name, value.
func answer(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// hangUp ends the connection without an answer.
func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func problem(status int, code string, headers ...string) http.HandlerFunc {
	body := fmt.Sprintf(`{"title":"T","status":%d,"detail":"Details of %s.","code":%q,"request_id":"req_1"}`, status, code, code)
	return answer(status, body, append([]string{"Content-Type", "application/problem+json"}, headers...)...)
}
