package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// How long a process may take to begin and to end.
const (
	childStart = time.Minute
	childStop  = 15 * time.Second
)

// A child is one process of this program.
type child struct {
	name string
	url  string // the last word of the line that said it was ready
	log  string // path of what it printed
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how, valid once done is closed
}

// startChild runs this program with args and returns once it has printed a
// line that begins with ready. The process dies with this one where the system
// offers that.
func startChild(ctx context.Context, dir, name, ready string, env []string, args ...string) (*child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	c := &child{name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", name, err)
	}
	c.cmd = exec.Command(program, args...) //nolint:gosec,noctx // this program; it outlives ctx to be drained
	c.cmd.Env, c.cmd.Dir, c.cmd.Stderr = env, dir, log
	c.cmd.SysProcAttr = childAttr()
	c.cmd.WaitDelay = time.Second
	line := &lineWaiter{prefix: ready, log: log, found: make(chan string, 1)}
	c.cmd.Stdout = line

	started := make(chan error, 1)
	go func() {
		// The death signal is tied to the thread that starts the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(c.done)
		defer func() { _ = log.Close() }()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.err = c.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	select {
	case text := <-line.found:
		c.url = text[strings.LastIndexByte(text, ' ')+1:]
		return c, nil
	case <-c.done:
		return nil, c.death()
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), c.kill())
	case <-time.After(childStart):
		return nil, errors.Join(fmt.Errorf("%s was not ready after %s", name, childStart), c.kill())
	}
}

// death says how the process ended, with the end of its log.
func (c *child) death() error {
	text, _ := os.ReadFile(c.log) // without it the error is only shorter
	const tail = 2000
	text = bytes.TrimSpace(text[max(0, len(text)-tail):])
	return fmt.Errorf("%s ended (%s); its log ends with:\n%s", c.name, c.cmd.ProcessState, text)
}

// dead reports whether the process has ended, whoever ended it.
func (c *child) dead() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// stop lets the process drain. The error says that it did not end well.
func (c *child) stop(ctx context.Context) error {
	if c == nil {
		return nil
	}
	if c.dead() {
		return c.death()
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", c.name, err)
	}
	select {
	case <-c.done:
		if c.err != nil {
			return c.death()
		}
		return nil
	case <-time.After(childStop):
		return errors.Join(fmt.Errorf("%s did not stop within %s", c.name, childStop), c.kill())
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), c.kill())
	}
}

// kill ends the process at once and waits for its end.
func (c *child) kill() error {
	if c == nil || c.dead() {
		return nil
	}
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", c.name, err)
	}
	<-c.done
	return nil
}

// A lineWaiter copies what is written to a log and reports the first line with
// a prefix.
type lineWaiter struct {
	prefix string
	log    io.Writer
	found  chan string

	mu   sync.Mutex
	rest []byte // the line so far
	over bool   // found
}

// Write never fails for a missing line: the process goes on printing.
func (w *lineWaiter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.rest = append(w.rest, p...)
		for {
			line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
			if !ok {
				break
			}
			w.rest = rest
			if strings.HasPrefix(string(line), w.prefix) {
				w.found <- strings.TrimSpace(string(line))
				w.over, w.rest = true, nil
				break
			}
		}
	}
	return w.log.Write(p)
}

// childEnv is an environment without the settings that would point a process
// somewhere else than extra does.
func childEnv(environ []string, extra ...string) []string {
	foreign := []string{"NANOBANANA_", "AWS_", "PG", "DATABASE_URL=", "GEMINI_", "OPENAI_", "REDIS_", "STRIPE_", "OTEL_"}
	var env []string
	for _, pair := range environ {
		keep := true
		for _, prefix := range foreign {
			keep = keep && !strings.HasPrefix(pair, prefix)
		}
		if keep {
			env = append(env, pair)
		}
	}
	return append(env, extra...)
}

// makeRigDir makes a directory for what the children of a run leave, below
// parent or the temporary directory.
func makeRigDir(parent, prefix string) (string, error) {
	if parent != "" {
		if err := os.MkdirAll(parent, 0o750); err != nil {
			return "", fmt.Errorf("make directory: %w", err)
		}
	}
	dir, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return "", fmt.Errorf("make directory: %w", err)
	}
	if dir, err = filepath.Abs(dir); err == nil {
		err = os.Chmod(dir, 0o711) //nolint:gosec // under root the database's own account passes through
	}
	if err != nil {
		return "", fmt.Errorf("make directory: %w", err)
	}
	return dir, nil
}
