package blobs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store/blobs"
	"github.com/nanobanana/nanobanana/store/blobs/blobstest"
)

func TestDir(t *testing.T) {
	t.Parallel()
	blobstest.Run(t, func(t *testing.T) blobs.Store { return openDir(t, t.TempDir()) })
}

func TestDirLinksSpoolFiles(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir := openDir(t, path)
	spool := spoolFile(t, dir.TempDir(), "bytes")
	put(t, dir, "org/a.png", spool)

	source, err := os.Stat(spool)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(source, onlyBlob(t, path)) {
		t.Error("a spool file on the same filesystem was copied")
	}
	if err := os.Remove(spool); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("bytes", read(t, dir, "org/a.png")); diff != "" {
		t.Errorf("blob without its source (-want +got):\n%s", diff)
	}
}

// A file that is not the caller's alone may change later.
func TestDirCopiesOtherFiles(t *testing.T) {
	t.Parallel()
	setups := map[string]func(t *testing.T, dir string) string{
		"Public": func(t *testing.T, dir string) string { return publicFile(t, dir, "bytes") },
		"SymbolicLink": func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "link")
			if err := os.Symlink(spoolFile(t, dir, "bytes"), path); err != nil {
				t.Fatal(err)
			}
			return path
		},
	}
	if memory, err := os.MkdirTemp("/dev/shm", "blobs-"); err == nil { // Linux
		t.Cleanup(func() { _ = os.RemoveAll(memory) })
		setups["OtherFilesystem"] = func(t *testing.T, _ string) string {
			return spoolFile(t, memory, "bytes")
		}
	}
	for name, setup := range setups {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir()
			dir := openDir(t, path)
			source := setup(t, dir.TempDir())
			put(t, dir, "org/a.png", source)

			blob := onlyBlob(t, path)
			info, err := os.Stat(source)
			if err != nil {
				t.Fatal(err)
			}
			if os.SameFile(info, blob) {
				t.Error("the blob is the caller's file")
			}
			if diff := cmp.Diff(fs.FileMode(0o600), blob.Mode()); diff != "" {
				t.Errorf("mode (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff("bytes", read(t, dir, "org/a.png")); diff != "" {
				t.Errorf("bytes (-want +got):\n%s", diff)
			}
		})
	}
}

// The age of a blob counts from its Put, even if its bytes were spooled long
// before.
func TestDirModifiedAtIsThePut(t *testing.T) {
	t.Parallel()
	dir := openDir(t, t.TempDir())
	spool := spoolFile(t, dir.TempDir(), "bytes")
	if err := os.Chtimes(spool, time.Time{}, time.Now().Add(-20*time.Hour)); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "a", spool)
	info, err := dir.Stat(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if age := time.Since(info.ModifiedAt); age > time.Minute {
		t.Errorf("the blob is %v old", age)
	}
}

func TestDirReopened(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "blobs")
	dir := openDir(t, path)
	put(t, dir, "org/a.png", spoolFile(t, dir.TempDir(), "bytes"))
	if diff := cmp.Diff("bytes", read(t, openDir(t, path), "org/a.png")); diff != "" {
		t.Errorf("bytes (-want +got):\n%s", diff)
	}
}

func TestDirRemovesLeftovers(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir := openDir(t, path)
	put(t, dir, "kept", spoolFile(t, t.TempDir(), "bytes"))
	old := time.Now().Add(-25 * time.Hour)
	for name, modified := range map[string]time.Time{"put-old": old, "put-new": time.Now()} {
		file := filepath.Join(dir.TempDir(), name)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, modified, modified); err != nil {
			t.Fatal(err)
		}
	}
	folder := filepath.Join(dir.TempDir(), "folder-old")
	if err := os.MkdirAll(filepath.Join(folder, "within"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(folder, old, old); err != nil {
		t.Fatal(err)
	}

	left := names(t, openDir(t, path).TempDir())
	if diff := cmp.Diff([]string{"put-new"}, left); diff != "" {
		t.Errorf("temporary files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("bytes", read(t, dir, "kept")); diff != "" {
		t.Errorf("blob (-want +got):\n%s", diff)
	}
}

func TestDirLeavesNoTemporaryFiles(t *testing.T) {
	t.Parallel()
	dir := openDir(t, t.TempDir())
	source := spoolFile(t, t.TempDir(), "bytes")
	put(t, dir, "a", source)
	if err := dir.Put(t.Context(), "a", source, blobs.PutOptions{}); !errors.Is(err, blobs.ErrExists) {
		t.Errorf("want ErrExists, got %v", err)
	}
	if err := dir.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string(nil), names(t, dir.TempDir())); diff != "" {
		t.Errorf("temporary files (-want +got):\n%s", diff)
	}
}

func TestDirPermissions(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "blobs")
	dir := openDir(t, path)
	put(t, dir, strings.Repeat("long", 100), spoolFile(t, dir.TempDir(), "bytes"))
	put(t, dir, "copied", publicFile(t, t.TempDir(), "bytes"))
	err := filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Keys that S3 servers on filesystems have trouble with.
func TestDirKeys(t *testing.T) {
	t.Parallel()
	dir := openDir(t, t.TempDir())
	keys := []string{
		"a", "a/b", "a/b/c", // a blob and blobs "below" it
		strings.Repeat("x", 512),
		strings.Repeat("x", 200), strings.Repeat("x", 201), strings.Repeat("x", 401),
		strings.Repeat("y", 200) + "..", strings.Repeat("y", 200) + "/z",
	}
	for _, key := range keys {
		put(t, dir, key, spoolFile(t, dir.TempDir(), key))
	}
	for _, key := range keys {
		if diff := cmp.Diff(key, read(t, dir, key)); diff != "" {
			t.Errorf("bytes (-want +got):\n%s", diff)
		}
	}
	slices.Sort(keys)
	if diff := cmp.Diff(keys, list(t, dir)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	for _, key := range keys {
		if err := dir.Delete(t.Context(), key); err != nil {
			t.Errorf("delete %s: %v", key, err)
		}
	}
	if diff := cmp.Diff([]string(nil), list(t, dir)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func TestDirContentTypes(t *testing.T) {
	t.Parallel()
	dir := openDir(t, t.TempDir())
	want := map[string]string{
		"a.png": "image/png", "b.PNG": "image/png", "c.jpg": "image/jpeg", "d.jpeg": "image/jpeg",
		"e.webp": "image/webp", "f.gif": "image/gif", "g.avif": "image/avif",
		"h.json": "application/json", "i.txt": "text/plain; charset=utf-8", "j.zip": "application/zip",
		"png": "", "png/k": "", "l.html": "", "m.svg": "",
	}
	got := map[string]string{}
	for key := range want {
		put(t, dir, key, spoolFile(t, dir.TempDir(), ""))
		info, err := dir.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		got[key] = info.ContentType
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("content types (-want +got):\n%s", diff)
	}
}
