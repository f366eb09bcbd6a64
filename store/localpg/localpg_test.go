//go:build unix

package localpg_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store/localpg"
)

func TestStartMakesClusterAndDatabase(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(localpg.PassableDir(t), "new", "base")
	srv := start(t, localpg.Options{Dir: dir, Database: `odd "name"`})

	if diff := cmp.Diff(1, query[int](t, srv.URL(), "SELECT 1")); diff != "" {
		t.Errorf("value (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(`odd "name"`, query[string](t, srv.URL(), "SELECT current_database()::text")); diff != "" {
		t.Errorf("database (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(query[string](t, srv.URL(), "SELECT split_part(current_setting('server_version'), ' ', 1)"), srv.Version()); diff != "" {
		t.Errorf("version (-want +got):\n%s", diff)
	}
	settings := query[string](t, srv.URLFor("postgres"), `
		SELECT string_agg(name || '=' || setting, ' ' ORDER BY name)
		FROM pg_settings
		WHERE name IN ('cluster_name', 'fsync', 'listen_addresses', 'max_connections', 'server_encoding')`)
	want := "cluster_name=nanobanana fsync=on listen_addresses= max_connections=200 server_encoding=UTF8"
	if diff := cmp.Diff(want, settings); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	info, err := os.Stat(srv.DataDir())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(os.FileMode(0o700), info.Mode().Perm()); diff != "" {
		t.Errorf("mode of the data directory (-want +got):\n%s", diff)
	}
}

func TestStartRequiresDirUnlessEphemeral(t *testing.T) {
	t.Parallel()
	if _, err := localpg.Start(t.Context(), localpg.Options{}); err == nil {
		t.Error("a persistent server started without a directory")
	}
}

func TestRestartKeepsData(t *testing.T) {
	t.Parallel()
	dir := localpg.PassableDir(t)
	first, err := localpg.Start(t.Context(), localpg.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	execute(t, first.URL(), "CREATE TABLE t AS SELECT 42 AS n")
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}

	second := start(t, localpg.Options{Dir: dir})
	if diff := cmp.Diff(first.URL(), second.URL()); diff != "" {
		t.Errorf("URL (-first +second):\n%s", diff)
	}
	if diff := cmp.Diff(42, query[int](t, second.URL(), "SELECT n FROM t")); diff != "" {
		t.Errorf("row (-want +got):\n%s", diff)
	}
}

func TestSecondStartInSameDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	dir := localpg.PassableDir(t)
	start(t, localpg.Options{Dir: dir})
	_, err := localpg.Start(t.Context(), localpg.Options{Dir: dir})
	if !errors.Is(err, localpg.ErrLocked) {
		t.Fatalf("error = %v, want ErrLocked", err)
	}
	for _, want := range []string{dir, "use another directory"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q: %v", want, err)
		}
	}
}

func TestStopIsIdempotentAndLeavesNoProcess(t *testing.T) {
	t.Parallel()
	srv := start(t, localpg.Options{Dir: localpg.PassableDir(t)})
	// Expected to be cut off by Stop.
	holder := query[int](t, srv.URL(), "SELECT pg_backend_pid()")
	pid := srv.PID()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := srv.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	<-srv.Done()
	if !ended(pid) || !ended(holder) {
		t.Error("a process of the server is left")
	}
	if err := srv.Err(); err != nil {
		t.Errorf("Err() = %v after Stop", err)
	}
}

func TestStopEscalatesWhenServerHangs(t *testing.T) {
	t.Parallel()
	srv := start(t, localpg.Options{Dir: localpg.PassableDir(t), Ephemeral: true})
	signal(t, srv.PID(), syscall.SIGSTOP)
	pid := srv.PID()
	if err := srv.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !ended(pid) {
		t.Error("the stopped server is left")
	}
}

func TestDoneAndErrTellAboutUnexpectedEnd(t *testing.T) {
	t.Parallel()
	srv := start(t, localpg.Options{Dir: localpg.PassableDir(t), Ephemeral: true})
	signal(t, srv.PID(), syscall.SIGINT)
	<-srv.Done()
	err := srv.Err()
	if err == nil || !strings.Contains(err.Error(), "database system is shut down") {
		t.Errorf("Err() = %v, want the end of the log in it", err)
	}
	if err := srv.Restart(t.Context()); err == nil {
		t.Error("a server that has ended restarted")
	}
}

func TestRestartAndCrashKeepURLAndCommittedRows(t *testing.T) {
	t.Parallel()
	srv := start(t, localpg.Options{Ephemeral: true, Durable: true})
	if strings.HasPrefix(srv.DataDir(), "/dev/shm/") {
		t.Errorf("durable data is in memory: %s", srv.DataDir())
	}
	url, before := srv.URL(), srv.PID()
	execute(t, url, "CREATE TABLE t (n int)")
	for i, cycle := range []func(context.Context) error{srv.Restart, srv.Crash} {
		execute(t, url, "INSERT INTO t VALUES (1)")
		if err := cycle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(i+1, query[int](t, url, "SELECT count(*)::int FROM t")); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	}
	if srv.PID() == before {
		t.Error("the process is still the first")
	}
	select {
	case <-srv.Done():
		t.Error("Done is closed though the server runs")
	default:
	}
}

func TestStartErrorCarriesServerLog(t *testing.T) {
	t.Parallel()
	dir := localpg.PassableDir(t)
	_, err := localpg.Start(t.Context(), localpg.Options{
		Dir: dir, Ephemeral: true, Settings: map[string]string{"max_connections": "many"},
	})
	if err == nil {
		t.Fatal("the server started with a bad setting")
	}
	if want := `invalid value for parameter "max_connections": "many"`; !strings.Contains(err.Error(), want) {
		t.Errorf("error does not say %q: %v", want, err)
	}
	if diff := cmp.Diff([]string(nil), names(t, dir, "*run-*")); diff != "" {
		t.Errorf("left over (-want +got):\n%s", diff)
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the user went away")
	cancel(reason)
	if _, err := localpg.Start(ctx, localpg.Options{Dir: localpg.PassableDir(t)}); !errors.Is(err, reason) {
		t.Errorf("error = %v, want %v", err, reason)
	}
}

func TestLongPathsAndCommasMoveOnlyTheSocket(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]string{"Long": strings.Repeat("d", 110), "Comma": "a,b", "Space": `c "d" e`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(localpg.PassableDir(t), part)
			srv := start(t, localpg.Options{Dir: dir})
			if !strings.HasPrefix(srv.DataDir(), dir) {
				t.Errorf("data is in %s, want in %s", srv.DataDir(), dir)
			}
			socket := query[string](t, srv.URL(), "SELECT current_setting('unix_socket_directories')")
			if err := srv.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			_, err := os.Stat(strings.ReplaceAll(strings.Trim(socket, `"`), `""`, `"`))
			moved := name != "Space"
			if diff := cmp.Diff(moved, errors.Is(err, os.ErrNotExist)); diff != "" {
				t.Errorf("socket directory %s removed (-want +got):\n%s", socket, diff)
			}
		})
	}
}

func TestEnvironmentOfClientIsIgnored(t *testing.T) {
	// Not parallel: it changes the environment of the process.
	t.Setenv("PGPORT", "1")
	t.Setenv("PGHOST", "db.invalid")
	t.Setenv("PGSSLMODE", "verify-full")
	t.Setenv("PGDATA", "/nonexistent")
	t.Setenv("LC_ALL", "xx_XX")
	srv := start(t, localpg.Options{Ephemeral: true})
	if diff := cmp.Diff("UTC", query[string](t, srv.URL(), "SELECT current_setting('TimeZone')")); diff != "" {
		t.Errorf("time zone (-want +got):\n%s", diff)
	}
}

func TestNoBinariesErrorTellsWhatToDo(t *testing.T) {
	t.Parallel()
	dir := localpg.PassableDir(t)
	_, err := localpg.Start(t.Context(), localpg.Options{Dir: filepath.Join(dir, "base"), Binaries: dir})
	if !errors.Is(err, localpg.ErrNoBinaries) {
		t.Fatalf("error = %v, want ErrNoBinaries", err)
	}
	for _, want := range []string{dir, "DATABASE_URL", "apt-get install postgresql", "dnf install", "brew install", "--pg-bin", "NANOBANANA_PG_BIN"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q: %v", want, err)
		}
	}
}
