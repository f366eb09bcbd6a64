package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// submitRounds is how many rounds of submissions there are for each of whole jobs:
// they are over sooner, and vary more.
const submitRounds = 4

// ledgerCredits is more than any comparison uses.
const ledgerCredits = 1_000_000_000

// ledgerKeys are keys of one organization, whose generations are free or paid for.
type ledgerKeys struct {
	org        string
	free, paid string
}

// A ledgerFigure is one measure of what is free and of what is paid for, each
// round after round.
type ledgerFigure struct {
	Name   string    `json:"name"`
	Digits int       `json:"-"` // after the point
	Free   []float64 `json:"free"`
	Paid   []float64 `json:"paid"`
	Ratio  float64   `json:"ratio"` // median of the rounds' paid to free
}

// ledgerReport is what a comparison found.
type ledgerReport struct {
	Machine  benchMachine    `json:"machine"`
	Settings benchSettings   `json:"settings"`
	Rounds   int             `json:"rounds"`
	Figures  []*ledgerFigure `json:"figures"`
	Charged  int             `json:"credits_charged"`
	Faults   []string        `json:"faults"`
	Seconds  float64         `json:"total_seconds"`
}

// runLedger compares what is free with what is paid for: whole jobs first, each round
// on processes of its own, then submissions while no worker runs.
func (b *bench) runLedger(ctx context.Context) error {
	began := time.Now()
	keys, err := b.rig.createLedger(ctx)
	if err != nil {
		return err
	}
	r := &ledgerReport{Machine: b.report.Machine, Settings: b.report.Settings, Rounds: b.cmd.Ledger, Faults: []string{}}
	paid := 0
	for n := range b.cmd.Ledger {
		err := inTurn(n, keys, func(key string) error {
			b.bar.say("whole jobs")
			if key == keys.paid {
				paid += b.cmd.Jobs
			}
			return b.wholeJobs(ctx, r, n, key, key == keys.paid)
		})
		if err != nil {
			return err
		}
	}
	if r.Charged, r.Faults, err = b.rig.checkLedger(ctx, keys.org, paid); err != nil {
		return err
	}
	if err := b.submissions(ctx, r, keys); err != nil {
		return err
	}
	for _, f := range r.Figures {
		f.compare()
	}
	r.Seconds = round(time.Since(began).Seconds(), 1)
	b.ledger = r
	return nil
}

// inTurn does it for both keys, in another order each round.
func inTurn(round int, keys *ledgerKeys, do func(key string) error) error {
	order := []string{keys.free, keys.paid}
	if round%2 == 1 {
		slices.Reverse(order)
	}
	if err := do(order[0]); err != nil {
		return err
	}
	return do(order[1])
}

// wholeJobs has jobs submitted, then worked, and adds what that took.
func (b *bench) wholeJobs(ctx context.Context, r *ledgerReport, round int, key string, paid bool) error {
	if err := b.rig.startAPI(ctx); err != nil {
		return err
	}
	began := time.Now()
	load := newBenchLoad(b.rig.api.url, key, 4*b.cmd.Clients)
	before, err := b.rig.meter(ctx)
	if err != nil {
		return err
	}
	if b.jobs, _, err = load.closed(ctx, fmt.Sprintf("ledger%d%t", round, paid), b.cmd.Jobs, 4*b.cmd.Clients, b.bar.step); err != nil {
		return err
	}
	if err := b.runDrain(ctx); err != nil {
		return err
	}
	used, err := b.rig.spent(ctx, before)
	if err != nil {
		return err
	}
	runs, err := b.rig.runs(ctx)
	if err != nil {
		return err
	}
	runs = slices.DeleteFunc(runs, func(s span) bool { return s.from.Before(began) }) // of the rounds before
	cost := &benchReport{}
	cost.spend(used, len(b.jobs))
	r.add("jobs/s", 0, paid, summarizeDrain(b.jobs, runs, b.cmd.providerTime()).JobsPerSecond)
	if cost.CPUSecondsPer1000 != nil {
		r.add("CPU ms per job, all processes", 2, paid, *cost.CPUSecondsPer1000)
	}
	for _, p := range cost.Processes {
		if p.Name == procPostgres && p.CPUSecondsPer1000 != nil {
			r.add("CPU ms per job, Postgres", 2, paid, *p.CPUSecondsPer1000)
		}
	}
	r.add("commits per job", 2, paid, cost.CommitsPerJob)
	r.add("bytes per job", 0, paid, cost.DBBytesPerJob)
	r.add("bytes of write-ahead log per job", 0, paid, cost.WALBytesPerJob)
	return nil
}

// submissions adds rates of submissions of one organization.
func (b *bench) submissions(ctx context.Context, r *ledgerReport, keys *ledgerKeys) error {
	if err := b.rig.startAPI(ctx); err != nil {
		return err
	}
	for _, clients := range []int{b.cmd.Clients, 4 * b.cmd.Clients} {
		name := fmt.Sprintf("submits/s, %d clients", clients)
		b.bar.say(name)
		for round := range submitRounds * b.cmd.Ledger {
			err := inTurn(round, keys, func(key string) error {
				load := newBenchLoad(b.rig.api.url, key, clients)
				defer load.http.CloseIdleConnections()
				if _, _, err := load.closed(ctx, "warm", min(benchWarmup, b.cmd.Jobs), clients, func() {}); err != nil {
					return err
				}
				_, took, err := load.closed(ctx, fmt.Sprintf("submit%d", round), b.cmd.Jobs, clients, b.bar.step)
				r.add(name, 0, key == keys.paid, perSecond(b.cmd.Jobs, took))
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return b.rig.stopService(ctx)
}

// add notes the next round's figure.
func (r *ledgerReport) add(name string, digits int, paid bool, x float64) {
	i := slices.IndexFunc(r.Figures, func(f *ledgerFigure) bool { return f.Name == name })
	if i < 0 {
		i = len(r.Figures)
		r.Figures = append(r.Figures, &ledgerFigure{Name: name, Digits: digits})
	}
	if paid {
		r.Figures[i].Paid = append(r.Figures[i].Paid, x)
	} else {
		r.Figures[i].Free = append(r.Figures[i].Free, x)
	}
}

// compare sets the ratio: of each round's two, which ran one after the other.
func (f *ledgerFigure) compare() {
	ratios := make([]float64, min(len(f.Free), len(f.Paid)))
	for i := range ratios {
		ratios[i] = f.Paid[i] / f.Free[i]
	}
	f.Ratio = round(median(ratios), 3)
}

// median is the one in the middle, of an even number the mean of two; 0 of none.
func median(xs []float64) float64 {
	if len(xs) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(xs))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// createLedger makes the organization, on a plan that ends somewhere, so that each
// submission is weighed, but holds back none of its jobs.
func (r *benchRig) createLedger(ctx context.Context) (*ledgerKeys, error) {
	db, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if _, err := db.Pool().Exec(ctx, `
		INSERT INTO plan (name, title, place, offered, price_micros, period, credits, credit_micros, metered, rate_limit, concurrency, retention_days, priority)
		VALUES ('bench', 'Bench', 100, false, 0, 'month', $1, 14500, false, 0, 0, 30, 1)`, ledgerCredits); err != nil {
		return nil, fmt.Errorf("make a plan: %w", err)
	}
	org, err := db.CreateOrg(ctx, "ledger", "bench", new(30))
	if err != nil {
		return nil, err
	}
	project, err := db.CreateProject(ctx, org.ID, "ledger")
	if err != nil {
		return nil, err
	}
	keys, _, err := openKeys(ctx, &config{}, db)
	if err != nil {
		return nil, err
	}
	made := &ledgerKeys{org: org.ID}
	for kind, key := range map[string]*string{store.KeyTest: &made.free, store.KeyLive: &made.paid} {
		if *key, _, err = keys.Create(ctx, nil, auth.NewKey{OrgID: org.ID, ProjectID: project.ID, Name: kind, Kind: kind}); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// checkLedger returns what the organization was charged, and what is wrong with it.
func (r *benchRig) checkLedger(ctx context.Context, org string, want int) (charged int, faults []string, err error) {
	db, err := r.open(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer db.Close()
	account, err := db.CreditAccount(ctx, org, time.Now())
	if err != nil {
		return 0, nil, err
	}
	if faults, err = db.CreditFaults(ctx); err != nil {
		return 0, nil, err
	}
	if int(account.Used) != want {
		faults = append(faults, fmt.Sprintf("charged %d credits for %d images", account.Used, want))
	}
	return int(account.Used), append([]string{}, faults...), nil
}

// write prints the report for people.
func (r *ledgerReport) write(w io.Writer) error {
	t := &benchTable{}
	s, m := r.Settings, r.Machine
	t.text("machine   %d × %s, %.1f GiB, %s, %s, PostgreSQL %s", m.CPUs, orUnknown(m.CPUModel), m.MemoryGiB, m.OS, m.Go, m.Postgres)
	t.text("settings  --ledger=%d --jobs=%d --in-flight=%d --clients=%d --image-bytes=%d --provider-ms=%d --workers=%d",
		r.Rounds, s.Jobs, s.InFlight, s.Clients, s.ImageBytes, s.ProviderMS, s.Workers)
	t.section("One organization, medians (least to greatest)", "free", "paid for", "ratio")
	for _, f := range r.Figures {
		t.row(f.Name, spread(f.Free, f.Digits), spread(f.Paid, f.Digits), strconv.FormatFloat(f.Ratio, 'f', 3, 64))
	}
	t.blank()
	for _, fault := range r.Faults {
		t.text("WRONG %s", fault)
	}
	if len(r.Faults) == 0 {
		t.text("%d credits charged, accounts, entries and use agree. %.1f s in all.", r.Charged, r.Seconds)
	}
	return t.print(w)
}

// spread is the median of figures with the least and the greatest.
func spread(xs []float64, digits int) string {
	if len(xs) == 0 {
		return "unknown"
	}
	show := func(x float64) string { return strconv.FormatFloat(x, 'f', digits, 64) }
	return fmt.Sprintf("%s (%s to %s)", show(median(xs)), show(slices.Min(xs)), show(slices.Max(xs)))
}
