package localpg_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store/localpg"
)

// nobody is an account that every Linux system has.
const nobody = 65534

// account returns the owner of a running process.
func account(t *testing.T, pid int) uint32 {
	t.Helper()
	info, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Uid
}

// TestOtherAccountsRunTheSameTests runs the tests of this package again as
// accounts that root can become; started by another account they have run as
// that one already.
func TestOtherAccountsRunTheSameTests(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return
	}
	accounts := map[string]uint32{"Nobody": nobody}
	// One that nobody has, nor another run of this test.
	if nameless := uint32(1<<20 + os.Getpid()); canNamespace(t.Context(), nameless) {
		accounts["Nameless"] = nameless
		t.Cleanup(func() { _ = os.RemoveAll(fmt.Sprintf("/dev/shm/nanobanana-%d", nameless)) })
	}
	for name, uid := range accounts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := localpg.PassableDir(t)
			program := copyProgram(t, dir)
			for _, sub := range []string{"tmp", "home"} {
				sub = filepath.Join(dir, sub)
				if err := os.Mkdir(sub, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.Chown(sub, int(uid), int(uid)); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), program, "-test.run",
				"^(TestRestartKeepsData|TestStartAfterKilledOwner|TestEphemeralServersRunSideBySide|TestServerEndsWithItsKilledOwner)$/^(ServerHangs)$")
			cmd.Dir = dir
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + filepath.Join(dir, "tmp"), "HOME=" + filepath.Join(dir, "home")}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{}}}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("the tests fail as account %d: %v\n%s", uid, err, out)
			}
		})
	}
}

// canNamespace reports whether the kernel lets an account without a name have
// one in a user namespace, without which PostgreSQL cannot serve it.
func canNamespace(ctx context.Context, uid uint32) bool {
	cmd := exec.CommandContext(ctx, "unshare", "--user", "--map-user=65534", "true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{}}}
	return cmd.Run() == nil
}

// copyProgram copies this test program into dir for other accounts to run.
func copyProgram(t *testing.T, dir string) string {
	t.Helper()
	src, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	path := filepath.Join(dir, "localpg.test")
	// Another process writes the file: one that a child of this process,
	// forked by a parallel test, holds open for writing could not be run.
	cmd := exec.Command("sh", "-c", `cat >"$1" && chmod 755 "$1"`, "sh", path)
	cmd.Stdin = io.Reader(src)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("copy test program: %v: %s", err, out)
	}
	return path
}

func TestRootKeepsDataAcrossAccounts(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return
	}
	dir := localpg.PassableDir(t)
	for i, runAs := range []string{"nobody", "", "nobody"} {
		srv, err := localpg.Start(t.Context(), localpg.Options{Dir: dir, RunAs: runAs})
		if err != nil {
			t.Fatalf("start %d as %q: %v", i, runAs, err)
		}
		if runAs != "" {
			if diff := cmp.Diff(uint32(nobody), account(t, srv.PID())); diff != "" {
				t.Errorf("account (-want +got):\n%s", diff)
			}
		}
		execute(t, srv.URL(), "CREATE TABLE IF NOT EXISTS t (n int); INSERT INTO t VALUES (1)")
		if diff := cmp.Diff(i+1, query[int](t, srv.URL(), "SELECT count(*)::int FROM t")); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
		if err := srv.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRootWithBlockedDirectoryKeepsDataElsewhere(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return
	}
	blocked := t.TempDir()
	if err := os.Chmod(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	srv := start(t, localpg.Options{Dir: filepath.Join(blocked, "base"), RunAs: "nobody"})
	seat := filepath.Dir(srv.DataDir())
	t.Cleanup(func() { _ = os.RemoveAll(seat) })
	if !strings.HasPrefix(seat, "/var/tmp/") {
		t.Errorf("data is in %s, want in /var/tmp", seat)
	}
	if diff := cmp.Diff(1, query[int](t, srv.URL(), "SELECT 1")); diff != "" {
		t.Errorf("value (-want +got):\n%s", diff)
	}
	_, err := localpg.Start(t.Context(), localpg.Options{Dir: blocked, RunAs: "nobody", Ephemeral: true})
	if err == nil || !strings.Contains(err.Error(), "cannot pass") {
		t.Errorf("an ephemeral server in a blocked directory: error = %v", err)
	}
	if err := srv.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestRootRunsEphemeralServerAsNamedAccount(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return
	}
	srv := start(t, localpg.Options{Ephemeral: true, RunAs: "nobody"})
	if diff := cmp.Diff(uint32(nobody), account(t, srv.PID())); diff != "" {
		t.Errorf("account (-want +got):\n%s", diff)
	}
	_, err := localpg.Start(t.Context(), localpg.Options{Ephemeral: true, RunAs: "root"})
	if err == nil || !strings.Contains(err.Error(), "refuses to run as root") {
		t.Errorf("RunAs root: error = %v", err)
	}
}
