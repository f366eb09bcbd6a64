package providers_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/providers/gemini"
	"github.com/nanobanana/nanobanana/providers/simulator"
)

// A pipeNetwork carries HTTP between goroutines of one bubble of synctest, whose
// clock stands still while a real socket is waited for.
type pipeNetwork struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeNetwork() *pipeNetwork {
	return &pipeNetwork{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (n *pipeNetwork) Accept() (net.Conn, error) {
	select {
	case conn := <-n.conns:
		return conn, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *pipeNetwork) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

func (n *pipeNetwork) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (n *pipeNetwork) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case n.conns <- server:
		return client, nil
	case <-n.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve starts handler on a network of pipes and returns the transport to it.
func serve(t *testing.T, handler http.Handler) *http.Transport {
	t.Helper()
	network := newPipeNetwork()
	srv := &http.Server{Handler: handler}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(network)
	}()
	transport := providers.NewTransport()
	transport.DialContext = network.dial
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = srv.Close()
		<-done
	})
	return transport
}

// simulate serves the shipped simulator.
func simulate(t *testing.T) (*simulator.Server, *http.Transport) {
	t.Helper()
	sim := simulator.New(simulator.Options{})
	transport := serve(t, sim)
	t.Cleanup(func() { _ = sim.Close() })
	return sim, transport
}

// account is a provider for one account with the upstream behind transport: its
// API key and its name are the same.
func account(t *testing.T, name string, transport http.RoundTripper) providers.Provider {
	t.Helper()
	p, err := gemini.New(gemini.Options{APIKey: name, Name: name, BaseURL: "http://upstream/", Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// routes are accounts as routes of the Gemini API.
func routes(t *testing.T, transport http.RoundTripper, names ...string) []providers.RouteOptions {
	t.Helper()
	var list []providers.RouteOptions
	for _, name := range names {
		list = append(list, providers.RouteOptions{Name: name, API: "gemini", Provider: account(t, name, transport)})
	}
	return list
}

// callsOf names the accounts that the simulator was called with, in order.
func callsOf(sim *simulator.Server) string {
	var calls []string
	for _, r := range sim.Requests() {
		calls = append(calls, r.Route)
	}
	return strings.Join(calls, " ")
}

// A script is an upstream whose answers a test decides call by call.
type script func(w http.ResponseWriter, r *http.Request, key string, call int)

// play serves a script, which gets the API key and the number of the call with
// it, from 1.
func play(t *testing.T, s script) (*http.Transport, func(key string) int) {
	t.Helper()
	var mu sync.Mutex
	calls := map[string]int{}
	transport := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("X-Goog-Api-Key")
		mu.Lock()
		calls[key]++
		call := calls[key]
		mu.Unlock()
		// Only a body that was read lets the server see the client go.
		_, _ = io.Copy(io.Discard, r.Body)
		s(w, r, key, call)
	}))
	return transport, func(key string) int {
		mu.Lock()
		defer mu.Unlock()
		return calls[key]
	}
}

// fail answers with an error as Google words it.
func fail(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`{"error":{"message":"scripted","status":"SCRIPTED"}}`))
}

// draw answers with the smallest image that passes for one.
func draw(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgoAAAANSUhEUg=="}}]},"finishReason":"STOP"}]}`))
}
