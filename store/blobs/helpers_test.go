package blobs_test

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/nanobanana/nanobanana/store/blobs"
)

func openDir(t *testing.T, path string) *blobs.Dir {
	t.Helper()
	dir, err := blobs.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// spoolFile makes a file in dir as callers of Put do.
func spoolFile(t *testing.T, dir, data string) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "spool-")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(data)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// publicFile makes a file that is not the caller's alone.
func publicFile(t *testing.T, dir, data string) string {
	t.Helper()
	path := spoolFile(t, dir, data)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func put(t *testing.T, store blobs.Store, key, source string) {
	t.Helper()
	if err := store.Put(t.Context(), key, source, blobs.PutOptions{}); err != nil {
		t.Fatalf("Put(%s): %v", key, err)
	}
}

func read(t *testing.T, store blobs.Store, key string) string {
	t.Helper()
	r, _, err := store.Open(t.Context(), key)
	if err != nil {
		t.Fatalf("Open(%s): %v", key, err)
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	return string(data)
}

func list(t *testing.T, store blobs.Store) []string {
	t.Helper()
	var keys []string
	err := store.List(t.Context(), "", func(info blobs.Info) bool {
		keys = append(keys, info.Key)
		return true
	})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	return keys
}

// names returns the names in a directory, in order.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// blobPath returns where below the store's root its only blob is.
func blobPath(t *testing.T, root string) string {
	t.Helper()
	var found []string
	err := fs.WalkDir(os.DirFS(root), "blobs", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			found = append(found, path)
		}
		return err
	})
	if err != nil || len(found) != 1 {
		t.Fatalf("want one blob, found %v, %v", found, err)
	}
	return found[0]
}

func onlyBlob(t *testing.T, root string) fs.FileInfo {
	t.Helper()
	info, err := os.Lstat(filepath.Join(root, blobPath(t, root)))
	if err != nil {
		t.Fatal(err)
	}
	return info
}
