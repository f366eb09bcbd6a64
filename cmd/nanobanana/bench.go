package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// benchCmd measures this machine.
type benchCmd struct {
	Jobs       int    `default:"1000" placeholder:"N" help:"Jobs of each submitting round; there are two."`
	InFlight   int    `name:"in-flight" default:"200" placeholder:"N" help:"Generations each worker runs at the same time; --concurrency is not used."`
	Clients    int    `default:"16" placeholder:"N" help:"Clients of the first submitting round; the second has four times as many."`
	ImageBytes int    `name:"image-bytes" default:"1048576" placeholder:"N" help:"Size of every image."`
	ProviderMS int    `name:"provider-ms" default:"200" placeholder:"MS" help:"What the simulated provider takes for every image."`
	Workers    int    `default:"1" placeholder:"N" help:"Worker processes."`
	Dir        string `placeholder:"DIR" help:"Where to work. Default: the temporary directory."`
	JSON       bool   `name:"json" help:"Print one JSON object."`
	Keep       bool   `help:"Keep the database, images and logs."`
	Webhooks   string `default:"steady" enum:"none,steady,all" placeholder:"none|steady|all" help:"Which jobs ask for a webhook; all includes those whose cost is counted."`
	NoLimits   bool   `name:"no-limits" help:"Leave out the limits that the figures are compared with."`
	Ledger     int    `placeholder:"N" help:"Compare jobs of one organization that are paid for with free ones instead: N rounds of each, in turn, and four times as many of submissions alone."`
}

// benchSeed starts the sequence behind the arrival times of the steady round.
const benchSeed = 1

// benchWarmup is how many jobs are submitted before the first measured one.
const benchWarmup = 20

// Validate refuses what can not be measured, for kong.
func (c *benchCmd) Validate() error {
	for _, f := range []struct {
		name            string
		value, min, max int
	}{
		{"jobs", c.Jobs, 1, 100_000}, {"in-flight", c.InFlight, 1, 10_000}, {"clients", c.Clients, 1, 1_000},
		{"image-bytes", c.ImageBytes, 1_000, 64 << 20}, {"provider-ms", c.ProviderMS, 0, 60_000}, {"workers", c.Workers, 1, 64}, {"ledger", c.Ledger, 0, 100},
	} {
		if f.value < f.min || f.value > f.max {
			return fmt.Errorf("--%s is %d; it must be %d to %d", f.name, f.value, f.min, f.max)
		}
	}
	return nil
}

// Run measures, prints, and fails if the result of any job is not as it must
// be. A signal, or the death of this process, ends every process it started.
func (c *benchCmd) Run(ctx context.Context, cfg *config, con *console) (err error) {
	b := &bench{cmd: c, cfg: cfg, bar: newBenchBar(con.err, c)}
	report, err := b.run(ctx)
	b.bar.end()
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("stopped before the end: %w", context.Cause(ctx))
	}
	if err != nil {
		return err
	}
	var printed interface{ write(io.Writer) error } = report
	faults := report.Faults
	if b.ledger != nil {
		printed, faults = b.ledger, b.ledger.Faults
	}
	if c.JSON {
		enc := json.NewEncoder(con.out)
		enc.SetIndent("", "  ")
		err = enc.Encode(printed)
	} else {
		err = printed.write(con.out)
	}
	if err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	if b.kept != "" {
		_, _ = fmt.Fprintln(con.err, "kept in", b.kept)
	}
	if len(faults) > 0 {
		return fmt.Errorf("%d checks failed; the first: %s", len(faults), faults[0])
	}
	return nil
}

// bench is one run of the command: a rig, its load, and the report that grows.
type bench struct {
	cmd   *benchCmd
	cfg   *config
	bar   *benchBar
	rig   *benchRig
	load  *benchLoad
	hooks *benchReceiver
	kept  string // the directory that stays, if any

	jobs   []*benchJob // every accepted one
	report *benchReport
	ledger *ledgerReport // in its place, where that is what was asked for
}

// run starts a rig, runs the phases on it in order and takes it down again.
func (b *bench) run(ctx context.Context) (_ *benchReport, err error) {
	began := time.Now()
	b.bar.say("starting")
	b.rig, err = startBenchRig(ctx, b.cmd, b.cfg)
	if err != nil {
		return nil, err
	}
	defer func() {
		if b.cmd.Keep {
			b.kept = b.rig.dir
		}
		err = errors.Join(err, b.rig.close())
	}()
	if b.hooks, err = startBenchReceiver(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.hooks.close()) }()
	b.report = newBenchReport(b.cmd, b.rig)
	phases := []func(context.Context) error{b.runLoaded, b.runSteady, b.check, b.runLimits}
	if b.cmd.Ledger > 0 {
		phases = []func(context.Context) error{b.runLedger}
	}
	for _, phase := range phases {
		if err := phase(ctx); err != nil {
			return nil, b.rig.explain(ctx, err)
		}
	}
	if b.ledger == nil {
		b.report.finish(time.Since(began))
	}
	return b.report, nil
}

// runLoaded submits while no worker runs, then lets the workers drain the queue.
// What the processes and the database spend is counted over all of it.
func (b *bench) runLoaded(ctx context.Context) error {
	if err := b.rig.startAPI(ctx); err != nil {
		return err
	}
	b.load = newBenchLoad(b.rig.api.url, b.rig.key, 4*b.cmd.Clients)
	if b.cmd.Webhooks == webhooksAll {
		b.load.webhook = b.hooks.url
	}
	// From here on everything is counted, the jobs that warm up too.
	before, err := b.rig.meter(ctx)
	if err != nil {
		return err
	}
	warm, _, err := b.load.closed(ctx, "warm", min(benchWarmup, b.cmd.Jobs), b.cmd.Clients, b.bar.step)
	if err != nil {
		return err
	}
	b.jobs = warm
	for i, clients := range []int{b.cmd.Clients, 4 * b.cmd.Clients} {
		b.bar.say(fmt.Sprintf("submit, %d clients", clients))
		jobs, took, err := b.load.closed(ctx, fmt.Sprintf("submit%d", i), b.cmd.Jobs, clients, b.bar.step)
		if err != nil {
			return err
		}
		b.report.Phases.Submit = append(b.report.Phases.Submit, summarizeSubmit(jobs, clients, took))
		b.jobs = append(b.jobs, jobs...)
	}
	if err := b.runDrain(ctx); err != nil {
		return err
	}
	used, err := b.rig.spent(ctx, before)
	if err != nil {
		return err
	}
	b.report.spend(used, len(b.jobs))
	// Only now: its commits are not the service's.
	runs, err := b.rig.runs(ctx)
	if err != nil {
		return err
	}
	b.report.Phases.Drain = summarizeDrain(b.jobs, runs, b.cmd.providerTime())
	return nil
}

// runDrain starts the workers on a full queue and waits for its end.
func (b *bench) runDrain(ctx context.Context) error {
	b.bar.say("drain")
	if err := b.rig.sim.forget(ctx); err != nil {
		return err
	}
	watch := b.rig.watch(ctx, b.jobs)
	if err := b.rig.startWorkers(ctx); err != nil {
		return err
	}
	if err := watch.wait(ctx, b.bar.step); err != nil {
		return err
	}
	// Before the workers are stopped: the deliveries are part of what is counted.
	if err := b.hooks.await(ctx, b.jobs, hookPatience); err != nil {
		return err
	}
	return b.join(ctx, b.jobs)
}

// runSteady offers a light load at random moments, which shows what one job
// takes when it waits for no other.
func (b *bench) runSteady(ctx context.Context) error {
	b.bar.say("steady")
	if err := errors.Join(b.rig.startAPI(ctx), b.rig.startWorkers(ctx)); err != nil {
		return err
	}
	b.load = newBenchLoad(b.rig.api.url, b.rig.key, 4*b.cmd.Clients)
	if b.cmd.Webhooks != webhooksNone {
		b.load.webhook = b.hooks.url
	}
	if err := b.rig.sim.forget(ctx); err != nil {
		return err
	}
	jobs, err := b.load.open(ctx, "steady", b.cmd.steadyJobs(), b.bar.step)
	if err != nil {
		return err
	}
	if err := errors.Join(b.hooks.await(ctx, jobs, hookPatience), b.join(ctx, jobs), b.rig.stopService(ctx)); err != nil {
		return err
	}
	b.report.Phases.Steady = summarizeSteady(jobs, b.cmd.providerTime())
	loaded := b.jobs
	b.jobs = slices.Concat(loaded, jobs)
	return b.countWebhooks(ctx, loaded, jobs)
}

// countWebhooks reports what came of the webhooks that were asked for. Nothing of
// the service runs any more, so that none is on its way.
func (b *bench) countWebhooks(ctx context.Context, loaded, steady []*benchJob) error {
	if b.cmd.Webhooks == webhooksNone {
		return nil
	}
	finished, err := b.rig.finishes(ctx)
	if err != nil {
		return err
	}
	for _, j := range b.jobs {
		j.finished = finished[j.id]
		j.received, j.webhooks = b.hooks.arrivals(j.id)
	}
	b.report.hook(summarizeWebhooks(loaded, steady, b.hooks.others()))
	return nil
}

// join adds to the jobs when the provider was called for them.
func (b *bench) join(ctx context.Context, jobs []*benchJob) error {
	calls, err := b.rig.sim.calls(ctx)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if of := calls[j.token]; len(of) > 0 {
			j.called, j.calls = of[0], len(of)
		}
	}
	return nil
}

// check compares what is left with what was asked.
func (b *bench) check(ctx context.Context) error {
	b.bar.say("check")
	checks, err := b.rig.check(ctx, b.jobs, int64(b.cmd.ImageBytes))
	if err != nil {
		return err
	}
	b.report.Checks = checks
	b.report.Faults = append(checks.faults(len(b.jobs), b.report.DBBytesPerJob), b.report.Phases.Webhooks.faults()...)
	return nil
}

// runLimits measures what bounds the figures, while nothing of ours runs.
func (b *bench) runLimits(ctx context.Context) error {
	if b.cmd.NoLimits {
		return nil
	}
	b.bar.say("limits")
	limits, err := measureLimits(ctx, b.rig.postgres, limitOptions{
		clients:    b.cmd.Clients,
		each:       min(max(time.Duration(b.cmd.Jobs)*time.Millisecond, 200*time.Millisecond), 1500*time.Millisecond),
		jobs:       min(max(10*b.cmd.Jobs, 1000), 20_000),
		imageBytes: b.cmd.ImageBytes,
		dir:        b.rig.dir,
		step:       b.bar.step,
	})
	if err != nil {
		return err
	}
	b.report.compare(limits)
	return nil
}

// providerTime is what the simulator takes for every image.
func (c *benchCmd) providerTime() time.Duration {
	return time.Duration(c.ProviderMS) * time.Millisecond
}

// steadyJobs is enough for a 99th percentile at the default number of jobs.
func (c *benchCmd) steadyJobs() int { return min(max(c.Jobs/10, 5), 100) }

// benchBar shows progress on a terminal and nothing elsewhere.
type benchBar struct{ bar *progressbar.ProgressBar }

// steps are a submission, an end and a limit each.
func (c *benchCmd) steps() int {
	if c.Ledger > 0 {
		return c.Ledger * c.Jobs * 2 * (2 + 2*submitRounds)
	}
	total := 2*(2*c.Jobs+min(benchWarmup, c.Jobs)) + c.steadyJobs()
	if !c.NoLimits {
		total += limitSteps
	}
	return total
}

func newBenchBar(w io.Writer, c *benchCmd) *benchBar {
	f, ok := w.(*os.File)
	visible := ok && term.IsTerminal(int(f.Fd()))
	return &benchBar{bar: progressbar.NewOptions(c.steps(),
		progressbar.OptionSetWriter(w), progressbar.OptionSetVisibility(visible), progressbar.OptionSetWidth(30),
		progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))}
}

// A bar that can not be drawn is no reason to stop measuring.
func (b *benchBar) say(what string) { b.bar.Describe(what) }
func (b *benchBar) step()           { _ = b.bar.Add(1) }
func (b *benchBar) end()            { _ = b.bar.Finish() }
