package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// afterglow is how long a settled service is watched: what is fenced off may
// still be under way.
const afterglow = 1500 * time.Millisecond

// chaosRun is one run of the command on its rig.
type chaosRun struct {
	rig    *chaosRig
	report *chaosReport

	jobs     []*chaosJob
	load     *chaosLoad
	watch    *chaosWatch
	blows    *chaosBlows
	operator *chaosOperator
	endWatch func()
}

// hurt offers the jobs and deals out the blows, and returns when customers know
// how their jobs ended and every process is well again.
func (r *chaosRun) hurt(ctx context.Context) (err error) {
	c, began := r.rig.cmd, time.Now()
	plan := c.plan(c.random(2))
	window := max(c.chaosWindow(), lastBlow(plan))
	r.jobs = c.drawJobs(c.random(1), r.rig.orgs, window)
	r.load = newChaosLoad(r.rig.apis)
	r.watch = newChaosWatch(r.rig.db, r.rig.orgs)
	if r.blows, err = newChaosBlows(r.rig, r.watch); err != nil {
		return err
	}
	r.operator = &chaosOperator{db: r.rig.db, orgs: r.rig.orgs}
	if err := r.operator.prepare(ctx, c.scarceCredits(), time.Now().Add(window/2)); err != nil {
		return err
	}
	r.startWatch(ctx)
	limited, stop := context.WithCancel(ctx)
	var waiting, wg sync.WaitGroup
	defer waiting.Wait()
	defer stop()
	lastDue := time.Now().Add(window)
	waiting.Go(func() { r.losePatience(limited, lastDue); stop() })
	wg.Go(func() {
		if err = r.blows.deal(ctx, plan); err != nil {
			stop() // the customers would wait in vain
		}
	})
	wg.Go(func() { r.operator.act(limited, c.planActs(window)) })
	r.load.run(limited, r.jobs)
	wg.Wait()
	if err = errors.Join(err, ctx.Err()); err != nil {
		r.endWatch()
		return err
	}
	r.report.LoadSeconds = round(time.Since(began).Seconds(), 1)
	return nil
}

// startWatch looks at the rows until endWatch is called.
func (r *chaosRun) startWatch(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.watch.run(ctx, r.rig.members())
	}()
	r.endWatch = sync.OnceFunc(func() {
		stop()
		<-done
	})
}

// settle waits until nothing is left to do, or patience is over, and a little
// longer for what should have no effect any more.
func (r *chaosRun) settle(ctx context.Context) error {
	defer r.endWatch()
	began := time.Now()
	patience := newChaosPatience(began)
	for {
		unsettled, err := r.unsettled(ctx)
		if err == nil && !unsettled {
			break
		}
		if r.outOf(ctx, patience) {
			break // the invariants say what is wrong
		}
		if !pause(ctx, 100*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
	r.report.SettleSeconds = round(time.Since(began).Seconds(), 1)
	if !pause(ctx, afterglow) {
		return context.Cause(ctx)
	}
	return nil
}

// unsettled reports whether generations, deliveries, tickets or signs of dead
// workers are left.
func (r *chaosRun) unsettled(ctx context.Context) (left bool, err error) {
	err = r.rig.db.Pool().QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM generation WHERE status IN ('queued', 'processing'))
			OR EXISTS (SELECT FROM webhook_delivery WHERE state = 'pending')
			OR EXISTS (SELECT FROM (`+ticketsDisagree+`) AS t)
			OR EXISTS (SELECT FROM (`+errandsDisagree+`) AS e)
			OR EXISTS (SELECT FROM worker WHERE seen_at > now() - interval '5 seconds' AND id <> ALL(@workers::text[]))`,
		pgx.NamedArgs{"workers": r.workers()}).Scan(&left)
	return left, err
}

// workers are the ids of the processes that live.
func (r *chaosRun) workers() []string {
	ids := []string{}
	for _, m := range r.rig.workers {
		ids = append(ids, m.address())
	}
	return ids
}

var chaosToken = regexp.MustCompile(`chaos-[0-9]+-[0-9]+`)

// judge gathers the evidence and checks every invariant.
func (r *chaosRun) judge(ctx context.Context) error {
	if err := r.watch.look(ctx, time.Now()); err != nil {
		return fmt.Errorf("look at what is left: %w", err)
	}
	r.measure()
	journal, err := readSimJournal(ctx, r.rig.sim.url)
	if err != nil {
		return err
	}
	if journal.Seen > len(journal.Requests) {
		return fmt.Errorf("the provider was called %d times and remembers only %d calls", journal.Seen, len(journal.Requests))
	}
	calls := map[string]int{}
	for _, call := range journal.Requests {
		calls[chaosToken.FindString(call.Prompt)]++
		r.report.ProviderCalls++
		if call.Paid || call.Images > 0 {
			r.report.PaidCalls++
		}
	}
	r.report.PaidCallsPerJob = round(float64(r.report.PaidCalls)/float64(max(r.report.Accepted, 1)), 2)
	images, err := r.rig.openImages()
	if err != nil {
		return err
	}
	comebacks, err := r.comebacks(ctx)
	if err != nil {
		return errors.Join(err, images.Close())
	}
	receipts, refused := r.rig.receiver.received()
	evidence := &chaosEvidence{
		db: r.rig.db, images: images, jobs: r.jobs, answers: r.load.answers, calls: calls,
		workers: r.workers(), seen: r.watch.seen(), now: time.Now(), receipts: receipts, refused: refused,
		strikes: r.blows.strikes, recoveries: r.watch.recovery.all(), comebacks: comebacks, grants: r.operator.made(), undone: r.operator.failed,
	}
	err = r.check(ctx, evidence)
	return errors.Join(err, r.report.countWebhooks(ctx, evidence), r.report.Money.count(ctx, evidence), r.countStates(ctx), images.Close())
}

// check asks each invariant for counterexamples.
func (r *chaosRun) check(ctx context.Context, evidence *chaosEvidence) error {
	for _, i := range chaosInvariants() {
		found, err := i.find(ctx, evidence)
		if err != nil {
			return fmt.Errorf("check %s: %w", i.name, err)
		}
		r.report.violate(i, found)
	}
	return nil
}

// measure fills in what was dealt out and seen.
func (r *chaosRun) measure() {
	p, dealt := r.report, r.blows.dealt
	p.Kills, p.Freezes, p.UpstreamFaults = dealt[blowKill], dealt[blowFreeze], dealt[blowUpstream]
	p.DatabaseRestarts = dealt[blowCrash] + dealt[blowRestart]
	p.Recovery, p.Unrecovered, p.Unmeasured = r.watch.recovery.figures()
	p.Looks, p.MostHeld, p.Answers = r.watch.looks, r.watch.mostHeld, r.load.answers
	p.Webhooks.BadAnswers = r.rig.receiver.misbehaved()
	p.Money.PlanChanges = r.operator.plans
	p.countJobs(r.jobs)
}

// countStates counts how generations ended.
func (r *chaosRun) countStates(ctx context.Context) error {
	rows, err := r.rig.db.Pool().Query(ctx, `SELECT status, count(*) FROM generation GROUP BY 1`)
	if err != nil {
		return fmt.Errorf("count states: %w", err)
	}
	r.report.States = map[string]int{}
	var status string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&status, &n}, func() error { r.report.States[status] = n; return nil })
	if err != nil {
		return fmt.Errorf("count states: %w", err)
	}
	return nil
}

// comebacks finds when the service was of use again after its database was back,
// and reports it.
func (r *chaosRun) comebacks(ctx context.Context) ([]chaosComeback, error) {
	var all []chaosComeback
	for _, back := range r.blows.accepted {
		c := chaosComeback{back: back}
		c.asked, c.good = r.load.after(back)
		var worked, ended *time.Time
		err := r.rig.db.Pool().QueryRow(ctx, `
			SELECT greatest(min(created_at), $1), min(finished_at) FROM generation
			WHERE finished_at > $1 OR finished_at IS NULL
			HAVING count(*) > 0`, back).Scan(&worked, &ended)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return nil, fmt.Errorf("find the first end: %w", err)
		}
		var o chaosOutage
		if worked != nil {
			c.worked = *worked
		}
		if ended != nil {
			c.ended, o.FirstEndMS = *ended, since(back, *ended)
		}
		if !c.good.IsZero() {
			o.FirstAnswerMS = since(back, c.good)
		}
		r.report.Database = append(r.report.Database, o)
		all = append(all, c)
	}
	return all, nil
}

func since(from, to time.Time) *float64 {
	ms := millis(to.Sub(from))
	return &ms
}

// seen are the counterexamples so far.
func (w *chaosWatch) seen() map[string][]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := map[string][]string{}
	for name, examples := range w.found {
		seen[name] = slices.Sorted(maps.Keys(examples))
	}
	return seen
}
