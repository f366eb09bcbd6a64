package localpg

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
)

// superuser is the database account of every local server. It needs no
// password: the socket is private.
const superuser = "postgres"

// Server is a running private PostgreSQL. Its methods may be called
// concurrently.
type Server struct {
	opts Options
	id   identity
	home *home
	bin  binaries
	data string

	// change is held while the server is being stopped or restarted.
	change sync.Mutex
	closed bool

	done chan struct{}

	mu       sync.Mutex
	proc     *process
	expected bool  // the end of proc is no news
	logBegin int64 // where the log of proc begins, in bytes
	err      error
}

// URL returns the connection string of Options.Database. It stays the same
// for the life of the Server, also across Restart and Crash, and for a
// persistent server from one start to the next.
func (s *Server) URL() string { return s.URLFor(s.opts.Database) }

// URLFor returns the connection string of another database of the server,
// whether or not that exists. pgx and psql both accept it.
func (s *Server) URLFor(database string) string {
	// Everything is given, so that PGPORT and the like do not interfere.
	// A plus sign for a space, as in forms, would not be understood.
	host := strings.ReplaceAll(url.QueryEscape(s.home.socket), "+", "%20")
	query := "host=" + host + "&port=" + port + "&sslmode=disable"
	return "postgres://" + superuser + "@/" + url.PathEscape(database) + "?" + query
}

// Version returns the version of the running PostgreSQL, like "18.4".
func (s *Server) Version() string { return s.bin.version }

// DataDir returns the data directory of the server.
func (s *Server) DataDir() string { return s.data }

// PID returns the process number of the server, which changes with Restart
// and Crash.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.cmd.Process.Pid
}

// Done is closed when the server has ended, by Stop or unexpectedly. Restart
// and Crash close it only when the server does not come back.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err says why the server ended unexpectedly, with the end of its log. It is
// nil while the server runs and after Stop.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Stop shuts the server down and removes what must not stay; a second call
// does nothing. Clients are disconnected and transactions rolled back. It
// escalates to harsher signals when that takes long or ctx ends, and returns
// only when the server has ended or cannot be ended, which is an error.
func (s *Server) Stop(ctx context.Context) error {
	s.change.Lock()
	defer s.change.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	steps := fastStop
	if s.opts.throwaway() {
		steps = immediateStop
	}
	err := s.end(ctx, steps)
	s.finish(nil)
	s.opts.Logger.Info("local database stopped", "dir", s.home.base)
	return errors.Join(err, s.home.close())
}

// Restart shuts the server down as Stop does and starts it again on the same
// data: what a client sees when a managed database is updated.
func (s *Server) Restart(ctx context.Context) error {
	return s.cycle(ctx, fastStop)
}

// Crash kills the server without warning and starts it again, which recovers
// from the write-ahead log: what a client sees when a database host fails.
func (s *Server) Crash(ctx context.Context) error {
	return s.cycle(ctx, crashStop)
}

func (s *Server) cycle(ctx context.Context, steps []step) error {
	s.change.Lock()
	defer s.change.Unlock()
	if s.closed {
		return errors.New("restart the local database: it has been stopped")
	}
	select {
	case <-s.done:
		return errors.Join(errors.New("restart the local database: it has ended"), s.Err())
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	err := s.end(ctx, steps)
	if err == nil {
		err = s.boot(ctx)
	}
	if err != nil {
		err = fmt.Errorf("restart the local database: %w", err)
		s.finish(err)
	}
	return err
}

// end stops the running process, if any, and every process it left.
func (s *Server) end(ctx context.Context, steps []step) error {
	s.mu.Lock()
	s.expected = true
	proc := s.proc
	s.mu.Unlock()
	if proc == nil {
		return nil
	}
	if err := proc.stop(ctx, steps); err != nil {
		return err
	}
	return stopBackends(context.WithoutCancel(ctx), s.data)
}

// exited records the end of a process that nobody asked for.
func (s *Server) exited(p *process) {
	s.mu.Lock()
	unexpected := s.proc == p && !s.expected
	s.mu.Unlock()
	if !unexpected {
		return
	}
	state := "ended"
	if p.err != nil {
		state = p.err.Error()
	}
	s.opts.Logger.Error("local database ended unexpectedly", "state", state, "dir", s.home.base)
	s.finish(s.withLog(fmt.Errorf("the local database ended unexpectedly: %s", state)))
}

// finish closes done, once, with the reason err.
func (s *Server) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
	default:
		s.err = err
		close(s.done)
	}
}
