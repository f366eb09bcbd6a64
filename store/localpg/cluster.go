package localpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// orphanPoll is how often a server that is no child is looked at while it
// ends.
const orphanPoll = 5 * time.Millisecond

// initCluster makes a new cluster at data. One that is interrupted never
// counts: it grows beside data and takes its name when complete. Without sync
// it may not survive a crash of the machine.
func initCluster(ctx context.Context, bin binaries, id identity, data string, sync bool) error {
	growing := data + ".tmp"
	if err := os.RemoveAll(growing); err != nil {
		return fmt.Errorf("remove interrupted cluster: %w", err)
	}
	if err := os.Mkdir(growing, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if err := id.own(growing); err != nil {
		return err
	}
	args := []string{"-D", growing, "--username=postgres", "--auth=trust",
		"--encoding=UTF8", "--locale=C", "--no-instructions"}
	if !sync {
		args = append(args, "--no-sync")
	}
	if _, err := output(command(ctx, id, filepath.Join(bin.dir, "initdb"), args...)); err != nil {
		return fmt.Errorf("make the database cluster: %w", errors.Join(err, os.RemoveAll(growing)))
	}
	if err := os.Rename(growing, data); err != nil {
		return fmt.Errorf("complete the database cluster: %w", err)
	}
	return nil
}

// exists reports whether there is something at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// pidFile returns the path of the pid file of a server and the process number
// in it, 0 if there is none.
func pidFile(data string) (string, int, error) {
	path := filepath.Join(data, "postmaster.pid")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, 0, nil
	} else if err != nil {
		return path, 0, fmt.Errorf("look for an earlier server: %w", err)
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	pid, err := strconv.Atoi(string(first))
	if err != nil || pid <= 1 {
		return path, 0, nil // Cut short when its server was killed.
	}
	return path, pid, nil
}

// stopOrphans ends the server of a data directory whose owner was killed. The
// caller holds the lock of the directory.
func stopOrphans(ctx context.Context, data string, steps []step) error {
	_, pid, err := pidFile(data)
	if err != nil {
		return err
	}
	if pid != 0 && servesDir(pid, data) {
		if err := stopPID(ctx, pid, data, steps); err != nil {
			return err
		}
	}
	return stopBackends(ctx, data)
}

// clearPIDFile removes a pid file whose number an unrelated process has, which
// a server would mistake for another of its kind. There must be no server.
func clearPIDFile(data string) error {
	path, pid, err := pidFile(data)
	if err != nil || pid == 0 || !alive(pid) {
		return err
	}
	if pids, known := processesIn(data); !known || len(pids) > 0 {
		return nil // The server itself has to judge.
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove stale pid file: %w", err)
	}
	return nil
}

// stopPID ends the server with number pid, which is no child of this process.
func stopPID(ctx context.Context, pid int, data string, steps []step) error {
	for _, s := range steps {
		if !signalPID(pid, s.sig) {
			return nil
		}
		if poll(ctx, s.wait, func() bool { return !servesDir(pid, data) }) {
			return nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("stop an earlier server: process %d does not end", pid)
}

// stopBackends waits until no process works in data. Those whose server was
// killed end by themselves, but not always at once.
func stopBackends(ctx context.Context, data string) error {
	empty := func() bool { pids, _ := processesIn(data); return len(pids) == 0 }
	if poll(ctx, time.Second, empty) {
		return nil
	}
	pids, _ := processesIn(data)
	for _, pid := range pids {
		signalPID(pid, syscall.SIGKILL)
	}
	if !poll(ctx, 5*time.Second, empty) {
		return fmt.Errorf("stop an earlier server: processes %v in %s do not end", pids, data)
	}
	return nil
}

// poll waits until met holds, and reports false when that takes longer than
// limit or ctx ends.
func poll(ctx context.Context, limit time.Duration, met func() bool) bool {
	ticker := time.NewTicker(orphanPoll)
	defer ticker.Stop()
	deadline := time.Now().Add(limit)
	for !met() {
		if time.Now().After(deadline) {
			return false
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
