package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"
)

// Names of the processes in a report.
const (
	procAPI       = "api"
	procWorker    = "worker"
	procPostgres  = "postgres"
	procSimulator = "simulator"
	procClients   = "clients"
)

// benchUsage is what has been spent up to a moment.
type benchUsage struct {
	cpu    map[string]time.Duration // by process; absent where unknown
	memory map[string]int64         // most resident, in bytes
	db     dbCounters
	at     time.Time
	busy   time.Duration // of all CPUs, whoever used it; 0 is unknown
	share  float64       // of all CPUs, used by nothing of ours; see spent
}

// dbCounters are totals of the service's database.
type dbCounters struct {
	commits int64
	wal     int64 // bytes of the whole server's log
	size    int64 // bytes
}

// meter reads the counters before a measurement, after a checkpoint.
func (r *benchRig) meter(ctx context.Context) (*benchUsage, error) {
	u := &benchUsage{}
	var err error
	if u.db, err = r.counters(ctx, true); err != nil {
		return nil, err
	}
	u.cpu, u.memory = r.processes()
	u.at = time.Now()
	u.busy, _ = parseProcBusy(procFS("/proc").read("stat"))
	return u, nil
}

// spent ends the service, so that every counter is complete, and returns what it
// has spent since before.
func (r *benchRig) spent(ctx context.Context, before *benchUsage) (*benchUsage, error) {
	u := &benchUsage{}
	u.cpu, u.memory = r.processes()
	for name, cpu := range before.cpu {
		if _, ok := u.cpu[name]; ok {
			u.cpu[name] -= cpu
		}
	}
	u.share = foreignShare(before, u.cpu, runtime.NumCPU())
	if err := r.stopService(ctx); err != nil {
		return nil, err
	}
	if err := r.awaitBackends(ctx); err != nil {
		return nil, err
	}
	after, err := r.counters(ctx, false)
	if err != nil {
		return nil, err
	}
	settled, err := r.counters(ctx, true) // the checkpoint's own log is not a job's
	if err != nil {
		return nil, err
	}
	u.db = dbCounters{
		commits: after.commits - before.db.commits,
		wal:     after.wal - before.db.wal,
		size:    settled.size - before.db.size,
	}
	return u, nil
}

// foreignShare is how much of the machine has been used since before by other
// than our processes: the kernel's own threads, and strangers who make the
// figures worse than they are.
func foreignShare(before *benchUsage, ours map[string]time.Duration, cpus int) float64 {
	busy, ok := parseProcBusy(procFS("/proc").read("stat"))
	if !ok || before.busy == 0 {
		return 0
	}
	rest := busy - before.busy
	for _, cpu := range ours {
		rest -= cpu
	}
	return max(0, rest.Seconds()/(time.Since(before.at).Seconds()*float64(cpus)))
}

// processes reads CPU time and memory of every process; of several workers the
// sum of the first and the most of the second.
func (r *benchRig) processes() (cpu map[string]time.Duration, memory map[string]int64) {
	const fs = procFS("/proc")
	cpu, memory = map[string]time.Duration{}, map[string]int64{}
	add := func(name string, pid int) {
		if used, ok := fs.cpu(pid); ok {
			cpu[name] += used
		}
		if bytes, ok := fs.peak(pid); ok {
			memory[name] = max(memory[name], bytes)
		}
	}
	add(procAPI, r.api.cmd.Process.Pid)
	for _, w := range r.workers {
		add(procWorker, w.cmd.Process.Pid)
	}
	add(procSimulator, r.sim.child.cmd.Process.Pid)
	if used, ok := fs.cpu(r.postgres.PID()); ok {
		cpu[procPostgres] = used
	}
	if bytes, ok := fs.resident(r.postgres.PID()); ok {
		memory[procPostgres] = bytes
	}
	stats := fs.stats()
	if own, ok := stats[os.Getpid()]; ok {
		cpu[procClients] = own.cpu
	}
	if bytes, ok := fs.peak(os.Getpid()); ok {
		memory[procClients] = bytes
	}
	return cpu, memory
}

// elsewhere runs fn on a connection to another database of the server, so that
// measuring adds nothing to the counters of the service's own.
func (r *benchRig) elsewhere(ctx context.Context, fn func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, r.postgres.URLFor("postgres"))
	if err != nil {
		return fmt.Errorf("connect to read counters: %w", err)
	}
	return errors.Join(fn(conn), conn.Close(context.WithoutCancel(ctx)))
}

// counters reads the totals of the service's database. A checkpoint before makes
// its files as large as they are going to be.
func (r *benchRig) counters(ctx context.Context, checkpoint bool) (c dbCounters, err error) {
	err = r.elsewhere(ctx, func(conn *pgx.Conn) error {
		if checkpoint {
			if _, err := conn.Exec(ctx, `CHECKPOINT`); err != nil {
				return fmt.Errorf("checkpoint: %w", err)
			}
		}
		err := conn.QueryRow(ctx, `
			SELECT xact_commit, (pg_current_wal_insert_lsn() - '0/0')::bigint, pg_database_size(datid)
			FROM pg_stat_database
			WHERE datname = 'nanobanana'`).Scan(&c.commits, &c.wal, &c.size)
		if err != nil {
			return fmt.Errorf("read counters: %w", err)
		}
		return nil
	})
	return c, err
}

// awaitBackends returns when only our own listener is connected to the service's
// database: a server process adds to the counters at the latest when it ends.
func (r *benchRig) awaitBackends(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, childStop, errors.New("connections of ended processes stay open"))
	defer cancel()
	return r.elsewhere(ctx, func(conn *pgx.Conn) error {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var n int
			err := conn.QueryRow(ctx, `
				SELECT count(*) FROM pg_stat_activity
				WHERE datname = 'nanobanana' AND backend_type = 'client backend'`).Scan(&n)
			if err != nil {
				return fmt.Errorf("count connections: %w", err)
			}
			if n <= 1 {
				return nil
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	})
}
