package limit_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nanobanana/nanobanana/api/limit"
	"github.com/nanobanana/nanobanana/api/limit/limittest"
)

// lossy is a way to a server whose answers may be lost.
type lossy struct {
	addr  string
	loses atomic.Bool
}

func startLossy(t *testing.T, server string) *lossy {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &lossy{addr: ln.Addr().String()}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			behind, err := new(net.Dialer).DialContext(t.Context(), "tcp", server)
			if err != nil {
				_ = client.Close()
				continue
			}
			serving.Go(func() {
				_, _ = io.Copy(behind, client)
				_ = behind.Close()
			})
			serving.Go(func() {
				_, _ = io.Copy(l.answers(client), behind)
				_ = client.Close()
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); serving.Wait() })
	return l
}

func (l *lossy) answers(client io.Writer) io.Writer {
	return writerFunc(func(p []byte) (int, error) {
		if l.loses.Load() {
			return len(p), nil
		}
		return client.Write(p)
	})
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// What timed out may have been counted, so that it is not sent again.
func TestRedis_CountsOnceWhatTimedOut(t *testing.T) {
	t.Parallel()
	server := limittest.StartRedis(t)
	way := startLossy(t, strings.TrimPrefix(server.URL, "redis://"))
	l, direct := openRedis(t, "redis://"+way.addr), openRedis(t, server.URL)
	b := hourly("org_1/org", 100)
	take(t, l, b)
	way.loses.Store(true)
	if _, err := l.Take(t.Context(), []limit.Bucket{b}); err == nil {
		t.Fatal("an answer came that was lost")
	}
	way.loses.Store(false)
	if left := take(t, direct, b).States[0].Remaining; left != 97 {
		t.Errorf("%d are left after three takes of 100", left)
	}
}
