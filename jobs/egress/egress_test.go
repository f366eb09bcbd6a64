package egress_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy is what the environment of these tests names as proxy for everything.
// Nothing but TestClient/Proxy's control may reach it.
var proxy *trap

func TestMain(m *testing.M) {
	proxy = listen()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		for _, name := range []string{name, strings.ToLower(name)} {
			if err := os.Setenv(name, proxy.url("http", "127.0.0.1")); err != nil {
				panic(err)
			}
		}
	}
	os.Exit(m.Run())
}

// A trap listens on every address of this machine and counts who comes.
type trap struct {
	net.Listener
	accepted atomic.Int32
}

func listen() *trap {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		panic(err)
	}
	t := &trap{Listener: l}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.accepted.Add(1)
			_ = conn.Close()
		}
	}()
	return t
}

func newTrap(t *testing.T) *trap {
	t.Helper()
	trap := listen()
	t.Cleanup(func() { _ = trap.Close() })
	return trap
}

func (t *trap) port() int { return t.Addr().(*net.TCPAddr).Port }

func (t *trap) url(scheme, host string) string {
	return fmt.Sprintf("%s://%s:%d/", scheme, host, t.port())
}

// A dns answers questions for addresses over UDP, in the wire format of RFC 1035.
// Each question for a name takes the next of its answers; the last one stays.
type dns struct {
	net.PacketConn
	mu      sync.Mutex
	answers map[string][][]netip.Addr
	asked   []string // names, each once
}

func newDNS(t *testing.T, answers map[string][][]netip.Addr) *dns {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	d := &dns{PacketConn: conn, answers: answers}
	go d.serve()
	return d
}

func (d *dns) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", d.LocalAddr().String())
	}}
}

func (d *dns) serve() {
	query := make([]byte, 1500)
	for {
		n, from, err := d.ReadFrom(query)
		if err != nil {
			return
		}
		_, _ = d.WriteTo(d.answer(query[:n]), from)
	}
}

func (d *dns) answer(query []byte) []byte {
	var labels []string
	end := 12
	for query[end] != 0 {
		size := int(query[end])
		labels = append(labels, string(query[end+1:end+1+size]))
		end += 1 + size
	}
	kind := binary.BigEndian.Uint16(query[end+1:])
	reply := slices.Clone(query[:end+5])
	copy(reply[2:], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
	for _, addr := range d.next(strings.Join(labels, "."), kind) {
		data := addr.AsSlice()
		reply[7]++
		reply = append(reply, 0xc0, 12, 0, byte(kind), 0, 1, 0, 0, 0, 0, 0, byte(len(data)))
		reply = append(reply, data...)
	}
	return reply
}

func (d *dns) next(name string, kind uint16) []netip.Addr {
	const a, aaaa = 1, 28
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.asked, name) {
		d.asked = append(d.asked, name)
	}
	queue := d.answers[name]
	if len(queue) == 0 {
		return nil
	}
	found := slices.DeleteFunc(slices.Clone(queue[0]), func(addr netip.Addr) bool {
		return addr.Is4() != (kind == a) || addr.Is4() == (kind == aaaa)
	})
	if len(found) > 0 && len(queue) > 1 {
		d.answers[name] = queue[1:]
	}
	return found
}

// A recorder notes how far requests came.
type recorder struct {
	mu    sync.Mutex
	steps []string
}

func (r *recorder) note(step string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps = append(r.steps, step)
}

func (r *recorder) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart:     func(httptrace.DNSStartInfo) { r.note("resolved") },
		ConnectStart: func(_, address string) { r.note("dialled " + address) },
		ConnectDone: func(_, address string, err error) {
			if err == nil {
				r.note("connected to " + address)
			}
		},
		GotConn:          func(httptrace.GotConnInfo) { r.note("got a connection") },
		WroteHeaderField: func(string, []string) { r.note("sent") },
	})
}

func (r *recorder) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.steps)
}

// get sends a GET and closes the answer's body.
func get(ctx context.Context, client *http.Client, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	return resp, resp.Body.Close()
}
