package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// ClientOptions configures a client. The zero value is right for webhooks.
type ClientOptions struct {
	// Timeout is of a whole request, from its connection to the last byte of the
	// answer's body that is read; default 15 s.
	Timeout time.Duration
	// IdleConnsPerHost bounds those of IdleConns that are with one host and port;
	// default 16. The connections in use have no bound: many customers may have
	// endpoints on one host, and are not to wait for each other.
	IdleConnsPerHost int
	// IdleConns bounds the open connections that wait for their next request;
	// default 256.
	IdleConns int
	// IdleTimeout is when such a connection is closed; default 50 s, just under
	// the minute after which common servers and balancers close theirs.
	IdleTimeout time.Duration
	// RootCAs are those that certificates are checked against; default the
	// system's.
	RootCAs *x509.CertPool
}

func (o *ClientOptions) setDefaults() {
	if o.Timeout <= 0 {
		o.Timeout = 15 * time.Second
	}
	if o.IdleConnsPerHost <= 0 {
		o.IdleConnsPerHost = 16
	}
	if o.IdleConns <= 0 {
		o.IdleConns = 256
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = 50 * time.Second
	}
}

// Client returns a client that sends requests to permitted URLs and addresses
// only. What it refuses comes back as an error that matches ErrForbidden and
// holds an *Error, before a byte has been sent.
//
// It never follows a redirect: a 3xx answer is returned as it is. It uses no
// proxy, whatever the environment says, since a proxy would resolve names by
// itself; it sends and keeps no cookies, and does not decompress. It switches to
// no other protocol: an answer of 101 has no body, and its connection is closed.
// Answers may have 64 KiB of headers, those of 1xx answers before them included; the caller bounds what it reads of a body, and reads it
// to the end where the connection is to be used again.
func (p Policy) Client(o ClientOptions) *http.Client {
	o.setDefaults()
	return &http.Client{
		Transport:     &guard{policy: p, transport: p.transport(o)},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       o.Timeout,
	}
}

func (p Policy) transport(o ClientOptions) *http.Transport {
	return &http.Transport{
		Proxy:       nil,
		DialContext: p.dialer(o.Timeout),
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			RootCAs:            o.RootCAs,
			ClientSessionCache: tls.NewLRUClientSessionCache(o.IdleConns),
		},
		TLSHandshakeTimeout:    o.Timeout,
		ResponseHeaderTimeout:  o.Timeout,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		// Without pings, a shared connection that died silently would fail every
		// request on it until the kernel gives it up, a quarter of an hour later.
		HTTP2:               &http.HTTP2Config{SendPingTimeout: o.Timeout, PingTimeout: 5 * time.Second},
		MaxIdleConnsPerHost: o.IdleConnsPerHost,
		MaxIdleConns:        o.IdleConns,
		IdleConnTimeout:     o.IdleTimeout,
	}
}

// dialer returns a function that connects to permitted addresses only. The check
// is made on each address after the name is resolved and before the connection
// is begun, so that there is no second answer of the DNS to be deceived by.
func (p Policy) dialer(timeout time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	outward := &net.Dialer{Timeout: timeout, Resolver: p.Resolver, Control: p.checkDial}
	inward := &net.Dialer{Timeout: timeout, Resolver: p.Resolver, Control: checkLoopbackDial}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err == nil && p.Loopback && namesLoopback(host) {
			return inward.DialContext(ctx, network, address)
		}
		conn, err := outward.DialContext(ctx, network, rooted(address))
		return conn, unrooted(err)
	}
}

// rooted returns an address with the final dot on its host, if that is a name:
// resolvers then look up that very name, and do not try it below the domains
// that this machine searches first (resolv.conf(5)), such as a cluster's own.
func rooted(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return address
	}
	return net.JoinHostPort(host+".", port)
}

// unrooted returns the error of a dial with the name as its customer knows it.
// It changes a copy, since lookups of one name at the same time share an error.
func unrooted(err error) error {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok {
		return err
	}
	lookup, ok := op.Err.(*net.DNSError) //nolint:errorlint // one deeper could not be replaced
	if !ok {
		return err
	}
	dial, cause := *op, *lookup
	cause.Name = strings.TrimSuffix(cause.Name, ".")
	dial.Err = &cause
	return &dial
}

// checkDial refuses addresses and ports that are not permitted, and networks
// other than TCP.
func (p Policy) checkDial(network, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	switch {
	case err != nil || !isTCP(network) || !public(addr.Addr()):
		return &Error{Reason: reasonAddress}
	case !p.permits(int(addr.Port())):
		return &Error{Reason: p.portReason()}
	}
	return nil
}

// checkLoopbackDial refuses addresses other than this machine's own.
func checkLoopbackDial(network, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil || !isTCP(network) || !isLoopback(addr.Addr()) {
		return &Error{Reason: "localhost must resolve to a loopback address"}
	}
	return nil
}

func isTCP(network string) bool { return network == "tcp4" || network == "tcp6" }

// A guard checks the URL of every request once more, so that no caller can
// forget to.
type guard struct {
	policy    Policy
	transport *http.Transport
}

// RoundTrip sends a request if its URL is permitted. It closes the connection of
// an answer of 101, whose body would be that connection, beyond the reach of every
// timeout (http.Response.Body).
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	err := error(&Error{Reason: reasonForm})
	if req.URL.Opaque == "" { // which would hide the host
		_, err = g.policy.parse(req.URL.String())
	}
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	resp, err := g.transport.RoundTrip(req)
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
		_ = resp.Body.Close() // nothing was to be read from it
		resp.Body = http.NoBody
	}
	return resp, err
}

// CloseIdleConnections closes the connections that wait for a request.
func (g *guard) CloseIdleConnections() { g.transport.CloseIdleConnections() }
