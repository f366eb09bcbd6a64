package egress_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/egress"
)

// serve starts a receiver on a loopback address and notes its connections as
// they open and close.
func serve(t testing.TB, start func(*httptest.Server), handler http.HandlerFunc) (server *httptest.Server, opened, closed chan net.Conn) {
	t.Helper()
	opened, closed = make(chan net.Conn, 1000), make(chan net.Conn, 1000)
	server = httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened <- conn
		case http.StateClosed:
			closed <- conn
		case http.StateActive, http.StateIdle, http.StateHijacked:
		}
	}
	start(server)
	t.Cleanup(server.Close)
	return server, opened, closed
}

// trusting returns options for a client that trusts a server's certificate.
func trusting(server *httptest.Server) egress.ClientOptions {
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return egress.ClientOptions{RootCAs: roots}
}

func startHTTP2(server *httptest.Server) {
	server.EnableHTTP2 = true
	server.StartTLS()
}

func TestClientRebinding(t *testing.T) {
	t.Parallel()
	trap := newTrap(t)
	resolver := newDNS(t, map[string][][]netip.Addr{
		"rebind.example.com": {{netip.MustParseAddr("8.8.8.8")}, {netip.MustParseAddr("127.0.0.1")}},
		"mixed.example.com":  {{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.1")}},
	}).resolver()
	checked, err := resolver.LookupNetIP(t.Context(), "ip", "rebind.example.com")
	if err != nil || len(checked) != 1 || checked[0].Unmap() != netip.MustParseAddr("8.8.8.8") {
		t.Fatalf("the first answer is %v, %v", checked, err)
	}
	for _, loopback := range []bool{false, true} {
		policy := egress.Policy{Ports: []int{trap.port()}, Resolver: resolver, Loopback: loopback}
		client := policy.Client(egress.ClientOptions{})
		for _, host := range []string{"rebind.example.com", "mixed.example.com"} {
			if _, err := get(t.Context(), client, trap.url("https", host)); !errors.Is(err, egress.ErrForbidden) {
				t.Errorf("%s: %v", host, err)
			}
		}
	}
	if n := trap.accepted.Load(); n != 0 {
		t.Errorf("%d connections were opened", n)
	}
}

func TestClientFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	trap := newTrap(t)
	targets := []string{"http://169.254.169.254/latest/meta-data/", trap.url("http", "127.0.0.1"), trap.url("http", "localhost"), "file:///etc/passwd", "//[::1]/"}
	server, _, _ := serve(t, (*httptest.Server).Start, func(w http.ResponseWriter, r *http.Request) {
		var status, target int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d/%d", &status, &target)
		w.Header().Set("Location", targets[target])
		w.WriteHeader(status)
	})
	client := egress.Policy{Loopback: true}.Client(egress.ClientOptions{})
	for _, status := range []int{301, 302, 303, 307, 308} {
		for i, target := range targets {
			resp, err := client.Post(fmt.Sprintf("%s/%d/%d", server.URL, status, i), "application/json", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if got := resp.Header.Get("Location"); resp.StatusCode != status || got != target {
				t.Errorf("%d, %q: want %d, %q", resp.StatusCode, got, status, target)
			}
		}
	}
	if n := trap.accepted.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

func TestClientIgnoresProxy(t *testing.T) {
	t.Parallel()
	resolver := newDNS(t, map[string][][]netip.Addr{"hooks.example.com": {{netip.MustParseAddr("10.0.0.1")}}}).resolver()
	// The control: a client that believes the environment does come to the proxy.
	believer := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}}
	if _, err := get(t.Context(), believer, "https://hooks.example.com/"); err == nil || proxy.accepted.Swap(0) == 0 {
		t.Fatalf("the proxy is not in use: %v", err)
	}
	client := egress.Policy{Loopback: true, Resolver: resolver}.Client(egress.ClientOptions{})
	if _, err := get(t.Context(), client, "https://hooks.example.com/"); !errors.Is(err, egress.ErrForbidden) {
		t.Error(err)
	}
	if n := proxy.accepted.Load(); n != 0 {
		t.Errorf("the proxy was asked %d times", n)
	}
}

// A reason goes to customers: it must not say what a name resolves to inside.
func TestClientReasonKeepsAddresses(t *testing.T) {
	t.Parallel()
	resolver := newDNS(t, map[string][][]netip.Addr{"db.example.com": {{netip.MustParseAddr("10.20.30.40")}}}).resolver()
	_, err := get(t.Context(), egress.Policy{Resolver: resolver}.Client(egress.ClientOptions{}), "https://db.example.com/")
	got, ok := errors.AsType[*egress.Error](err)
	if !ok {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&egress.Error{Reason: "the host must have a public address"}, got); diff != "" {
		t.Error(diff)
	}
}

// A URL whose parts were put together by hand is checked as it would be sent.
func TestClientChecksParts(t *testing.T) {
	t.Parallel()
	client := egress.Policy{}.Client(egress.ClientOptions{})
	for _, u := range []*url.URL{
		{Scheme: "https", Host: "127.0.0.1", Opaque: "//hooks.example.com/"},
		{Scheme: "https", Host: "127.0.0.1/?@hooks.example.com"},
		{Scheme: "https", Host: "１２７.0.0.1"},
		{Scheme: "https", Host: "hooks.example.com", User: url.User("")},
	} {
		body := &closer{Reader: strings.NewReader("{}")}
		var steps recorder
		req := &http.Request{Method: http.MethodPost, URL: u, Body: body, Header: http.Header{}}
		_, err := client.Do(req.WithContext(steps.watch(t.Context())))
		if !errors.Is(err, egress.ErrForbidden) || !body.closed || steps.seen() != nil {
			t.Errorf("%#v: %v (body closed: %v, %v)", u, err, body.closed, steps.seen())
		}
	}
}

type closer struct {
	io.Reader
	closed bool
}

func (c *closer) Close() error { c.closed = true; return nil }

// A URL of the greatest length can be sent, also where sending adds escapes.
func TestClientSendsLongURL(t *testing.T) {
	t.Parallel()
	server, _, _ := serve(t, (*httptest.Server).Start, func(http.ResponseWriter, *http.Request) {})
	policy := egress.Policy{Loopback: true}
	raw := server.URL + "/"
	raw += strings.Repeat(`"`, 2048-len(raw))
	if _, err := policy.CheckURL(raw); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t.Context(), policy.Client(egress.ClientOptions{}), raw); err != nil {
		t.Error(err)
	}
}

func TestClientKeepsConnections(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		proto string
		start func(*httptest.Server)
	}{{"HTTP/1.1", (*httptest.Server).StartTLS}, {"HTTP/2.0", startHTTP2}} {
		server, opened, closed := serve(t, c.start, func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprint(w, r.Proto, r.Header["Accept-Encoding"])
		})
		o := trusting(server)
		o.IdleTimeout = 200 * time.Millisecond
		client := egress.Policy{Loopback: true}.Client(o)
		for range 20 {
			resp, err := client.Post(server.URL, "application/json", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if diff := cmp.Diff(c.proto+"[]", string(body)); err != nil || diff != "" {
				t.Errorf("%v: %s", err, diff)
			}
		}
		if len(opened) != 1 {
			t.Errorf("%s: %d connections for 20 requests", c.proto, len(opened))
		}
		select {
		case <-closed:
		case <-time.After(10 * time.Second):
			t.Errorf("%s: the idle connection stays open", c.proto)
		}
	}
}

// However many requests a host keeps waiting, another one to it is sent at once;
// of the connections they took, as many are kept as were asked for.
func TestClientWaitsForNoOther(t *testing.T) {
	t.Parallel()
	const kept, slow = 3, 40
	arrived, release := make(chan struct{}, slow), make(chan struct{})
	server, opened, closed := serve(t, (*httptest.Server).Start, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived <- struct{}{}
			<-release
		}
	})
	client := egress.Policy{Loopback: true}.Client(egress.ClientOptions{IdleConnsPerHost: kept})
	defer client.CloseIdleConnections()
	var group sync.WaitGroup
	defer group.Wait()
	let := sync.OnceFunc(func() { close(release) })
	defer let()
	for range slow {
		group.Go(func() {
			if _, err := get(t.Context(), client, server.URL+"/slow"); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range slow {
		select {
		case <-arrived:
		case <-time.After(10 * time.Second):
			t.Fatalf("%d of %d slow requests arrived", i, slow)
		}
	}
	if _, err := get(t.Context(), client, server.URL+"/quick"); err != nil {
		t.Error(err)
	}
	let()
	group.Wait()
	for excess := len(opened) - kept; excess > 0; excess-- {
		select {
		case <-closed:
		case <-time.After(10 * time.Second):
			t.Fatalf("%d connections too many stay open", excess)
		}
	}
	if _, err := get(t.Context(), client, server.URL+"/quick"); err != nil || len(opened) != slow+1 {
		t.Errorf("%v; %d connections, want %d", err, len(opened), slow+1)
	}
}

func TestClientCloseIdleConnections(t *testing.T) {
	t.Parallel()
	server, _, closed := serve(t, (*httptest.Server).Start, func(http.ResponseWriter, *http.Request) {})
	client := egress.Policy{Loopback: true}.Client(egress.ClientOptions{})
	if _, err := get(t.Context(), client, server.URL); err != nil {
		t.Fatal(err)
	}
	client.CloseIdleConnections()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("the connection stays open")
	}
}

func TestClientTLS(t *testing.T) {
	t.Parallel()
	answer := func(http.ResponseWriter, *http.Request) {}
	current, _, _ := serve(t, startHTTP2, answer)
	old, _, _ := serve(t, func(s *httptest.Server) {
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
		s.StartTLS()
	}, answer)
	policy := egress.Policy{Loopback: true}
	if _, err := get(t.Context(), policy.Client(trusting(current)), current.URL); err != nil {
		t.Error(err)
	}
	_, err := get(t.Context(), policy.Client(trusting(old)), old.URL)
	if _, ok := errors.AsType[tls.AlertError](err); !ok && (err == nil || !strings.Contains(err.Error(), "protocol version")) {
		t.Errorf("TLS 1.1: %v", err)
	}
	_, err = get(t.Context(), policy.Client(egress.ClientOptions{}), current.URL)
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Errorf("unknown certificate: %v", err)
	}
}

func TestClientBoundsAnswers(t *testing.T) {
	t.Parallel()
	server, _, _ := serve(t, startHTTP2, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/headers":
			w.Header().Set("X-Long", strings.Repeat("a", 70<<10))
		case "/silence":
			<-r.Context().Done()
		case "/trickle":
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	})
	policy := egress.Policy{Loopback: true}
	if _, err := get(t.Context(), policy.Client(trusting(server)), server.URL+"/headers"); err == nil {
		t.Error("70 KiB of headers were read")
	}
	o := trusting(server)
	o.Timeout = 100 * time.Millisecond
	var late net.Error
	if _, err := get(t.Context(), policy.Client(o), server.URL+"/silence"); !errors.As(err, &late) || !late.Timeout() {
		t.Errorf("no answer: %v", err)
	}
	o.Timeout = 2 * time.Second // enough for the half of it
	resp, err := policy.Client(o).Get(server.URL + "/trickle")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); !errors.As(err, &late) || !late.Timeout() {
		t.Errorf("half an answer: %v", err)
	}
}

func BenchmarkClient(b *testing.B) {
	server, _, _ := serve(b, (*httptest.Server).Start, func(http.ResponseWriter, *http.Request) {})
	plain := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	for name, client := range map[string]*http.Client{"plain": plain, "guarded": egress.Policy{Loopback: true}.Client(egress.ClientOptions{})} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := get(b.Context(), client, server.URL); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
