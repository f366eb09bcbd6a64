//go:build unix

package localpg_test

import (
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store/localpg"
)

func TestEphemeralServersRunSideBySide(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	servers := make([]*localpg.Server, 4)
	for i := range servers {
		wg.Go(func() {
			srv, err := localpg.Start(t.Context(), localpg.Options{Ephemeral: true})
			if err != nil {
				t.Error(err)
				return
			}
			servers[i] = srv
		})
	}
	wg.Wait()
	for i, srv := range servers {
		if srv == nil {
			continue
		}
		// An existing table would be that of another server.
		execute(t, srv.URL(), "CREATE TABLE mine (n int)")
		if diff := cmp.Diff("off", query[string](t, srv.URL(), "SELECT current_setting('fsync')")); diff != "" {
			t.Errorf("fsync of server %d (-want +got):\n%s", i, diff)
		}
		if err := srv.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Dir(srv.DataDir())); !os.IsNotExist(err) {
			t.Errorf("directory of server %d is left: %v", i, err)
		}
	}
}

func TestEphemeralDurableServerSyncs(t *testing.T) {
	t.Parallel()
	dir := localpg.PassableDir(t)
	srv := start(t, localpg.Options{Dir: dir, Ephemeral: true, Durable: true, Settings: map[string]string{"max_connections": "17"}})
	got := query[string](t, srv.URL(), `
		SELECT string_agg(name || '=' || setting, ' ' ORDER BY name)
		FROM pg_settings
		WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'autovacuum', 'max_connections')`)
	want := "autovacuum=on fsync=on full_page_writes=on max_connections=17 synchronous_commit=on"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if err := srv.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"lock"}, names(t, dir, "*")); diff != "" {
		t.Errorf("left over (-want +got):\n%s", diff)
	}
}

func TestNextStartRemovesEphemeralServerOfKilledProcess(t *testing.T) {
	t.Parallel()
	dir := localpg.PassableDir(t)
	alive := start(t, localpg.Options{Dir: dir, Ephemeral: true})
	owned, kill := startOwner(t, localpg.Options{Dir: dir, Ephemeral: true})
	// A server that hangs survives its owner, whatever the kernel does.
	signal(t, owned.PID, syscall.SIGSTOP)
	kill()
	interrupted := filepath.Join(dir, "gone-run-1", "pg15")
	if err := os.MkdirAll(interrupted, 0o700); err != nil {
		t.Fatal(err)
	}

	next := start(t, localpg.Options{Dir: dir, Ephemeral: true})
	if !ended(owned.PID) {
		t.Error("the server of the killed process runs")
	}
	want := []string{filepath.Base(filepath.Dir(alive.DataDir())), filepath.Base(filepath.Dir(next.DataDir()))}
	if want[0] > want[1] {
		want[0], want[1] = want[1], want[0]
	}
	if diff := cmp.Diff(want, names(t, dir, "*run-*")); diff != "" {
		t.Errorf("directories (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(1, query[int](t, alive.URL(), "SELECT 1")); diff != "" {
		t.Errorf("the other live server (-want +got):\n%s", diff)
	}
}

func TestServerEndsWithItsKilledOwner(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		return // Only Linux signals the child of a killed process.
	}
	owned, kill := startOwner(t, localpg.Options{Dir: localpg.PassableDir(t), Ephemeral: true})
	kill()
	eventually(t, "the server ends", func() bool { return ended(owned.PID) })
}
