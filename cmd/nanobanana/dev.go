package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/localpg"
)

// devCmd runs the whole service in one process.
type devCmd struct {
	Listen string `placeholder:"HOST:PORT" help:"Address to serve on. Default: 127.0.0.1:8080, or a free port if that is taken."`
}

// Run starts everything, says how to use it, and stops everything when ctx
// ends, when a part fails, or when the process that started it is gone.
func (c *devCmd) Run(ctx context.Context, cfg *config, con *console) (err error) {
	began := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go watchParent(ctx, cancel)

	if cfg.Drain == defaultDrain {
		cfg.Drain = "3s" // a person waits at the terminal
	}
	d := &devRun{cfg: cfg, logger: cfg.logger(con.err)}
	defer func() { err = errors.Join(err, drain(cfg, d.stop)) }()
	if err := d.start(ctx, c.Listen); err != nil {
		if ctx.Err() != nil {
			return nil // stopped while starting
		}
		return err
	}
	d.print(con.out, time.Since(began))
	select {
	case <-ctx.Done():
	case err = <-d.front.failed:
	case <-d.databaseDone():
		err = fmt.Errorf("the database has stopped: %w", d.postgres.Err())
	}
	_, _ = fmt.Fprintln(con.err, "stopping")
	return err
}

// devRun is a running `dev` and what has to be stopped, last started first.
type devRun struct {
	cfg      *config
	logger   *slog.Logger
	postgres *localpg.Server // nil with DATABASE_URL
	front    *front
	stops    []func(context.Context) error
	state    devState
}

func (d *devRun) onStop(stop func(context.Context) error) { d.stops = append(d.stops, stop) }

func (d *devRun) stop(ctx context.Context) error {
	var errs []error
	for i := len(d.stops) - 1; i >= 0; i-- {
		errs = append(errs, d.stops[i](ctx))
	}
	return errors.Join(errs...)
}

func (d *devRun) databaseDone() <-chan struct{} {
	if d.postgres == nil {
		return nil
	}
	return d.postgres.Done()
}

func (d *devRun) start(ctx context.Context, addr string) error {
	if err := d.startDatabase(ctx); err != nil {
		return err
	}
	db, err := store.Open(ctx, d.cfg.DatabaseURL, store.Options{Name: "nanobanana dev", Warm: warmConnections})
	if err != nil {
		return err
	}
	d.onStop(func(context.Context) error { db.Close(); return nil })
	if _, err := db.Migrate(ctx); err != nil {
		return err
	}
	if err := d.prepareKeys(ctx, db); err != nil {
		return err
	}
	images, spool, err := openBlobs(ctx, d.cfg)
	if err != nil {
		return err
	}
	ln, err := devListen(ctx, addr)
	if err != nil {
		return err
	}
	if err := d.startStripe(ctx, db, ln.Addr()); err != nil {
		return errors.Join(err, ln.Close())
	}
	_, stopWorker, err := startWorker(ctx, d.cfg.reachedAt(ln.Addr()), db, images, spool, true, d.logger)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	d.onStop(stopWorker)
	d.front, err = startFront(ctx, d.cfg, db, images, ln, true, d.logger)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	d.onStop(d.front.stop)
	d.state.URL = "http://" + ln.Addr().String()
	d.onStop(func(context.Context) error { return removeDevState(d.cfg.Data) })
	return d.state.write(d.cfg.Data)
}

// reachedAt is the configuration for a worker whose front door is at an address,
// unless customers reach it at another.
func (c *config) reachedAt(addr net.Addr) *config {
	with := *c
	if with.BaseURL == "" {
		with.BaseURL = "http://" + addr.String()
	}
	return &with
}

// startDatabase runs the private Postgres unless one is configured.
func (d *devRun) startDatabase(ctx context.Context) error {
	data, err := filepath.Abs(d.cfg.Data)
	if err != nil {
		return fmt.Errorf("resolve data directory: %w", err)
	}
	d.cfg.Data = data
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("create data directory: %w", err)
	}
	unlock, err := lockDir(data)
	if errors.Is(err, errLocked) {
		return fmt.Errorf("another \"nanobanana dev\" is using %s; stop it, or choose another directory with --data", data)
	}
	if err != nil {
		return fmt.Errorf("lock data directory: %w", err)
	}
	d.onStop(func(context.Context) error { return unlock() })
	if d.cfg.DatabaseURL != "" {
		return nil
	}
	d.postgres, err = localpg.Start(ctx, localpg.Options{
		Dir: filepath.Join(data, "postgres"), Binaries: d.cfg.PGBin, Logger: d.logger.With("part", "postgres"),
	})
	if err != nil {
		return err
	}
	d.onStop(d.postgres.Stop)
	d.cfg.DatabaseURL = d.postgres.URL()
	return nil
}

// devListen listens on addr, or on the usual port if that is free.
func devListen(ctx context.Context, addr string) (net.Listener, error) {
	if addr != "" {
		return listen(ctx, addr)
	}
	ln, err := listen(ctx, defaultListen)
	if err != nil {
		return listen(ctx, "127.0.0.1:0")
	}
	return ln, nil
}

func (d *devRun) print(out io.Writer, took time.Duration) {
	_, _ = fmt.Fprintf(out, `
NanoBanana is ready after %s.

  API        %s   (%s/openapi.json)
  live key   %s
  test key   %s
  images of  %s
             test keys always come from the simulator
  mail       %s%s   (every mail, with its links%s)
  payments   %s
  data       %s   (dev.json holds these values for scripts)

Ask for an image:

  curl -s %s/v1/generate -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '{"prompt":"a banana astronaut"}'

Or, in another terminal in this directory:

  go run ./cmd/nanobanana generate "a banana astronaut" -o banana.png

Stop with Ctrl-C.
`, took.Round(10*time.Millisecond), d.state.URL, d.state.URL, d.state.APIKeyLive, d.state.APIKeyTest, d.cfg.liveImages(),
		d.state.URL, api.DevMailPath, d.cfg.mailed(), d.payments(), d.cfg.Data, d.state.URL, d.state.APIKeyLive)
}

// watchParent stops `dev` when the process that started it is gone: `go run`
// does not pass SIGTERM on.
func watchParent(ctx context.Context, stop context.CancelCauseFunc) {
	parent := os.Getppid()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for parent > 1 {
		select {
		case <-tick.C:
			if os.Getppid() != parent {
				stop(errors.New("the parent process is gone"))
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
