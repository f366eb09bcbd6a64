package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/api/limit"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// request is what the front door knows of a request beside its caller. The log
// line is made of it.
type request struct {
	id        string
	http      *http.Request
	keyID     string
	accountID string
	projectID string
	area      string        // of who may ask for it, of those that are not open
	operation string        // its name in the document
	caller    *auth.Caller  // nil: nobody who is known
	code      string        // of the problem that it was answered with
	admitted  time.Time     // when it was last
	queue     *jobs.Queue   // judges what is asked of it
	taken     []limit.State // of the limits on generations, if it has taken from them
	cause     error         // why it failed, if that is ours to mend
}

type requestKey struct{}

// requestOf returns the request that a context belongs to.
func requestOf(ctx context.Context) *request {
	r, ok := ctx.Value(requestKey{}).(*request)
	if !ok {
		return &request{}
	}
	return r
}

// identify gives every request an id and every answer the headers that all have.
func (s *server) identify(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := &request{id: store.NewRequestID(), http: c.Request(), queue: s.queue}
		c.SetRequest(c.Request().WithContext(context.WithValue(c.Request().Context(), requestKey{}, r)))
		c.Request().Header.Del("Accept") // each route has one format, whatever the caller would rather have
		h := c.Response().Header()
		h.Set("X-Request-Id", r.id)
		h.Set("X-Content-Type-Options", "nosniff")
		return next(c)
	}
}

// logRequest writes one line per request. It never names the key, the query or
// anything of the body.
func (s *server) logRequest(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		began := time.Now()
		if err := next(c); err != nil {
			s.writeError(err, c)
		}
		r := requestOf(c.Request().Context())
		s.keepRequest(c, r, began)
		attrs := []slog.Attr{
			slog.String("id", r.id),
			slog.String("method", c.Request().Method),
			slog.String("route", c.Path()),
			slog.Int("status", c.Response().Status),
			slog.Float64("ms", float64(time.Since(began).Microseconds())/1000),
			slog.Int64("bytes", c.Response().Size),
		}
		for _, who := range []struct{ name, id string }{{"key", r.keyID}, {"account", r.accountID}, {"project", r.projectID}} {
			if who.id != "" {
				attrs = append(attrs, slog.String(who.name, who.id))
			}
		}
		if theirs := c.Request().Header.Get("X-Request-Id"); isPlainID(theirs) {
			attrs = append(attrs, slog.String("client_request", theirs))
		}
		level := slog.LevelInfo
		if r.cause != nil {
			attrs = append(attrs, slog.String("error", r.cause.Error()))
			if c.Response().Status >= 500 {
				level = slog.LevelError
			}
		}
		s.opts.Logger.LogAttrs(c.Request().Context(), level, "request", attrs...)
		return nil
	}
}

// isPlainID reports whether text is short and harmless enough for a log.
func isPlainID(text string) bool {
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return text != "" && len(text) <= 64
}

// recoverPanic turns a panic into a 500 whose stack is logged.
func (s *server) recoverPanic(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if cause, ok := v.(error); ok && errors.Is(cause, http.ErrAbortHandler) {
				panic(v) // net/http's own way to break off an answer
			}
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
			requestOf(c.Request().Context()).cause = err
		}()
		return next(c)
	}
}

// limitBody bounds a body's bytes and time, and reads its media type as HTTP
// does: in any case and with any parameters.
func (s *server) limitBody(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
			return next(c)
		}
		if r.ContentLength > s.opts.MaxBody {
			c.Response().Header().Set("Connection", "close")
			return &http.MaxBytesError{Limit: s.opts.MaxBody}
		}
		r.Body = &body{
			ReadCloser: http.MaxBytesReader(c.Response(), r.Body, s.opts.MaxBody),
			control:    http.NewResponseController(c.Response()),
			timeout:    s.opts.BodyTimeout,
		}
		if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil {
			r.Header.Set("Content-Type", media)
		}
		return next(c)
	}
}

// body has a deadline from its first read to its end. It is lifted then, since
// net/http goes on reading to notice that the caller leaves, and would take the
// deadline for that.
type body struct {
	io.ReadCloser
	control *http.ResponseController
	timeout time.Duration
	begun   bool
}

func (b *body) Read(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		_ = b.control.SetReadDeadline(time.Now().Add(b.timeout)) // what has no connection needs none
	}
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
