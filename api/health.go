package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	// readyTimeout bounds the checks of one look at readiness.
	readyTimeout = 3 * time.Second
	// readyReuse is how long a look is good for: anyone may ask, and each look
	// costs a query and a call to the blob store.
	readyReuse = time.Second
)

// readiness remembers the latest look.
type readiness struct {
	mu       sync.Mutex
	at       time.Time
	err      error
	schemaOK bool // once up to date, it stays so
}

// health is the body of a healthy answer.
type health struct {
	Status  string `json:"status" enum:"ok"`
	Version string `json:"version"`
}

// livez answers as long as the process does.
func (s *server) livez(c echo.Context) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.JSON(http.StatusOK, health{Status: "ok", Version: s.opts.Version})
}

// readyz answers whether requests can be served.
func (s *server) readyz(c echo.Context) error {
	select {
	case <-s.opts.Drain:
		return refuse("service_unavailable", "The process is shutting down.")
	default:
	}
	if err := s.checkReady(c.Request().Context()); err != nil {
		requestOf(c.Request().Context()).cause = err
		var check *checkError
		errors.As(err, &check)
		return refuse("service_unavailable", "The check of the %s fails.", check.what)
	}
	return s.livez(c)
}

// checkError is a failed check.
type checkError struct {
	what string // "database", "schema" or "blob store"
	err  error
}

func (e *checkError) Error() string { return fmt.Sprintf("check %s: %v", e.what, e.err) }
func (e *checkError) Unwrap() error { return e.err }

func (s *server) checkReady(ctx context.Context) error {
	r := &s.ready
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.at.IsZero() && time.Since(r.at) < readyReuse {
		return r.err
	}
	// Others may be told of this look too: it does not end with its caller.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
	defer cancel()
	r.err = s.check(ctx)
	r.at = time.Now()
	return r.err
}

func (s *server) check(ctx context.Context) error {
	if err := s.db.Ping(ctx); err != nil {
		return &checkError{"database", err}
	}
	if !s.ready.schemaOK {
		if err := s.db.CheckSchema(ctx); err != nil {
			return &checkError{"schema", err}
		}
		s.ready.schemaOK = true
	}
	if err := s.opts.Blobs.Check(ctx); err != nil {
		return &checkError{"blob store", err}
	}
	return nil
}
