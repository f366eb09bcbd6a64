package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/labstack/echo/v4"
)

// stream is an answer of server-sent events (HTML Living Standard, section 9.2).
// What it is given waits for flush.
type stream struct {
	response *echo.Response
	control  *http.ResponseController
	patience time.Duration // of one flush
	text     []byte
	silent   int // beats since something was sent
}

// prepareStream sets the headers of a stream.
func prepareStream(c echo.Context) {
	h := c.Response().Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no") // for proxies that gather answers
}

// beginStream begins an answer of events.
func beginStream(c echo.Context, patience time.Duration) *stream {
	prepareStream(c)
	c.Response().WriteHeader(http.StatusOK)
	return &stream{response: c.Response(), control: http.NewResponseController(c.Response().Writer), patience: patience}
}

// send adds one event. An empty id leaves the reader's last one as it is.
func (s *stream) send(event, id string, data any) error {
	var text bytes.Buffer
	text.WriteString("event: " + event + "\n")
	if id != "" {
		text.WriteString("id: " + id + "\n")
	}
	text.WriteString("data: ")
	if err := writeJSON(&text, data); err != nil { // ends with a newline and has no other
		return fmt.Errorf("encode event %s: %w", event, err)
	}
	text.WriteByte('\n')
	s.text = append(s.text, text.Bytes()...)
	return nil
}

// comment adds what readers pass over.
func (s *stream) comment(text string) {
	s.text = append(s.text, ": "+text+"\n\n"...)
}

// retry adds how long the reader is to wait before it reconnects.
func (s *stream) retry(after time.Duration) {
	s.text = fmt.Appendf(s.text, "retry: %d\n\n", after.Milliseconds())
}

// flush sends what was added. Its error is always that the reader has gone, or
// takes nothing.
func (s *stream) flush() error {
	text := s.text
	s.text = nil
	return s.write(text)
}

// beat shows the reader that the stream lives. It leaves alone what was added, so
// that someone may add more at the same time. Its error is that of flush.
func (s *stream) beat() error { return s.write([]byte(": alive\n\n")) }

func (s *stream) write(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	s.silent = 0
	return (<-aside(func() (bool, error) {
		// What has no connection needs no deadline.
		_ = s.control.SetWriteDeadline(time.Now().Add(s.patience))
		_, err := s.response.Write(text)
		if err == nil {
			err = s.control.Flush()
		}
		if err != nil {
			return true, fmt.Errorf("%w: %w", context.Canceled, err)
		}
		// The next answer on the connection has no deadline of ours.
		_ = s.control.SetWriteDeadline(time.Time{})
		return false, nil
	})).err
}

// A result is what aside's function returned.
type result struct {
	over bool
	err  error
}

// aside runs fn on a goroutine of its own; who calls it receives the result. A
// stream spends its life waiting and keeps the stack that it once needed: queries,
// JSON and writes need one several times as large.
func aside(fn func() (bool, error)) <-chan result {
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if v := recover(); v != nil {
				r.err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
			}
			done <- r
		}()
		r.over, r.err = fn()
	}()
	return done
}
