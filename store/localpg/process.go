package localpg

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// command prepares a program of PostgreSQL to run as id with an environment
// that does not depend on the user's, nor shows it this process's secrets.
func command(ctx context.Context, id identity, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // a program of PostgreSQL, with our arguments
	cmd.Dir = "/"
	cmd.SysProcAttr = id.attr()
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC"}
	for _, name := range []string{"PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value := os.Getenv(name); value != "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	return cmd
}

// output runs a short-lived program and returns what it printed, which is
// also part of the error. The end of its context kills its children too.
func output(cmd *exec.Cmd) (string, error) {
	// The death signal of the child is tied to the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	switch {
	case err != nil && text != "":
		return text, fmt.Errorf("run %s: %w: %s", cmd.Path, err, text)
	case err != nil:
		return text, fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	return text, nil
}

// process is a running server program.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the program has ended
	err  error         // how it ended, valid once done is closed
}

// startProcess starts cmd and calls exited once, after it has ended.
func startProcess(cmd *exec.Cmd, exited func(*process)) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// One thread for the life of the child: see output.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
		exited(p)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	return p, nil
}

// step is a signal and how long it may take to end a server.
type step struct {
	sig  syscall.Signal
	wait time.Duration
}

// The shutdown modes of PostgreSQL ("Shutting Down the Server" in its manual),
// each followed by harsher ones.
var (
	fastStop      = []step{{syscall.SIGINT, 10 * time.Second}, {syscall.SIGQUIT, 5 * time.Second}, {syscall.SIGKILL, 5 * time.Second}}
	immediateStop = fastStop[1:]
	crashStop     = fastStop[2:]
	orphanStop    = []step{{syscall.SIGINT, 2 * time.Second}, {syscall.SIGQUIT, time.Second}, {syscall.SIGKILL, 5 * time.Second}}
)

// stop ends the program with each of steps in turn. The end of ctx cuts short
// the wait for a fast shutdown, which sees to the clients.
func (p *process) stop(ctx context.Context, steps []step) error {
	for _, s := range steps {
		// An error means that the program has ended, which closes done.
		_ = p.cmd.Process.Signal(s.sig)
		var hurry <-chan struct{}
		if s.sig == syscall.SIGINT {
			hurry = ctx.Done()
		}
		select {
		case <-p.done:
			return nil
		case <-time.After(s.wait):
		case <-hurry:
		}
	}
	return fmt.Errorf("stop PostgreSQL: process %d does not end", p.cmd.Process.Pid)
}
