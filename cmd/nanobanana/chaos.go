package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// chaosCmd hurts a service of its own in every way that it must survive.
type chaosCmd struct {
	Jobs    int      `default:"200" placeholder:"N" help:"Jobs to submit."`
	Kills   int      `default:"4" placeholder:"N" help:"Processes to kill (SIGKILL). Half as many are frozen, the database is restarted for every fourth, and as often the upstream fails."`
	Asked   *uint64  `name:"seed" placeholder:"N" help:"Start of every random choice. Default: a new one, which is printed."`
	Workers int      `default:"3" placeholder:"N" help:"Worker processes."`
	APIs    int      `name:"apis" default:"2" placeholder:"N" help:"API processes."`
	Spare   []string `enum:"api,worker,database,upstream" placeholder:"PART" help:"Parts to leave alone: api, worker, database, upstream."`
	Dir     string   `placeholder:"DIR" help:"Where to work. Default: the temporary directory."`
	JSON    bool     `name:"json" xor:"form" help:"Print one JSON object."`
	Row     bool     `xor:"form" help:"Print one row for the table of docs/reliability.md."`
	Keep    bool     `help:"Keep logs and images also where nothing was violated."`

	Seed uint64 `kong:"-"` // the one asked for, or a new one
}

// Validate refuses what can not be run, for kong.
func (c *chaosCmd) Validate() error {
	for _, f := range []struct {
		name            string
		value, min, max int
	}{
		{"jobs", c.Jobs, 1, 3000}, {"kills", c.Kills, 0, 200}, {"workers", c.Workers, 1, 16}, {"apis", c.APIs, 1, 16},
	} {
		if f.value < f.min || f.value > f.max {
			return fmt.Errorf("--%s is %d; it must be %d to %d", f.name, f.value, f.min, f.max)
		}
	}
	return nil
}

// Run hurts, checks and prints, and fails if anything that must hold does not. A
// signal, or the death of this process, ends every process it started.
func (c *chaosCmd) Run(ctx context.Context, cfg *config, con *console) error {
	if c.Asked != nil {
		c.Seed = *c.Asked
	} else {
		c.Seed = uint64(time.Now().UnixNano()) % 1_000_000 // short enough to type again
	}
	_, _ = fmt.Fprintln(con.err, "seed", c.Seed)
	report, err := c.run(ctx, cfg)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("stopped before the end: %w", context.Cause(ctx))
	}
	if err != nil {
		return err
	}
	if report.Logs != "" {
		_, _ = fmt.Fprintln(con.err, "logs in", report.Logs)
	}
	if err := c.print(con.out, report); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return report.verdict()
}

func (c *chaosCmd) print(w io.Writer, report *chaosReport) error {
	switch {
	case c.Row:
		_, err := fmt.Fprintln(w, report.row())
		return err
	case !c.JSON:
		return report.write(w)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(report)
}

// run starts a rig, hurts it under load, lets it settle and looks at what is
// left. Logs stay where something was violated or the run itself failed.
func (c *chaosCmd) run(ctx context.Context, cfg *config) (report *chaosReport, err error) {
	began := time.Now()
	rig, err := startChaosRig(ctx, c, cfg)
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, rig.close())
		switch {
		case err != nil && ctx.Err() == nil:
			err = errors.Join(fmt.Errorf("%w\nlogs are kept in %s", err, rig.dir), rig.keep())
			return
		case err != nil || report.Logs == "":
			err = errors.Join(err, rig.discard())
			return
		}
		err = errors.Join(err, rig.keep())
	}()
	run := &chaosRun{rig: rig, report: &chaosReport{
		Seed: c.Seed, Jobs: c.Jobs, Workers: c.Workers, APIs: c.APIs, Database: []chaosOutage{}, Violations: []chaosViolation{},
	}}
	if err := run.hurt(ctx); err != nil {
		return nil, err
	}
	if err := run.settle(ctx); err != nil {
		return nil, err
	}
	if err := run.judge(ctx); err != nil {
		return nil, err
	}
	run.report.Seconds = round(time.Since(began).Seconds(), 1)
	if c.Keep || len(run.report.Violations) > 0 {
		run.report.Logs = rig.dir
		if err := run.keepReport(); err != nil {
			return nil, err
		}
	}
	return run.report, nil
}

// random returns a sequence that depends on the seed and what it is for.
func (c *chaosCmd) random(purpose uint64) *rand.Rand {
	return rand.New(rand.NewPCG(c.Seed, purpose)) //nolint:gosec // a run is to be repeatable, not secret
}

// keepReport writes the report beside the logs.
func (r *chaosRun) keepReport() error {
	f, err := os.Create(filepath.Join(r.rig.dir, "report.json"))
	if err != nil {
		return fmt.Errorf("keep the report: %w", err)
	}
	enc := json.NewEncoder(f)
	enc.SetIndent("", "  ")
	if err := errors.Join(enc.Encode(r.report), f.Close()); err != nil {
		return fmt.Errorf("keep the report: %w", err)
	}
	return nil
}
