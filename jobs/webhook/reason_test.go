package webhook_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/webhook"
)

// serve starts a TLS server that knows TLS 1.3 only, and logs nothing.
func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// writing is a handler that writes text in place of an answer, and hangs up.
func writing(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, text)
		_ = conn.Close()
	}
}

// listen returns the address of a listener that does with each connection as
// told; nil is nothing.
func listen(t *testing.T, accepted func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if accepted != nil {
		go func() {
			for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
				accepted(conn)
			}
		}()
	}
	return l.Addr().String()
}

// reason returns what the customer is told of a request that gets no answer.
func reason(ctx context.Context, t *testing.T, transport *http.Transport, url string) string {
	t.Helper()
	t.Cleanup(transport.CloseIdleConnections)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err == nil {
		_ = resp.Body.Close()
		t.Fatalf("%s answered %d", url, resp.StatusCode)
	}
	return webhook.Answer{Err: err}.Verdict().Reason
}

// trusting returns the transport that a server's own client has.
func trusting(s *httptest.Server) *http.Transport {
	return s.Client().Transport.(*http.Transport).Clone()
}

func same(t *testing.T, want, got string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reason (-want +got):\n%s", diff)
	}
}

func TestReason_Certificate(t *testing.T) {
	t.Parallel()
	s := serve(t, http.NotFound)
	strange, late := trusting(s), trusting(s)
	strange.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.Listener.Addr().String())
	}
	late.TLSClientConfig.Time = func() time.Time { return time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		transport *http.Transport
		url, want string
	}{
		"Unknown":   {&http.Transport{}, s.URL, "certificate is not valid: its issuer is not known; is the chain complete?"},
		"OtherHost": {strange, "https://hooks.customer.test/x", "certificate is not valid: it is not for hooks.customer.test"},
		"Expired":   {late, s.URL, "certificate is not valid: it has expired or is not valid yet"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			same(t, c.want, reason(t.Context(), t, c.transport, c.url))
		})
	}
}

func TestReason_TLS(t *testing.T) {
	t.Parallel()
	s := serve(t, http.NotFound)
	old := trusting(s)
	old.TLSClientConfig.MaxVersion = tls.VersionTLS12
	same(t, "TLS failed: protocol version not supported", reason(t.Context(), t, old, s.URL))

	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	same(t, "the port does not speak TLS", reason(t.Context(), t, &http.Transport{}, strings.Replace(plain.URL, "http:", "https:", 1)))

	mail := listen(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "220 mail.customer.test ESMTP\r\n")
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	})
	same(t, "the port does not speak TLS", reason(t.Context(), t, &http.Transport{}, "https://"+mail))

	silent := listen(t, nil)
	same(t, "no answer in time", reason(t.Context(), t, &http.Transport{TLSHandshakeTimeout: time.Millisecond}, "https://"+silent))
}

func TestReason_Connection(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ wrote, want string }{
		"HungUp":   {"", "the connection was closed before an answer"},
		"HalfHead": {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", "the connection was closed before an answer"},
		"NotHTTP":  {"HELO there\r\n\r\n", "no answer that is HTTP"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, writing(c.wrote))
			same(t, c.want, reason(t.Context(), t, trusting(s), s.URL))
		})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	same(t, "connection refused", reason(t.Context(), t, &http.Transport{}, "https://"+l.Addr().String()))
}

func TestReason_Time(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then the server watches the connection
		if r.URL.Path == "/slow" {
			<-r.Context().Done()
		}
	})
	connected := trusting(s)
	resp, err := (&http.Client{Transport: connected}).Get(s.URL) // so that the time is not spent on a dial
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	same(t, "no answer within 15 s", reason(short, t, connected, s.URL+"/slow"))

	left, leave := context.WithCancel(t.Context())
	leave()
	same(t, "interrupted before an answer", reason(left, t, trusting(s), s.URL))

	late := &net.Dialer{Deadline: time.Now().Add(-time.Second)}
	same(t, "the host did not accept a connection in time", reason(t.Context(), t, &http.Transport{DialContext: late.DialContext}, s.URL))
}

// The resolver's address is ours: it is not told.
func TestReason_DNS(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  net.DNSError
		want string
	}{
		"NotFound": {net.DNSError{Err: "no such host", IsNotFound: true}, "host name hooks.customer.test was not found"},
		"Failed":   {net.DNSError{Err: "server misbehaving", IsTemporary: true}, "host name hooks.customer.test could not be resolved"},
		"Timeout":  {net.DNSError{Err: "i/o timeout", IsTimeout: true}, "host name hooks.customer.test could not be resolved"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.err.Name, c.err.Server = "hooks.customer.test", "10.0.0.53:53"
			failing := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &c.err}
			}}
			same(t, c.want, reason(t.Context(), t, failing, "https://hooks.customer.test"))
		})
	}
}

func TestReason_IsOneShortLine(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]webhook.Answer{
		"Unknown": {Err: errors.New("pq: password of 10.0.0.5\nis wrong")},
		"Long":    {Forbidden: strings.Repeat("é", 300)},
		"Lines":   {Forbidden: "one\r\ntwo\x00\xff"},
	} {
		got := a.Verdict().Reason
		if len(got) > 200 || !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x00") || strings.Contains(got, "10.0.0.5") {
			t.Errorf("%s: %q", name, got)
		}
	}
}
