//go:build unix

package localpg_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store/localpg"
)

func TestStartAfterKilledOwner(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(t *testing.T, owned running, kill func()){
		"ServerHangs": func(t *testing.T, owned running, kill func()) {
			signal(t, owned.PID, syscall.SIGSTOP)
			kill()
			if ended(owned.PID) {
				t.Error("the server ended, so the test shows nothing")
			}
		},
		"ServerKilledToo": func(t *testing.T, owned running, kill func()) {
			signal(t, owned.PID, syscall.SIGKILL)
			kill()
		},
		"ServerEnds": func(_ *testing.T, _ running, kill func()) { kill() },
		"NumberOfServerReused": func(t *testing.T, owned running, kill func()) {
			signal(t, owned.PID, syscall.SIGKILL)
			kill()
			if runtime.GOOS != "linux" {
				return // Elsewhere the server itself has to judge its pid file.
			}
			reusePID(t, owned.Data)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := localpg.Options{Dir: localpg.PassableDir(t)}
			owned, kill := startOwner(t, opts)
			execute(t, owned.URL, "CREATE TABLE t AS SELECT 42 AS n")
			leave(t, owned, kill)

			srv := start(t, opts)
			if !ended(owned.PID) {
				t.Error("the earlier server runs")
			}
			if diff := cmp.Diff(42, query[int](t, srv.URL(), "SELECT n FROM t")); diff != "" {
				t.Errorf("row (-want +got):\n%s", diff)
			}
		})
	}
}

// reusePID makes the pid file of a data directory name this process.
func reusePID(t *testing.T, data string) {
	t.Helper()
	path := filepath.Join(data, "postmaster.pid")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		t.Fatal(err)
	}
	rest := text[len(fmt.Sprint(pid)):]
	if err := os.WriteFile(path, append(fmt.Append(nil, os.Getppid()), rest...), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStartAfterInterruptedInitialisation(t *testing.T) {
	t.Parallel()
	probe := start(t, localpg.Options{Ephemeral: true})
	name := filepath.Base(probe.DataDir())
	dir := localpg.PassableDir(t)
	growing := filepath.Join(dir, name+".tmp")
	if err := os.MkdirAll(filepath.Join(growing, "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(growing, "PG_VERSION"), []byte("9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := start(t, localpg.Options{Dir: dir})
	if diff := cmp.Diff(1, query[int](t, srv.URL(), "SELECT 1")); diff != "" {
		t.Errorf("value (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{name}, names(t, dir, "pg*")); diff != "" {
		t.Errorf("clusters (-want +got):\n%s", diff)
	}
}
