package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
)

// sent is one event of a stream, or one comment.
type sent struct {
	event, id, comment string
	data               map[string]any
}

func (s *sent) String() string { return strings.TrimSpace(s.event + " " + s.id + s.comment) }

// follower reads a stream.
type follower struct {
	status int
	header http.Header
	body   io.ReadCloser
	text   *bufio.Reader
}

// follow opens the stream of a generation. ctx ends it.
func (b *bundle) follow(ctx context.Context, key, id string, headers ...string) (*follower, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", b.url+"/v1/generations/"+id+"/events", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	return &follower{status: resp.StatusCode, header: resp.Header, body: resp.Body, text: bufio.NewReader(resp.Body)}, nil
}

// open is follow for a stream that is to begin.
func (b *bundle) open(key, id string, headers ...string) *follower {
	b.Helper()
	f, err := b.follow(b.Context(), key, id, headers...)
	b.must(err)
	b.Cleanup(func() { _ = f.body.Close() })
	if f.status != http.StatusOK {
		b.Fatalf("the stream answers %d", f.status)
	}
	return f
}

// next reads one event or comment; the first retry is passed over.
func (f *follower) next() (*sent, error) {
	s := &sent{}
	for {
		line, err := f.text.ReadString('\n')
		if err != nil {
			return nil, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "\n" && (s.event != "" || s.comment != ""):
			return s, nil
		case line != "\n" && name == "":
			s.comment = value
		case name == "event":
			s.event = value
		case name == "id":
			s.id = value
		case name == "data":
			if err := json.Unmarshal([]byte(value), &s.data); err != nil {
				return nil, err
			}
		}
	}
}

// wants reads events that are to be these: "event id".
func (b *bundle) wants(f *follower, want ...string) (all []*sent) {
	b.Helper()
	for _, w := range want {
		s, err := f.next()
		if err != nil {
			b.Fatalf("instead of %q: %v", w, err)
		}
		if s.String() != w {
			b.Fatalf("%q, want %q: %v", s, w, s.data)
		}
		all = append(all, s)
	}
	return all
}

// rest reads a stream to its end.
func (f *follower) rest() (list []string, err error) {
	for {
		s, err := f.next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		list = append(list, s.String())
	}
}

// pipes listens for connections that hold nothing on the way: what is written
// waits until it is read.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dial serves the API on a connection without buffers.
func (b *bundle) dial() net.Conn {
	b.Helper()
	p := &pipes{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	srv := &http.Server{Handler: b.handler}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(p) }()
	ours, theirs := net.Pipe()
	p.conns <- theirs
	b.Cleanup(func() {
		_ = ours.Close()
		_ = srv.Close()
		<-served
	})
	b.must(ours.SetDeadline(time.Now().Add(30 * time.Second)))
	return ours
}

func (b *bundle) ask(conn net.Conn, id string) {
	b.Helper()
	_, err := conn.Write([]byte("GET /v1/generations/" + id + "/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + b.live + "\r\n\r\n"))
	b.must(err)
}

func TestStream_EndsWhenNobodyReads(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) {
		o.StreamPace, o.StreamPatience, o.MaxStreams = 5*time.Millisecond, 50*time.Millisecond, 1
	})
	id := b.submit(b.live, `{"prompt":"x"}`)
	conn := b.dial()
	b.ask(conn, id)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	b.must(err)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%d", resp.StatusCode)
	}
	b.eventually("the stream ends, and its place is free", func() bool {
		f, err := b.follow(t.Context(), b.live, id)
		b.must(err)
		defer func() { _ = f.body.Close() }()
		return f.status == http.StatusOK
	})
	if !strings.Contains(b.log.String(), "i/o timeout") {
		t.Errorf("the log does not say why:\n%s", b.log)
	}
}

// The time that a stream allows a write is not left to the next answer.
func TestStream_LeavesTheConnectionAsItWas(t *testing.T) {
	t.Parallel()
	const patience = 150 * time.Millisecond
	b := setup(t, func(o *api.Options) { o.StreamPatience = patience })
	id := b.submit(b.live, `{"prompt":"x"}`)
	b.make(b.claim(id), 0)
	conn := b.dial()
	answers := bufio.NewReader(conn)
	for range 3 {
		b.ask(conn, id)
		resp, err := http.ReadResponse(answers, nil)
		b.must(err)
		list, err := (&follower{text: bufio.NewReader(resp.Body)}).rest()
		if diff := cmp.Diff([]string{"status 1", "status 2", "status 3.0", "image 3.1", "done 3"}, list); diff != "" || err != nil {
			t.Fatalf("%v (-want +got):\n%s", err, diff)
		}
		ended := time.Now()
		b.eventually("the time is over", func() bool { return time.Since(ended) > 2*patience })
	}
}
