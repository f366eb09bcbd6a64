// Package localpg runs a private PostgreSQL server as a child of this process.
//
// The server listens on a Unix socket that only its owner can reach, keeps its
// data under one directory, and dies with the process that started it. It
// serves `nanobanana dev`, the benchmark and the tests; a deployment sets
// DATABASE_URL instead.
package localpg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// ErrLocked is wrapped by the error of Start when another live process runs a
// server in the same directory.
var ErrLocked = errors.New("the local database is in use by another process")

// ErrNoBinaries is wrapped by the error of Start when no PostgreSQL server
// program was found and none could be downloaded. The error's text lists what
// was tried and what the user can do.
var ErrNoBinaries = errors.New("no usable PostgreSQL found")

// startLimit bounds one start. It is far above a normal one, to leave room
// for crash recovery on a slow disk.
const startLimit = 2 * time.Minute

// Options say where and how the private server runs. The zero value needs
// only Dir or Ephemeral.
type Options struct {
	// Dir is the base directory, created if missing. It holds the data in
	// pg<major>, the socket in s, the lock and postgres.log. An ephemeral
	// server makes a directory of its own inside Dir and removes it on Stop.
	// Required unless Ephemeral is set, where the default is a private
	// directory in memory if that is large enough, else in os.TempDir.
	Dir string

	// Ephemeral trades safety for speed: writes are not synced, the data
	// starts as a copy of a cached empty cluster, and Stop removes it.
	Ephemeral bool

	// Durable makes an ephemeral server write as safely, and as slowly, as a
	// persistent one, and puts it on disk: what a benchmark should measure.
	Durable bool

	// Binaries is the directory that holds the programs postgres and initdb.
	// When set nothing else is searched.
	Binaries string

	// NoDownload forbids fetching PostgreSQL when none is installed.
	NoDownload bool

	// CacheDir receives downloaded programs; default nanobanana in
	// os.UserCacheDir.
	CacheDir string

	// RunAs names the account the server runs under when this process is
	// root, which PostgreSQL refuses to run as. Default: nobody inside a user
	// namespace where the kernel permits that, else postgres or nobody.
	RunAs string

	// Settings are PostgreSQL parameters that override the defaults here.
	Settings map[string]string

	// Database is created when missing; default "nanobanana".
	Database string

	// Logger receives a line per start, stop and recovery; default: none.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" && !o.Ephemeral {
		return o, errors.New("start local database: Options.Dir is empty")
	}
	if o.Dir != "" {
		dir, err := filepath.Abs(o.Dir)
		if err != nil {
			return o, fmt.Errorf("resolve %s: %w", o.Dir, err)
		}
		o.Dir = dir
	}
	if o.Database == "" {
		o.Database = "nanobanana"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// throwaway reports whether losing the data in a crash is fine.
func (o Options) throwaway() bool { return o.Ephemeral && !o.Durable }

// Start runs a server and returns once Options.Database accepts connections.
// It makes the cluster on first use, and first stops a server left over in the
// same directory by a process that was killed. The error wraps ErrLocked or
// ErrNoBinaries where those apply; an error of the server itself carries the
// end of its log. The server outlives ctx: only Stop, or the end of this
// process, ends it.
func Start(ctx context.Context, opts Options) (*Server, error) {
	if err := supported(); err != nil {
		return nil, err
	}
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit,
		fmt.Errorf("the local database did not start within %s", startLimit))
	defer cancel()

	began := time.Now()
	id, err := chooseIdentity(ctx, opts.RunAs)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("start local database: %w", context.Cause(ctx))
	}
	h, err := openHome(ctx, opts, id)
	if err != nil {
		return nil, err
	}
	s := &Server{opts: opts, id: id, home: h, done: make(chan struct{})}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, h.close())
	}
	opts.Logger.Info("local database started", "version", s.bin.version,
		"dir", h.base, "pid", s.PID(), "took", time.Since(began))
	return s, nil
}

// cacheDir returns the directory for downloaded programs, which id must be
// able to reach.
func (o Options) cacheDir(id identity) (string, error) {
	if o.CacheDir != "" {
		return filepath.Abs(o.CacheDir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache directory: %w", err)
	}
	dir = filepath.Join(dir, "nanobanana")
	if id.drop && blockedParent(dir) != "" {
		return fallbackDir(dir), nil
	}
	return dir, nil
}
