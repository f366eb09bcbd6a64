package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// stream is an answer of server-sent events (HTML Living Standard, section 9.2).
type stream struct {
	response *echo.Response
	control  *http.ResponseController
	patience time.Duration // of one write
}

// prepareStream sets the headers of a stream.
func prepareStream(c echo.Context) {
	h := c.Response().Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no") // for proxies that gather answers
}

// beginStream sends the headers and how long to wait before reconnecting.
func beginStream(c echo.Context, retry, patience time.Duration) (*stream, error) {
	prepareStream(c)
	c.Response().WriteHeader(http.StatusOK)
	s := &stream{response: c.Response(), control: http.NewResponseController(c.Response().Writer), patience: patience}
	return s, s.write(fmt.Appendf(nil, "retry: %d\n\n", retry.Milliseconds()))
}

// send sends one event. An empty id leaves the reader's last one as it is.
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
	return s.write(text.Bytes())
}

// comment sends what readers pass over.
func (s *stream) comment(text string) error {
	return s.write([]byte(": " + text + "\n\n"))
}

// hurry ends a stream whose reader should soon come back.
func (s *stream) hurry(retry time.Duration, why string) error {
	return s.write(fmt.Appendf(nil, "retry: %d\n: %s\n\n", retry.Milliseconds(), why))
}

// write sends text at once. Its error is always that the reader has gone, or
// takes nothing.
func (s *stream) write(text []byte) error {
	// What has no connection needs no deadline.
	_ = s.control.SetWriteDeadline(time.Now().Add(s.patience))
	_, err := s.response.Write(text)
	if err == nil {
		err = s.control.Flush()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", context.Canceled, err)
	}
	// The next answer on the connection has no deadline of ours.
	_ = s.control.SetWriteDeadline(time.Time{})
	return nil
}
