package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Types of events.
const (
	EventStatus   = "status"   // the generation has another state
	EventProgress = "progress" // it is further, or the line before it is shorter
	EventImage    = "image"    // this image is finished
	EventDone     = "done"     // it has ended: always the last
)

// A FollowEvent is something that has happened to a generation. Which fields it has
// depends on its type; the others are zero.
type FollowEvent struct {
	ID   string // of those that are on record; empty for a hint
	Type string // more may come: pass over those you do not know

	Status        Status  // of EventStatus
	Stage         string  // of EventStatus and EventProgress, as the next ones
	QueuePosition int     // 1 is next; 0 when not queued or not known
	ETASeconds    int     // a guess at the time to the end; 0 when not known
	Progress      float64 // of EventProgress, from 0 to 1

	Image      *Image      // of EventImage
	Generation *Generation // of EventDone

	// Raw is the event's data as the service sent it.
	Raw json.RawMessage
}

// errSilent is the cause of the end of a stream that has died unnoticed.
var errSilent = errors.New("nothing came for too long")

// minStreamRetry is the least time between two streams, whatever the service asks.
const minStreamRetry = 100 * time.Millisecond

// Follow yields what happens to a generation, from its beginning to its end: each
// event on record once, in order, and hints in between. When a connection breaks
// off it connects again and goes on where it stopped: after the time that the
// service asks for if the connection was a stream that lived, as often as it takes;
// else as a request that fails is sent again. An error ends it, with a nil event.
func (c *Client) Follow(ctx context.Context, id string) iter.Seq2[*FollowEvent, error] {
	return func(yield func(*FollowEvent, error) bool) {
		f := &followed{c: c, id: id, retry: time.Second, yield: yield}
		retries := c.retries
		if retries > 0 {
			retries = max(retries, waitRetries)
		}
		for failures := 0; ; failures++ {
			f.lived = false
			err := f.connect(ctx)
			if f.over {
				return
			}
			if ctx.Err() != nil {
				yield(nil, fmt.Errorf("follow %s: %w", id, context.Cause(ctx)))
				return
			}
			if f.lived {
				failures = 0
			}
			delay, worth := retryDelay(err, failures)
			if !worth || failures >= retries {
				yield(nil, fmt.Errorf("follow %s: %w", id, err))
				return
			}
			if f.lived {
				delay = f.retry
			}
			if stopped := c.sleep(ctx, delay); stopped != nil {
				yield(nil, fmt.Errorf("follow %s: %w", id, stopped))
				return
			}
		}
	}
}

// followed is a generation that is followed over several connections.
type followed struct {
	c     *Client
	id    string
	yield func(*FollowEvent, error) bool
	last  string        // the id of the last event that has one
	retry time.Duration // before connecting again, as the service asks
	lived bool          // the connection has brought something of a stream
	over  bool          // the end has come, or the caller wants no more
}

// connect follows over one connection. It never returns nil unless f is over.
func (f *followed) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(f.c.silence, func() { cancel(errSilent) })
	defer watch.Stop()
	req, err := f.c.newRequest(ctx, http.MethodGet, f.c.base.JoinPath(generationPath(f.id), "events"), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	if f.last != "" {
		req.Header.Set("Last-Event-ID", f.last)
	}
	resp, err := f.c.http.Do(req)
	if err != nil {
		return unreachable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	switch media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); {
	case resp.StatusCode >= 300:
		return decodeError(resp)
	case resp.StatusCode == http.StatusNoContent:
		f.over = true // there is nothing behind the last event
		return nil
	case media != "text/event-stream":
		return fmt.Errorf("%s did not answer with events: is it a NanoBanana service?", f.c.base)
	}
	err = f.read(&watched{r: resp.Body, timer: watch, silence: f.c.silence})
	if f.over || err != nil && ctx.Err() == nil {
		return err
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return unreachable(fmt.Errorf("read events: %w", err))
}

// watched puts off a timer whenever something comes.
type watched struct {
	r       io.Reader
	timer   *time.Timer
	silence time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.timer.Reset(w.silence)
	}
	return n, err
}

// read passes events on until the stream ends. What is not ended by an empty line
// is none (HTML Living Standard, section 9.2.6).
func (f *followed) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxAnswer)
	event := &FollowEvent{}
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() == "":
			if len(event.Raw) > 0 {
				if err := f.pass(event); err != nil || f.over {
					return err
				}
			}
			event = &FollowEvent{}
		case name == "": // a comment
			f.lived = true
		case name == "event":
			event.Type = value
		case name == "id":
			event.ID = value
		case name == "data":
			event.Raw = append(append(event.Raw, value...), '\n')
		case name == "retry":
			if ms, err := strconv.Atoi(value); err == nil && ms >= 0 {
				f.lived = true
				f.retry = min(max(time.Duration(ms)*time.Millisecond, minStreamRetry), maxDelay)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return unreachable(err)
	}
	return nil
}

// pass gives one event to the caller.
func (f *followed) pass(e *FollowEvent) error {
	e.Raw = e.Raw[:len(e.Raw)-1] // without the end of its last line
	if err := e.decode(); err != nil {
		return fmt.Errorf("the event %s %s is not what the API promises: %w", e.Type, e.ID, err)
	}
	if e.ID != "" {
		f.last = e.ID
	}
	f.lived = true
	f.over = !f.yield(e, nil) || e.Type == EventDone
	return nil
}

// decode fills the fields of an event's type.
func (e *FollowEvent) decode() error {
	switch e.Type {
	case EventImage:
		return json.Unmarshal(e.Raw, &e.Image)
	case EventDone:
		return json.Unmarshal(e.Raw, &e.Generation)
	case EventStatus, EventProgress:
		var data struct {
			Status        Status  `json:"status"`
			Stage         string  `json:"stage"`
			QueuePosition int     `json:"queue_position"`
			ETASeconds    int     `json:"eta_seconds"`
			Progress      float64 `json:"progress"`
		}
		err := json.Unmarshal(e.Raw, &data)
		e.Status, e.Stage, e.QueuePosition = data.Status, data.Stage, data.QueuePosition
		e.ETASeconds, e.Progress = data.ETASeconds, data.Progress
		return err
	}
	return nil
}
