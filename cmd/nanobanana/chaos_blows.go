package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// chaosBlows deals out the blows of a plan and notes what it has done.
type chaosBlows struct {
	rig   *chaosRig
	watch *chaosWatch
	began time.Time
	log   io.WriteCloser // a line for each blow

	mu       sync.Mutex
	dealt    map[chaosBlow]int
	strikes  []chaosStrike
	accepted []time.Time // when the database took connections again
}

func newChaosBlows(rig *chaosRig, watch *chaosWatch) (*chaosBlows, error) {
	log, err := os.Create(filepath.Join(rig.dir, "chaos.log"))
	if err != nil {
		return nil, fmt.Errorf("log of the blows: %w", err)
	}
	return &chaosBlows{rig: rig, watch: watch, log: log, dealt: map[chaosBlow]int{}}, nil
}

// deal follows the plan and returns when all is in order again, or ctx has
// ended. An error means that the rig itself is broken.
func (b *chaosBlows) deal(ctx context.Context, plan []chaosEvent) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b.began = time.Now()
	var wg sync.WaitGroup
	for _, e := range plan {
		wg.Go(func() {
			if !pause(ctx, e.at) {
				return
			}
			if err := b.strike(ctx, e); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s %s%d: %w", e.blow, e.role, e.index+1, err))
			}
		})
	}
	wg.Wait()
	return errors.Join(context.Cause(ctx), b.log.Close())
}

// strike deals out one blow and returns when what it hit is well again. On a machine
// that is slow to start a process, the next blow to it comes later than planned.
func (b *chaosBlows) strike(ctx context.Context, e chaosEvent) error {
	if e.role != "" {
		m := b.rig.member(e)
		m.blow.Lock()
		defer m.blow.Unlock()
	}
	b.note(e, "begins")
	began := time.Now()
	defer func() {
		b.note(e, "ends")
		b.mu.Lock()
		defer b.mu.Unlock()
		b.dealt[e.blow]++
		b.strikes = append(b.strikes, chaosStrike{chaosEvent: e, from: began, to: time.Now()})
	}()
	switch e.blow {
	case blowKill:
		return b.kill(ctx, e)
	case blowFreeze:
		return b.freeze(ctx, e)
	case blowUpstream:
		return b.upstream(ctx, e)
	default:
		return b.database(ctx, e)
	}
}

func (b *chaosBlows) kill(ctx context.Context, e chaosEvent) error {
	m := b.rig.member(e)
	address, err := m.kill()
	if err != nil {
		return err
	}
	defer b.measure(ctx, e, address)()
	if !pause(ctx, e.last) {
		return nil
	}
	return m.start(ctx)
}

func (b *chaosBlows) freeze(ctx context.Context, e chaosEvent) error {
	m := b.rig.member(e)
	address, err := m.freeze()
	if err != nil {
		return err
	}
	defer b.measure(ctx, e, address)()
	pause(ctx, e.last)
	return m.thaw()
}

// measure begins to note what a struck worker was running. The function it
// returns waits until that is done.
func (b *chaosBlows) measure(ctx context.Context, e chaosEvent, address string) (wait func()) {
	if e.role != roleWorker {
		return func() {}
	}
	at := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.watch.recovery.struck(ctx, e.index, address, at)
	}()
	return func() { <-done }
}

// upstream makes the simulator misbehave. One that is stopped keeps its journal.
func (b *chaosBlows) upstream(ctx context.Context, e chaosEvent) error {
	faults := chaosFaults[e.fault]
	if faults == nil {
		if err := freeze(b.rig.sim.cmd.Process); err != nil {
			return err
		}
		pause(ctx, e.last)
		return thaw(b.rig.sim.cmd.Process)
	}
	const path = "/__sim/faults"
	if err := simControl(ctx, b.rig.sim.url, http.MethodPost, path, faults, nil); err != nil {
		return err
	}
	pause(ctx, e.last)
	return simControl(ctx, b.rig.sim.url, http.MethodDelete, path, nil, nil)
}

// database restarts Postgres and notes when it accepts connections again.
func (b *chaosBlows) database(ctx context.Context, e chaosEvent) error {
	cycle := b.rig.postgres.Restart
	if e.blow == blowCrash {
		cycle = b.rig.postgres.Crash
	}
	err := cycle(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accepted = append(b.accepted, time.Now())
	return err
}

// note writes a line for people who look into a run.
func (b *chaosBlows) note(e chaosEvent, what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	who := e.fault
	if e.role != "" {
		who = b.rig.member(e).name()
	}
	_, _ = fmt.Fprintf(b.log, "%s %7.3fs %s %s %s\n", time.Now().UTC().Format("15:04:05.000"), time.Since(b.began).Seconds(), e.blow, who, what)
}

// pause waits, and reports whether ctx lasted so long.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
