package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/store/storetest"
)

// asProgram, in the environment, makes the test binary the program itself, so
// that tests run real processes of the code under test.
const asProgram = "NANOBANANA_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	code := storetest.Run(m)
	if err := os.RemoveAll(built.dir); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "remove the program:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// built is the program, once for all tests: to link it takes seconds.
var built struct {
	once sync.Once
	dir  string // "" if no test has asked for it
	err  error
}

// buildProgram builds the program, without the race detector: the processes that
// it starts are the program itself, not this test.
func buildProgram(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "nanobanana-program-"); built.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", filepath.Join(built.dir, "nanobanana"), ".").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "nanobanana")
}

// A process is the program, running.
type process struct {
	cmd    *exec.Cmd
	lines  chan string // standard output
	errs   *lockedBuffer
	exited chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startProcess runs the program with only the environment given beside PATH and
// HOME. change may alter the command before it starts.
func startProcess(t *testing.T, env []string, change func(*exec.Cmd), args ...string) *process {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], args...)
	cmd.Env = append([]string{asProgram + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	if change != nil {
		change(cmd)
	}
	p := &process{cmd: cmd, lines: make(chan string, 1000), errs: &lockedBuffer{}, exited: make(chan struct{})}
	cmd.Stderr = p.errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.read(out)
		_ = cmd.Wait() // the state tells how it ended
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("%v wrote:\n%s", args, p.errs)
		}
	})
	return p
}

func (p *process) read(out io.Reader) {
	defer close(p.lines)
	for scanner := bufio.NewScanner(out); scanner.Scan(); {
		p.lines <- scanner.Text()
	}
}

// line waits for a line of standard output that has the prefix and returns the
// rest of it.
func (p *process) line(t *testing.T, prefix string) string {
	t.Helper()
	timeout := time.After(2 * time.Minute)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("the process ended before it wrote %q:\n%s", prefix, p.errs)
			}
			if rest, found := strings.CutPrefix(strings.TrimSpace(line), prefix); found {
				return rest
			}
		case <-timeout:
			t.Fatalf("no line %q after two minutes:\n%s", prefix, p.errs)
		}
	}
}

// stop sends a signal and returns the exit status.
func (p *process) stop(t *testing.T, sig os.Signal) int {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(60 * time.Second):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		t.Fatalf("the process did not end after %s:\n%s", sig, p.errs)
	}
	return p.cmd.ProcessState.ExitCode()
}
