package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// passableDir is t.TempDir for a server that may run under another account,
// where the kernel refuses user namespaces to root: the directory's parent is
// private to begin with.
func passableDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	// The Postgres of a process that was killed is some moments longer at writing.
	t.Cleanup(func() {
		for end := time.Now().Add(10 * time.Second); os.RemoveAll(dir) != nil && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
	})
	return dir
}
