package egress_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/egress"
)

// A wire is a receiver that answers the first request of each connection with
// given bytes and then waits for the other side to close the connection.
type wire struct {
	url    string
	closed chan struct{} // one for each connection that the other side closed
}

func newWire(t *testing.T, answer func(net.Conn)) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	w := &wire{url: "http://" + l.Addr().String(), closed: make(chan struct{}, 10)}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			go func() {
				in := bufio.NewReader(conn)
				req, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, req.Body)
				answer(conn)
				_, _ = io.Copy(io.Discard, in)
				w.closed <- struct{}{}
			}()
		}
	}()
	return w
}

// A receiver that switches protocols, though nobody asked, gets no connection
// that it could keep open by saying nothing.
func TestClientSwitchesNoProtocol(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{
		"Silent":   "Connection: Upgrade\r\nUpgrade: x\r\n\r\n",
		"Talking":  "Connection: Upgrade\r\nUpgrade: x\r\n\r\nwelcome",
		"Unnamed":  "Connection: Upgrade\r\n\r\n",
		"Measured": "Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, func(conn net.Conn) {
				_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nX-Told: yes\r\n"+head)
			})
			client := egress.Policy{Loopback: true}.Client(egress.ClientOptions{Timeout: time.Second})
			resp, err := client.Post(w.url, "application/json", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			read := make(chan string, 1)
			go func() {
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					body = append(body, err.Error()...)
				}
				read <- string(body)
			}()
			select {
			case <-w.closed:
			case <-time.After(10 * time.Second):
				t.Fatal("the connection stays open")
			}
			if diff := cmp.Diff("", <-read); diff != "" || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("X-Told") != "yes" {
				t.Errorf("%d, %v: body %s", resp.StatusCode, resp.Header, diff)
			}
		})
	}
}

// Answers of 1xx come before the answer, but not without end.
func TestClientBoundsInformation(t *testing.T) {
	t.Parallel()
	const hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
	for name, c := range map[string]struct {
		hints  int
		answer bool
	}{"Few": {10, true}, "Many": {64 << 10 / len(hint), false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, func(conn net.Conn) {
				_, _ = io.WriteString(conn, strings.Repeat(hint, c.hints)+"HTTP/1.1 204 No Content\r\nX-Pad: "+strings.Repeat("a", len(hint))+"\r\n\r\n")
			})
			client := egress.Policy{Loopback: true}.Client(egress.ClientOptions{})
			defer client.CloseIdleConnections()
			resp, err := get(t.Context(), client, w.url)
			if answered := err == nil && resp.StatusCode == http.StatusNoContent; answered != c.answer {
				t.Errorf("answered: %v, want %v (%v)", answered, c.answer, err)
			}
		})
	}
}
