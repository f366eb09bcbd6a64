package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// benchSim is the simulator's process and its journal.
type benchSim struct{ child *child }

// forget empties the journal.
func (s *benchSim) forget(ctx context.Context) error {
	return simControl(ctx, s.child.url, http.MethodDelete, "/__sim/requests", nil, nil)
}

var benchToken = regexp.MustCompile(`bench-[a-z0-9]+-[0-9]+`)

// calls returns when the provider was called for each job, by the job's token,
// in the order of the calls. The journal holds the latest 10,000.
func (s *benchSim) calls(ctx context.Context) (map[string][]time.Time, error) {
	journal, err := readSimJournal(ctx, s.child.url)
	if err != nil {
		return nil, err
	}
	calls := make(map[string][]time.Time, len(journal.Requests))
	for _, r := range journal.Requests {
		token := benchToken.FindString(r.Prompt)
		calls[token] = append(calls[token], r.Time)
	}
	return calls, nil
}

// benchWatch sees jobs end by the notification their finish sends, as a waiting
// API process does. It asks the database nothing while jobs go on ending.
type benchWatch struct {
	rig   *benchRig
	jobs  []*benchJob
	ended chan struct{}
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

// watch begins to watch jobs.
func (r *benchRig) watch(ctx context.Context, jobs []*benchJob) *benchWatch {
	ctx, stop := context.WithCancel(ctx)
	w := &benchWatch{rig: r, jobs: jobs, ended: make(chan struct{}, len(jobs)), stop: stop}
	for _, j := range jobs {
		news, done := r.live.Generation(j.id)
		w.wg.Go(func() {
			defer done()
			select {
			case <-news:
				j.ended = time.Now()
				w.ended <- struct{}{}
			case <-ctx.Done():
			}
		})
	}
	return w
}

// wait returns when every job has ended.
func (w *benchWatch) wait(ctx context.Context, step func()) error {
	defer w.wg.Wait()
	defer w.stop()
	const quiet, patience = 3 * time.Second, 20 // a notification may be lost
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for seen, idle := 0, 0; seen < len(w.jobs); {
		select {
		case <-w.ended:
			seen, idle = seen+1, 0
			step()
			timer.Reset(quiet)
		case <-timer.C:
			live, err := w.rig.unfinished(ctx)
			if err != nil || live == 0 {
				return err
			}
			if idle++; idle == patience || w.rig.anyDead() {
				return fmt.Errorf("%d jobs do not end", live)
			}
			timer.Reset(quiet)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// anyDead reports whether a process that the drain needs has ended.
func (r *benchRig) anyDead() bool {
	for _, c := range r.workers {
		if c.dead() {
			return true
		}
	}
	return r.sim.child.dead()
}

// unfinished counts the jobs that have not ended.
func (r *benchRig) unfinished(ctx context.Context) (n int, err error) {
	db, err := r.open(ctx)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	err = db.Pool().QueryRow(ctx, `SELECT count(*) FROM generation WHERE status IN ('queued', 'processing')`).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count unfinished jobs: %w", err)
	}
	return n, nil
}

// runs returns when each finished generation was claimed and finished.
func (r *benchRig) runs(ctx context.Context) ([]span, error) {
	db, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.Pool().Query(ctx, `
		SELECT started_at, finished_at FROM generation
		WHERE started_at IS NOT NULL AND finished_at IS NOT NULL`)
	if err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	runs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s span, err error) {
		err = row.Scan(&s.from, &s.to)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	if len(runs) == 0 {
		return nil, errors.New("no generation has run")
	}
	return runs, nil
}
