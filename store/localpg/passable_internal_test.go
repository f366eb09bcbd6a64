package localpg

import (
	"os"
	"path/filepath"
	"testing"
)

// PassableDir is t.TempDir for a server that may run under another account,
// where the kernel refuses user namespaces to root: the directory's parent is
// private to begin with.
func PassableDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
