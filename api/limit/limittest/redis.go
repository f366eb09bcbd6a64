// Package limittest starts a real Redis server for tests.
package limittest

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// A Redis is a server of one test, empty and without a disk.
type Redis struct {
	URL string
	cmd *exec.Cmd
}

// StartRedis starts the redis-server of this machine. It ends with the test.
func StartRedis(t testing.TB) *Redis {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatalf("limittest: install redis-server: %v", err)
	}
	port := freePort(t)
	r := &Redis{URL: "redis://127.0.0.1:" + strconv.Itoa(port)}
	r.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), path, //nolint:gosec // the machine's own
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	if err := r.cmd.Start(); err != nil {
		t.Fatalf("limittest: %v", err)
	}
	t.Cleanup(r.Stop)
	for deadline := time.Now().Add(10 * time.Second); !answers(port); {
		if time.Now().After(deadline) {
			t.Fatal("limittest: redis-server does not answer")
		}
		time.Sleep(5 * time.Millisecond)
	}
	return r
}

// Stop kills the server; a second time it does nothing.
func (r *Redis) Stop() {
	_ = r.cmd.Process.Kill() // it may have ended
	_ = r.cmd.Wait()
}

func freePort(t testing.TB) int {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("limittest: %v", err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().(*net.TCPAddr).Port
}

func answers(port int) bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	answer := make([]byte, len("+PONG"))
	_, err = fmt.Fprint(conn, "PING\r\n")
	if err == nil {
		_, err = conn.Read(answer)
	}
	return err == nil && string(answer) == "+PONG"
}
