//go:build unix

package localpg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTemplateIsMadeOnceAndCopiedByMany(t *testing.T) {
	t.Parallel()
	id, err := chooseIdentity(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	bin, err := finder{path: os.Getenv("PATH"), known: knownDirs, id: id, cacheErr: fs.ErrNotExist}.find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	root := PassableDir(t)
	template := filepath.Join(root, "cluster")
	// As an interrupted process leaves it.
	if err := os.MkdirAll(filepath.Join(template+".tmp", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	made := make([]os.FileInfo, 3)
	for i := range made {
		wg.Go(func() {
			lock, err := lockTemplate(t.Context(), template, bin, id)
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock(lock)
			if err := copyTree(t.Context(), template, filepath.Join(root, fmt.Sprint("copy", i)), id); err != nil {
				t.Error(err)
			}
			if made[i], err = os.Stat(template); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want, err := os.ReadFile(filepath.Join(template, "global", "pg_control"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range made {
		if !os.SameFile(made[0], made[i]) {
			t.Error("the template was made more than once")
		}
		got, err := os.ReadFile(filepath.Join(root, fmt.Sprint("copy", i), "global", "pg_control"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("copy %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestPruneTemplatesRemovesOnlyUnused(t *testing.T) {
	t.Parallel()
	root := PassableDir(t)
	old := time.Now().Add(-2 * templateLife)
	for name, used := range map[string]time.Time{"cluster-15-old": old, "cluster-16-locked": old, "cluster-17-new": time.Now()} {
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+".lock", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, used, used); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := lockWait(t.Context(), filepath.Join(root, "cluster-16-locked.lock"), true)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock(lock)
	pruneTemplates(root)
	got := map[string]bool{}
	for _, name := range []string{"cluster-15-old", "cluster-16-locked", "cluster-17-new"} {
		got[name] = exists(filepath.Join(root, name))
	}
	want := map[string]bool{"cluster-15-old": false, "cluster-16-locked": true, "cluster-17-new": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func TestPrivateDirRefusesWhatOthersPrepared(t *testing.T) {
	t.Parallel()
	root := PassableDir(t)
	link := filepath.Join(root, "link")
	if err := os.Symlink(root, link); err != nil {
		t.Fatal(err)
	}
	if err := privateDir(link, 0o700); err == nil {
		t.Error("a symbolic link passed")
	}
	loose := filepath.Join(root, "loose")
	for range 2 {
		if err := privateDir(loose, 0o700); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(loose)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(fs.FileMode(0o700), info.Mode().Perm()); diff != "" {
			t.Errorf("mode (-want +got):\n%s", diff)
		}
		if err := os.Chmod(loose, 0o766); err != nil {
			t.Fatal(err)
		}
	}
}

// Processes share a directory, some of whose servers run under an account of
// their own.
func TestPrivateDirStaysPassable(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(PassableDir(t), "shared")
	for i, mode := range []fs.FileMode{0o700, 0o711, 0o700, 0o711} {
		if err := privateDir(dir, mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		want := fs.FileMode(0o711)
		if i == 0 {
			want = 0o700
		}
		if diff := cmp.Diff(want, info.Mode().Perm()); diff != "" {
			t.Errorf("mode after use %d (-want +got):\n%s", i, diff)
		}
		if i == 2 {
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestSocketDirKeepsWithinLimits(t *testing.T) {
	t.Parallel()
	short := filepath.Join("/base", "s")
	got, err := socketDir("/base")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(short, got); diff != "" {
		t.Errorf("directory (-want +got):\n%s", diff)
	}
	for _, seat := range []string{"/" + strings.Repeat("x", 200), "/a,b"} {
		got, err := socketDir(seat)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(got, seat) || len(got) > maxSocketPath {
			t.Errorf("socket directory of %s is %s", seat, got)
		}
	}
}

func TestMakeSocketDirSparesForeignFiles(t *testing.T) {
	t.Parallel()
	h := home{socket: filepath.Join(PassableDir(t), "s")}
	id := identity{uid: os.Geteuid(), gid: os.Getegid()}
	if err := h.makeSocketDir(id); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(h.socket, ".s.PGSQL."+port+".lock")
	if err := os.WriteFile(stale, []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.makeSocketDir(id); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the stale lock is left: %v", err)
	}
	mine := filepath.Join(h.socket, "mine")
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.makeSocketDir(id); err == nil {
		t.Error("a directory with files of someone else passed")
	}
	if _, err := os.Stat(mine); err != nil {
		t.Errorf("the file of someone else is gone: %v", err)
	}
}

func TestSweepSocketsRemovesOnlyOldEmptyOnes(t *testing.T) {
	t.Parallel()
	tmp := PassableDir(t)
	old := time.Now().Add(-2 * socketLife)
	for _, name := range []string{"nb-00000000used", "nb-0000000empty", "nb-0000starting", "nb-other"} {
		if err := os.Mkdir(filepath.Join(tmp, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"nb-00000000used/socket", "nb-00000000file"} {
		if err := os.WriteFile(filepath.Join(tmp, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"nb-00000000used", "nb-0000000empty", "nb-00000000file", "nb-other"} {
		if err := os.Chtimes(filepath.Join(tmp, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	sweepSockets(tmp)
	entries, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	want := []string{"nb-00000000file", "nb-00000000used", "nb-0000starting", "nb-other"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestLogTailBeginsAtThisStart(t *testing.T) {
	t.Parallel()
	s := &Server{home: &home{log: filepath.Join(PassableDir(t), "postgres.log")}}
	write := func(text string) {
		f, begin, err := openLog(s.home.log)
		if err != nil {
			t.Fatal(err)
		}
		s.logBegin = begin
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	cause := errors.New("cause")
	write("earlier start\n")
	write("this start\n")
	want := "cause; the end of " + s.home.log + ":\nthis start"
	if diff := cmp.Diff(want, s.withLog(cause).Error()); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	write(strings.Repeat("x", logLimit+1))
	if got := len(s.withLog(cause).Error()); got > logTail+200 {
		t.Errorf("the error is %d bytes long", got)
	}
	write("after a large log\n")
	if info, err := os.Stat(s.home.log); err != nil || info.Size() > 100 {
		t.Errorf("the log has not begun anew: %v, %v", info.Size(), err)
	}
}
