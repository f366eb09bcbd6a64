// Package limittest starts a Redis server for tests, a real one if it can.
package limittest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// A Redis is a server of one test, empty and without a disk.
type Redis struct {
	URL  string
	stop func()
}

// StartRedis starts the redis-server of this machine. It ends with the test. Where
// none is installed an imitation in this process takes its place, so that tests want
// nothing but Go; not with CI set, where that fails the test.
func StartRedis(t testing.TB) *Redis {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("limittest: install redis-server: %v", err)
		}
		t.Log("limittest: redis-server is not installed; miniredis takes its place")
		return imitate(t)
	}
	port := freePort(t)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), path, //nolint:gosec // the machine's own
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatalf("limittest: %v", err)
	}
	r := &Redis{URL: "redis://127.0.0.1:" + strconv.Itoa(port), stop: func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	}}
	t.Cleanup(r.Stop)
	for deadline := time.Now().Add(10 * time.Second); !answers(port); {
		if time.Now().After(deadline) {
			t.Fatal("limittest: redis-server does not answer")
		}
		time.Sleep(5 * time.Millisecond)
	}
	return r
}

func imitate(t testing.TB) *Redis {
	t.Helper()
	server, err := miniredis.Run()
	if err != nil {
		t.Fatalf("limittest: %v", err)
	}
	r := &Redis{URL: "redis://" + server.Addr(), stop: server.Close}
	t.Cleanup(r.Stop)
	return r
}

// Stop kills the server; a second time it does nothing.
func (r *Redis) Stop() { r.stop() }

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
