package blobs_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store/blobs"
)

// These tests change the directory behind the store's back.

func TestDirDoesNotFollowLinksOutside(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	secret := spoolFile(t, outside, "secret")
	path := t.TempDir()
	dir := openDir(t, path)
	spool := spoolFile(t, dir.TempDir(), "bytes")

	t.Run("Blob", func(t *testing.T) {
		put(t, dir, "a.png", spool)
		blob := filepath.Join(path, blobPath(t, path))
		if err := os.Remove(blob); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(secret, blob); err != nil {
			t.Fatal(err)
		}
		if _, _, err := dir.Open(t.Context(), "a.png"); err == nil {
			t.Error("Open: want an error, got none")
		}
		if _, err := dir.Stat(t.Context(), "a.png"); err == nil {
			t.Error("Stat: want an error, got none")
		}
		if diff := cmp.Diff([]string(nil), list(t, dir)); diff != "" {
			t.Errorf("keys (-want +got):\n%s", diff)
		}
		if err := dir.Put(t.Context(), "a.png", spool, blobs.PutOptions{}); !errors.Is(err, blobs.ErrExists) {
			t.Errorf("Put: want ErrExists, got %v", err)
		}
		if err := dir.Delete(t.Context(), "a.png"); err != nil {
			t.Errorf("Delete: %v", err)
		}
	})
	t.Run("Directories", func(t *testing.T) {
		for _, shard := range names(t, filepath.Join(path, "blobs")) {
			shard = filepath.Join(path, "blobs", shard)
			if err := os.Remove(shard); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(outside, shard); err != nil {
				t.Fatal(err)
			}
		}
		if err := dir.Put(t.Context(), "b", spool, blobs.PutOptions{}); err == nil {
			t.Error("Put: want an error, got none")
		}
		if _, _, err := dir.Open(t.Context(), filepath.Base(secret)); err == nil {
			t.Error("Open: want an error, got none")
		}
		if err := dir.Delete(t.Context(), filepath.Base(secret)); err == nil {
			t.Error("Delete: want an error, got none")
		}
	})
	if diff := cmp.Diff([]string{filepath.Base(secret)}, names(t, outside)); diff != "" {
		t.Errorf("files outside (-want +got):\n%s", diff)
	}
}

func TestDirListsOnlyBlobs(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir := openDir(t, path)
	put(t, dir, "a", spoolFile(t, dir.TempDir(), "bytes"))
	shard := filepath.Dir(blobPath(t, path))
	for _, name := range []string{
		filepath.Join(shard, ".hidden"), filepath.Join(shard, "z z"), filepath.Join(shard, "a,,b"),
		filepath.Join("blobs", "loose"), filepath.Join("blobs", "00", "a"), // of another directory
	} {
		if err := os.WriteFile(filepath.Join(path, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"a"}, list(t, dir)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func TestDirRestoresItsDirectories(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir := openDir(t, path)
	if err := os.RemoveAll(filepath.Join(path, "blobs")); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "a", spoolFile(t, dir.TempDir(), "bytes"))
	if diff := cmp.Diff("bytes", read(t, dir, "a")); diff != "" {
		t.Errorf("bytes (-want +got):\n%s", diff)
	}
}

func TestDirPutCancelledWhileCopying(t *testing.T) {
	t.Parallel()
	dir := openDir(t, t.TempDir())
	source := publicFile(t, t.TempDir(), "")
	if err := os.Truncate(source, 64<<20); err != nil {
		t.Fatal(err)
	}
	ctx := &countdownContext{Context: t.Context(), left: 3}
	if err := dir.Put(ctx, "a", source, blobs.PutOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("want context.Canceled, got %v", err)
	}
	if diff := cmp.Diff([]string(nil), list(t, dir)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string(nil), names(t, dir.TempDir())); diff != "" {
		t.Errorf("temporary files (-want +got):\n%s", diff)
	}
}

// A countdownContext is cancelled once it has been asked often enough.
type countdownContext struct {
	context.Context
	left int
}

func (c *countdownContext) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

func TestDirCheckFails(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir := openDir(t, path)
	if err := os.Remove(dir.TempDir()); err != nil {
		t.Fatal(err)
	}
	if err := dir.Check(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("want fs.ErrNotExist, got %v", err)
	}
}

func TestOpenDirFails(t *testing.T) {
	t.Parallel()
	file := spoolFile(t, t.TempDir(), "")
	for _, path := range []string{file, filepath.Join(file, "below")} {
		_, err := blobs.OpenDir(path)
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("OpenDir(%s): want an error that names it, got %v", path, err)
		}
	}
}
