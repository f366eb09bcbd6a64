package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nanobanana/nanobanana/providers/simulator"
)

// defaultListen is where the front door serves unless told otherwise.
const defaultListen = "127.0.0.1:8080"

// apiCmd runs the front door.
type apiCmd struct {
	Listen string `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address to serve on."`
}

// Run serves until ctx ends, then drains.
func (c *apiCmd) Run(ctx context.Context, cfg *config, con *console) error {
	logger := cfg.logger(con.err)
	db, err := openStore(ctx, cfg, "api", warmConnections)
	if err != nil {
		return err
	}
	defer db.Close()
	images, _, err := openBlobs(ctx, cfg)
	if err != nil {
		return err
	}
	ln, err := listen(ctx, c.Listen)
	if err != nil {
		return err
	}
	f, err := startFront(ctx, cfg, db, images, ln, false, logger)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	_, _ = fmt.Fprintf(con.out, "api listening on http://%s\n", ln.Addr())
	select {
	case <-ctx.Done():
	case err = <-f.failed:
	}
	return errors.Join(err, drain(cfg, f.stop))
}

// workerCmd runs a worker.
type workerCmd struct{}

// Run works until ctx ends, then drains.
func (c *workerCmd) Run(ctx context.Context, cfg *config, con *console) error {
	logger := cfg.logger(con.err)
	db, err := openStore(ctx, cfg, "worker", warmConnections)
	if err != nil {
		return err
	}
	defer db.Close()
	images, spool, err := openBlobs(ctx, cfg)
	if err != nil {
		return err
	}
	w, stop, err := startWorker(ctx, cfg, db, images, spool, false, logger)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(con.out, "worker ready %s\n", w.ID())
	<-ctx.Done()
	return drain(cfg, stop)
}

// simulatorCmd runs the provider simulator alone.
type simulatorCmd struct {
	Listen    string   `default:"127.0.0.1:8090" placeholder:"HOST:PORT" help:"Address to serve on."`
	Speed     fraction `default:"1" placeholder:"X" help:"Latency: 0 is none, 1 is as real."`
	Latency   duration `default:"0s" placeholder:"TIME" help:"The same latency for every image, instead of the profile."`
	PoolBytes number   `name:"pool-bytes" default:"0" placeholder:"N" help:"Serve prepared images of about N bytes instead of drawing, for load."`
	RPM       number   `name:"rpm" default:"0" placeholder:"N" help:"Requests a minute that each key may make; 0 is any number."`
	Fault     []string `sep:"none" placeholder:"FAULT" help:"Fault from the start, such as \"503 route=KEY p=0.3\"; may be repeated."`
}

// Validate returns every bad flag at once.
func (c *simulatorCmd) Validate() error {
	var errs []error
	if x, err := c.Speed.value(); err != nil || !(x >= 0) || math.IsInf(x, 1) {
		errs = append(errs, fmt.Errorf("--speed: %q is not a number of 0 or more", c.Speed))
	}
	if d, err := c.Latency.value(); err != nil || d < 0 {
		errs = append(errs, fmt.Errorf("--latency: %q is not a time such as 200ms", c.Latency))
	}
	if n, err := c.PoolBytes.value(); err != nil || n < 0 {
		errs = append(errs, fmt.Errorf("--pool-bytes: %q is not a number of 0 or more", c.PoolBytes))
	}
	if n, err := c.RPM.value(); err != nil || n < 0 {
		errs = append(errs, fmt.Errorf("--rpm: %q is not a number of 0 or more", c.RPM))
	}
	if _, err := c.faults(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// faults reads the flags of that name.
func (c *simulatorCmd) faults() (faults []simulator.Fault, _ error) {
	var errs []error
	for _, text := range c.Fault {
		f, err := simulator.ParseFault(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("--fault %q: %w", text, err))
		}
		faults = append(faults, f)
	}
	return faults, errors.Join(errs...)
}

// Run serves until ctx ends.
func (c *simulatorCmd) Run(ctx context.Context, cfg *config, con *console) error {
	url, stop, err := startSimulator(ctx, c.Listen, simulator.Options{
		Speed: get(c.Speed.value()), Latency: get(c.Latency.value()), PoolBytes: get(c.PoolBytes.value()),
		RPM: get(c.RPM.value()), Faults: get(c.faults()), Logger: cfg.logger(con.err),
	})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(con.out, "simulator listening on %s\n", url)
	<-ctx.Done()
	return drain(cfg, stop)
}

// drain gives stop the configured time, with a little more for its own ending.
// A second signal ends the program at once.
func drain(cfg *config, stop func(context.Context) error) error {
	hurry, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer release()
	ctx, cancel := context.WithTimeout(hurry, get(cfg.Drain.value())+10*time.Second)
	defer cancel()
	err := stop(ctx)
	if hurry.Err() != nil {
		return errors.New("stopped at once by a second signal; work under way is taken up elsewhere")
	}
	if err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	return nil
}
